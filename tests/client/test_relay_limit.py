"""The number of Predicts in flight finds what a model server can do: simulated servers, no clock."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

import pytest

from client.relay.limit import InFlightLimit, Place

NETWORK_S = 0.001  # there and back


class Simulation:
    """A relay that always has frames waiting, and a server that infers `workers` at once, first come first served.

    `service_s`: how long a Predict is at work while so many are. With `max_age_s` the relay notices late ones.
    """

    def __init__(
        self, service_s: Callable[[int], float], workers: int, *, most: int = 64, max_age_s: float = 9.0
    ) -> None:
        self.limit = InFlightLimit(most)
        self.service_s, self.workers, self.max_age_s = service_s, workers, max_age_s
        self.now_s = 100.0
        self.lost_share = 0.0
        self.in_time = 0  # answers
        self._random = random.Random(1)
        self._events: list[tuple[float, int, str, Place | None, float]] = []
        self._waiting: deque[tuple[Place | None, float]] = deque()
        self._busy = self._in_flight = self._number = 0

    def run(self, seconds: float) -> tuple[float, float]:
        """Answers a second, and the mean limit, in the second half of the time."""
        end_s, half_s = self.now_s + seconds, self.now_s + seconds / 2
        limits: list[int] = []
        self._send()
        while self.now_s < end_s:
            self.now_s, _, what, place, sent_s = heapq.heappop(self._events)
            if what == "arrive":
                self._waiting.append((place, sent_s))
            elif what == "done":
                self._busy -= 1
                self._after(NETWORK_S / 2, "answer", place, sent_s)
            else:
                self._answer(place, sent_s, answered=what == "answer")
                if self.now_s > half_s and what == "answer":
                    limits.append(self.limit.value)
                self._send()
            while self._waiting and self._busy < self.workers:
                self._busy += 1
                work_s = self.service_s(self._busy) * self._random.uniform(0.8, 1.2)
                self._after(work_s, "done", *self._waiting.popleft())
        return len(limits) / (seconds / 2), sum(limits) / max(1, len(limits))

    def _send(self) -> None:
        while self._in_flight < self.limit.value:
            self._in_flight += 1
            lost = self._random.random() < self.lost_share
            after_s, what = (0.5, "lost") if lost else (NETWORK_S / 2, "arrive")
            self._after(after_s, what, self.limit.started(self._in_flight, self.now_s), self.now_s)

    def _answer(self, place: Place | None, sent_s: float, *, answered: bool) -> None:
        took_s = self.now_s - sent_s
        full = self._in_flight >= self.limit.value
        self._in_flight -= 1
        late = took_s > self.max_age_s
        self.limit.ended(place, took_s, self.now_s, answered=answered, late=late, full=full)
        if late:
            self.limit.late(self.now_s)
        elif answered:
            self.in_time += 1

    def _after(self, delay_s: float, what: str, place: Place | None, sent_s: float) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now_s + delay_s, self._number, what, place, sent_s))


@pytest.mark.parametrize(
    ("workers", "service_s", "share", "most_limit"),
    [
        (1, lambda _: 0.027, 0.93, 3),
        (2, lambda busy: 0.021 if busy == 1 else 0.033, 0.93, 3.5),  # one call on two cores, two on one each
        (2, lambda _: 0.0005, 0.99, 52),  # here the network is most of it, and a queue of 10 ms no matter
        (4, lambda _: 0.04, 0.93, 6),
        (8, lambda _: 0.1, 0.93, 11),
        (32, lambda _: 0.05, 0.93, 48),
        (
            64,
            lambda busy: 0.015 + 0.005 * busy,
            0.8,
            40,
        ),  # a GPU that batches: more is always a little faster
        (1, lambda _: 0.5, 0.9, 3),
    ],
)
def test_the_fewest_in_flight_that_reach_nearly_the_best_throughput(
    workers: int, service_s: Callable[[int], float], share: float, most_limit: float
) -> None:
    best = max(busy / service_s(busy) for busy in range(1, workers + 1))
    rate, limit = Simulation(service_s, workers).run(60)
    assert rate >= share * best
    assert limit <= most_limit


def test_a_server_that_slows_down_is_given_less_within_seconds() -> None:
    """From 8 at once to 1: what was right would now be 0.32 s of queue, for frames that live 0.2 s."""
    server = Simulation(lambda _: 0.04, 8, max_age_s=0.2)
    assert server.run(20)[1] > 6
    server.workers = 1
    server.run(5)
    assert server.limit.value * 0.04 < 0.2
    rate, limit = server.run(20)
    assert rate >= 0.9 / 0.04
    assert limit < 3


@pytest.mark.parametrize(
    ("workers", "max_age_s"), [(1, 0.25), (2, 0.25), (2, 0.5), (4, 0.25), (8, 0.25), (16, 0.3)]
)
def test_a_server_that_suddenly_takes_ten_times_as_long_still_answers_in_time(
    workers: int, max_age_s: float
) -> None:
    """As one that is starved of CPU: what waits in its queue expires there, and it would work for nobody."""
    server = Simulation(lambda _: 0.02, workers, max_age_s=max_age_s)
    server.run(20)
    server.service_s = lambda _: 0.2
    server.run(10)
    server.in_time = 0
    server.run(20)
    assert server.in_time >= 0.75 * 20 * workers / 0.2


def test_a_server_that_grows_is_given_more_within_seconds() -> None:
    server = Simulation(lambda _: 0.04, 1)
    assert server.run(20)[1] < 3
    server.workers = 8
    server.run(4)
    rate, _ = server.run(10)
    assert rate >= 0.93 * 8 / 0.04


def test_predicts_that_are_lost_on_the_way_cost_places_and_not_throughput() -> None:
    """A tenth of them is never answered, and given up after 0.5 s: more in flight makes up for it."""
    server = Simulation(lambda _: 0.03, 2, max_age_s=0.2)
    server.lost_share = 0.1
    rate, limit = server.run(60)
    assert rate >= 0.8 * 2 / 0.03
    assert limit > 4


def test_the_bound_is_kept() -> None:
    server = Simulation(lambda _: 0.04, 32, most=4)
    assert server.run(20)[1] <= 4
    single = Simulation(lambda _: 0.04, 32, most=1)
    assert single.run(20)[1] == 1


@pytest.mark.parametrize("service_s", [0.02, 0.001])
def test_a_refusal_ends_a_trial_with_more(service_s: float) -> None:
    server = Simulation(lambda _: service_s, 1)
    server.run(0.6)
    before = server.limit.value
    for _ in range(50):
        server.limit.refused(server.now_s)
    assert server.limit.value <= before
    server.run(2)
    assert server.limit.value >= 1


def test_a_frame_is_doomed_if_even_the_fastest_predict_would_be_too_slow() -> None:
    limit = InFlightLimit(8)
    assert not limit.doomed(0.001, 100.0)  # nothing is known yet
    for took_s in (0.05, 0.03, 0.04):
        limit.ended(None, took_s, 100.0, answered=True, late=False, full=False)
    assert limit.doomed(0.029, 100.1)
    assert not limit.doomed(0.031, 100.1)
    assert not limit.doomed(0.001, 102.0)  # long ago: the server may be faster now
    limit.ended(None, 0.06, 106.0, answered=True, late=False, full=False)
    assert not limit.doomed(0.031, 106.0)  # the window before counts
    limit.ended(None, 0.06, 112.0, answered=True, late=False, full=False)
    assert limit.doomed(0.05, 112.0)  # and the one before that does not
