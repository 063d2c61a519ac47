"""Knee, search, queueing model, goals, comparison, and what the report says of them."""

from __future__ import annotations

import heapq
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtest import report
from loadtest.goals import check
from loadtest.knee import find_knee
from loadtest.plan import DOUBTFUL, MISSED, OK, REPORT, RESULT, TIMELINE
from loadtest.profile import Goal
from loadtest.queueing import erlang_c, fit, wait_mdc_s
from loadtest.results import Point, read_run
from loadtest.search import trials
from loadtest.trust import warnings
from tests.loadtest.runs import BEGAN_S, PROFILE, made_run


def point(users: int, most_per_s: float, mean_ms: float = 30.0) -> Point:
    offered = 10.0 * users
    delivered = min(offered, most_per_s)
    return Point(users, offered, delivered, 100 * delivered / offered, mean_ms, mean_ms, 2 * mean_ms)


def test_the_knee_is_where_throughput_stays_behind() -> None:
    rng = np.random.default_rng(1)
    points = [point(users, 57 + rng.normal(0, 1)) for users in range(1, 13)]
    knee = find_knee(points)
    assert knee is not None
    assert knee.per_s == pytest.approx(57, abs=1)
    assert knee.users == 5
    assert find_knee(points[:5]) is None  # it never got there
    collapsed = find_knee([*points, point(16, 20)])
    assert collapsed is not None
    assert collapsed.per_s == pytest.approx(57, abs=1.5)
    assert find_knee([]) is None


def search(holds: Callable[[int], tuple[bool, bool]]) -> tuple[int, list[int]]:
    """The answer where `holds` judges each trial, and the trials."""
    running, tried = trials(64), []
    trial = next(running)
    while True:
        tried.append(trial[0])
        try:
            trial = running.send(holds(trial[0]))
        except StopIteration as done:
            return done.value, tried


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 8, 31, 100])
def test_a_search_finds_what_holds(most: int) -> None:
    answer, tried = search(lambda users: (users <= most, users > 2 * most))
    assert answer == pytest.approx(min(most, 64), rel=0.05)
    assert answer <= most
    assert len(tried) < 20


def test_a_search_forgives_one_bad_moment() -> None:
    unlucky = [8]

    def holds(users: int) -> tuple[bool, bool]:
        if users in unlucky:
            unlucky.remove(users)
            return False, False
        return users <= 20, False

    assert search(holds)[0] == 20


@pytest.mark.parametrize(("servers", "busy"), [(1, 0.7), (2, 0.5), (2, 0.9), (4, 0.8)])
def test_the_queueing_formula_agrees_with_a_simulated_queue(servers: int, busy: float) -> None:
    rate, rng = busy * servers, np.random.default_rng(servers)
    free, waited, frames = [0.0] * servers, 0.0, 200_000
    for arrived in np.cumsum(rng.exponential(1 / rate, frames)):
        began = max(float(arrived), heapq.heappop(free))
        heapq.heappush(free, began + 1)
        waited += began - arrived
    assert wait_mdc_s(rate, 1.0, servers) == pytest.approx(waited / frames, rel=0.08)


def test_queueing_formulas_at_their_ends() -> None:
    assert erlang_c(1, 0.6) == pytest.approx(0.6)  # M/M/1: the share of time that it is busy
    assert wait_mdc_s(0, 1, 2) == 0
    assert wait_mdc_s(2, 1, 2) == math.inf
    assert wait_mdc_s(56, (2 - 1e-12) / 56, 2) == math.inf
    model = fit(
        [point(users, 60, mean_ms=35) for users in range(1, 10)],
        find_knee([point(u, 60) for u in range(1, 10)]),
    )
    assert model is not None
    assert model.servers == 2
    assert model.mean_ms(1) == pytest.approx(35, abs=0.5)


def test_goals_and_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goals = (Goal("age_ms", at=50, max=100), Goal("delivered_percent", min=99.9), Goal("lost", max=0))
    run = made_run(profile=replace(PROFILE, slo=goals))
    assert [c.ok for c in check(run)] == [True, True, True]
    assert report.write(run, tmp_path) == OK
    missed = replace(
        PROFILE, slo=(Goal("age_ms", at=99, max=10), Goal("version_percent", version="v2", min=1))
    )
    assert report.write(made_run(profile=missed), tmp_path) == MISSED
    assert "MISSED    age_ms p99 <= 10" in capsys.readouterr().out


def test_a_run_without_results_is_no_success(tmp_path: Path) -> None:
    empty = made_run(0)
    assert report.write(empty, tmp_path) == MISSED
    goal = Goal("age_ms", max=1e9)
    assert not goal.allows(math.nan)


@pytest.mark.parametrize(
    ("users", "status", "says"),
    [
        (3, OK, "answer    3 users at 10 frames/s each hold: lost <= 0"),
        (512, OK, "answer    at least 512 users"),
        (0, MISSED, "answer    not even one user at 10 frames/s each holds: lost <= 0"),
        (None, MISSED, "answer    stopped before it was found"),
    ],
)
def test_what_a_search_came_to(
    users: int | None, status: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run()
    run.found = {"users": users, "most": 512, "goals": ["lost <= 0"]}
    assert report.write(run, tmp_path) == status
    assert says in capsys.readouterr().out


def test_a_slow_generator_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(own_ms=40)
    assert report.write(run, tmp_path) == DOUBTFUL
    assert "WARNING   the load generator sent frames 40.0 ms late" in capsys.readouterr().out
    assert "Not to be trusted" in (tmp_path / REPORT).read_text()
    run = made_run()
    run.store.cpu_percent["local"] = 97.0
    assert "used 97 % of a core" in warnings(run)[0]
    run = made_run()
    run.store.offered["camera"][int(BEGAN_S)] += 3
    assert warnings(run) == ["3 frames are not accounted for"]


def test_the_report_needs_nothing_else(tmp_path: Path) -> None:
    run = made_run()
    run.store.problems["<script>alert(1)</script>"] = 2
    report.write(run, tmp_path)
    page = (tmp_path / REPORT).read_text()
    assert page.count("data:image/svg+xml;base64,") >= 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script>" not in page
    assert len((tmp_path / TIMELINE).read_text().splitlines()) == 61
    data = json.loads((tmp_path / RESULT).read_text())
    assert data["age_ms"]["camera"]["p50"] == pytest.approx(math.exp(4), rel=0.05)
    again = read_run(tmp_path)
    assert again.window().ages.total_count == run.window().ages.total_count
    assert again.points() == run.points()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"profile": 3}'])
def test_a_file_that_is_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULT).write_text(text)
    with pytest.raises(ValueError, match="not the result of a run"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match="name the folder of a run"):
        read_run(tmp_path / "nothing")
