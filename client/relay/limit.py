"""How many Predicts may be under way at once: tried out, for nobody can say it beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FIRST = 2  # one is inferred while another travels
SHORT_S = 0.01  # a Predict that takes less makes no frame old, whatever waits with it
GAIN, LOSS = 0.05, 0.03  # of throughput: more is worth a larger limit, less is the price of a smaller one
# A turn measures so much at least, and goes on until its mean is as certain as that, but not for long.
TURN_PREDICTS, TURN_S = 16, 0.1
TURN_ERROR, LONGEST_TURN_S = 0.05, 3.0
# A trial ends early that certainly reaches only so little of the throughput.
HOPELESS_PREDICTS, HOPELESS = 4, 0.8
SLOW_RUN = 4  # so many Predicts in a row that take twice as long as they did are no accident
STUCK = 3  # times the mean: a Predict that took so long and is still under way
LONGEST_REST = 8  # turns between two trials when neither direction was better for a while
WINDOW_S = 5.0  # the shortest and longest Predicts are those of one or two such windows
PROBE_EVERY_S = 1.0  # after so long without an answer even a frame that seems too old is sent, to learn


@dataclass(slots=True, eq=False)
class Place:
    """What a Predict under way has, if it started when all places were taken: then its time tells something."""

    turn: Turn
    started_s: float


@dataclass(slots=True, eq=False)
class Turn:
    """A measurement with one limit: how many of its Predicts ended, were answered in time, and how long all took."""

    limit: int
    began_s: float
    predicts: int = 0
    answered: int = 0
    total_s: float = 0.0
    total_s2: float = 0.0  # of the squares
    under_way: set[Place] = field(default_factory=set)

    def add(self, took_s: float, *, answered: bool) -> None:
        """A Predict ended."""
        self.predicts += 1
        self.answered += answered
        self.total_s += took_s
        self.total_s2 += took_s * took_s

    @property
    def mean_s(self) -> float:
        """How long a Predict took."""
        return self.total_s / self.predicts

    @property
    def error(self) -> float:
        """The standard error of the mean, as a share of it."""
        variance = max(0.0, self.total_s2 / self.predicts - self.mean_s**2)
        return math.sqrt(variance / self.predicts) / self.mean_s

    @property
    def rate(self) -> float:
        """Answers in time a second, by Little's law: `limit` Predicts were under way all the time."""
        return self.limit * self.answered / self.total_s

    def complete(self, now_s: float, longest_s: float) -> bool:
        """Whether enough was measured, if Predicts take up to `longest_s`."""
        lasted_s = now_s - self.began_s
        if self.predicts < max(TURN_PREDICTS, 2 * self.limit) or lasted_s < max(TURN_S, longest_s):
            return False
        return self.error < TURN_ERROR or lasted_s > LONGEST_TURN_S

    def close(self, now_s: float) -> None:
        """Count those that are stuck too: a place that is taken for long is missing whether it is answered or not."""
        stuck_s = [now_s - place.started_s for place in self.under_way]
        limit_s = STUCK * self.mean_s
        for age_s in stuck_s:
            if age_s > limit_s:
                self.add(age_s, answered=False)
        self.under_way.clear()


class Range:
    """The shortest and the longest Predict of late: of the last 5 to 10 seconds."""

    def __init__(self) -> None:
        self.shortest_s = self.longest_s = 0.0
        self._now = self._before = (0.0, 0.0)
        self._began_s = -math.inf

    def add(self, took_s: float, now_s: float) -> None:
        """A Predict took so long."""
        if now_s - self._began_s >= WINDOW_S:
            self._before = self._now if now_s - self._began_s < 2 * WINDOW_S else (took_s, took_s)
            self._now, self._began_s = (took_s, took_s), now_s
        self._now = min(self._now[0], took_s), max(self._now[1], took_s)
        self.shortest_s = min(self._now[0], self._before[0])
        self.longest_s = max(self._now[1], self._before[1])


class InFlightLimit:
    """The fewest Predicts under way that reach nearly the best throughput of the model server; 1 to `most`.

    A server that infers k frames at once gains nothing from more than that: they grow old in its queue, and when
    all of them expire there it works for nobody, because it cannot tell. What k is depends on cores, versions,
    replicas and neighbours, and changes. So while frames wait for a place, turns are measured: with the limit as it
    is, with a quarter more, which stays if throughput (of answers in time) gains 5 %, and with a quarter less, which
    stays if it loses less than 3 %. Before the first trial that failed, more means twice as much. While a Predict takes
    less than 10 ms with all its waiting, more stays unless it is refused. When frames expire at the server and one
    Predict after the other takes twice as long as it did, the limit is halved at once.

    Times are monotonic seconds.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._base = min(FIRST, most)
        self._turn = Turn(self._base, 0.0)
        self._base_turn: Turn | None = None  # the last one with `_base`
        self._upwards = True  # the direction of the next trial
        self._ramping = True  # until the first trial that failed
        self._rest, self._rests = 0, 0  # turns until the next trial, and after the next failure
        self.typical_s = 0.0  # a Predict's time, as a moving average of about 16
        self._slow_run = 0  # Predicts in a row that took twice as long as in the last turn with `_base`
        self._answered_s = 0.0
        self._range = Range()

    @property
    def value(self) -> int:
        """How many may be under way now."""
        return self._turn.limit

    def started(self, in_flight: int, now_s: float) -> Place | None:
        """A Predict starts, and with it `in_flight` are under way. What to hand back when it ends."""
        if in_flight != self._turn.limit:
            return None
        place = Place(self._turn, now_s)
        self._turn.under_way.add(place)
        return place

    def ended(
        self, place: Place | None, took_s: float, now_s: float, *, answered: bool, late: bool, full: bool
    ) -> None:
        """A Predict was answered after `took_s`, or given up. `late`: its frame had expired, so that the answer is of
        no use; `full`: the limit is reached, and frames wait."""
        self.typical_s += (took_s - self.typical_s) / 16 if self.typical_s else took_s
        if self._base_turn is not None:
            self._slow_run = self._slow_run + 1 if took_s >= 2 * self._base_turn.mean_s else 0
        self._range.add(took_s, now_s)
        if answered:
            self._answered_s = now_s
        if place is None or place.turn is not (turn := self._turn):
            return
        turn.under_way.discard(place)
        if full:
            turn.add(took_s, answered=answered and not late)
            if turn.complete(now_s, self._range.longest_s) or self._hopeless(turn):
                turn.close(now_s)
                self._turn = Turn(self._decide(turn), now_s)

    def refused(self, now_s: float) -> None:
        """The server or a proxy had no place: a trial with more has failed."""
        if self._turn.limit > self._base:
            self._failed()
            self._turn = Turn(self._base, now_s)

    def late(self, now_s: float) -> None:
        """The Predict that ended just now did so after its frame had expired."""
        if self._slow_run < max(SLOW_RUN, self.value):
            return
        self._base = max(1, self._base // 2)
        self._base_turn, self._slow_run = None, 0
        self._upwards, self._ramping, self._rest, self._rests = True, False, 0, 0
        self._turn = Turn(self._base, now_s)

    def doomed(self, left_s: float, now_s: float) -> bool:
        """Whether a frame that expires in `left_s` would expire at the server, by all that is known."""
        return left_s < self._range.shortest_s and now_s - self._answered_s < PROBE_EVERY_S

    def _hopeless(self, turn: Turn) -> bool:
        base = self._base_turn
        if base is None or turn.limit == self._base or turn.predicts < HOPELESS_PREDICTS:
            return False
        return turn.rate < HOPELESS * base.rate * (1 - 2 * turn.error)

    def _decide(self, turn: Turn) -> int:
        """The limit of the next turn."""
        base = self._base_turn
        short = turn.mean_s < SHORT_S and turn.answered == turn.predicts
        if turn.limit == self._base or base is None:
            self._base_turn = turn
            if self._rest:
                self._rest -= 1
                return self._base
            return self._more() if short else self._trial()
        more = turn.limit > self._base
        worth = 1 + GAIN if more else 1 - LOSS
        if not (more and short) and turn.rate <= worth * base.rate:
            self._failed()
            return self._base
        self._base, self._base_turn, self._rests = turn.limit, turn, 0
        return self._more() if more and short else self._trial()

    def _failed(self) -> None:
        """The trial was no better: the other direction next, after a rest that grows."""
        self._upwards, self._ramping = not self._upwards, False
        self._rest = self._rests
        self._rests = min(LONGEST_REST, max(1, 2 * self._rests))

    def _trial(self) -> int:
        """The limit to try."""
        up, down = self._more(), max(1, self._base - max(1, self._base // 4))
        if (up if self._upwards else down) == self._base:
            self._upwards = not self._upwards
        return up if self._upwards else down

    def _more(self) -> int:
        """The next larger limit."""
        step = self._base if self._ramping else max(1, self._base // 4)
        return min(self._most, self._base + step)
