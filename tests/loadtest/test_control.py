"""The side of a run that gathers figures, and its end."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from loadtest.control import Control
from loadtest.plan import OK, Plan, Target
from loadtest.profile import CameraLoad, Goal, Profile, Stage
from loadtest.record import DELIVERED, Recorder, fate
from loadtest.results import read_run

PROFILE = Profile(
    "made", "Made.", (Stage(1, 60),), camera=CameraLoad(1), slo=(Goal("delivered_percent", min=100),)
)


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Of a run that began 100 s ago."""
    control, began_s = Control(Plan(PROFILE, Target(), tmp_path)), time.time() - 100
    with monkeypatch.context() as then:
        then.setattr(time, "time", lambda: began_s)
        control.begin()
    return control


def frames(number: int, begin_s: float) -> Recorder:
    """So many frames, one a second, delivered by two versions."""
    recorder = Recorder()
    for frame in range(number):
        recorder.offered("camera", begin_s + frame)
        recorder.add(fate("camera", DELIVERED, f"v{1 + frame % 2}"), begin_s + frame, 0.01)
    return recorder


def test_figures_on_their_way_count_before_the_end(control: Control, tmp_path: Path) -> None:
    recorder = frames(20, time.time() - 90)
    gevent.spawn(control.take_own, recorder)
    gevent.sleep(0)  # it has emptied the recorder, and gives way
    control.take_own(recorder)
    assert control.end() == OK
    run = read_run(tmp_path)
    assert run.unaccounted == 0
    assert run.store.window(0, float("inf")).count(DELIVERED) == 20


def test_figures_that_come_while_the_end_is_written_leave_it_alone(control: Control, tmp_path: Path) -> None:
    """A worker's report each time that the end gives way, with a version that was never there before."""
    control.take_own(frames(20, time.time() - 90))
    came = 0

    def report() -> None:
        nonlocal came
        while True:
            came += 1
            recorder = Recorder()
            recorder.offered("camera", came)
            recorder.add(fate("camera", DELIVERED, f"v{came}"), came, 0.01)
            control.take_in(recorder.flush(), "worker")
            gevent.sleep(0)

    reports = gevent.spawn(report)
    assert control.end() == OK
    reports.kill()
    assert came > 10
    assert set(read_run(tmp_path).store.window(0, float("inf")).delivered) == {"v1", "v2"}


def test_the_page_is_named_at_the_begin_and_at_the_end(
    control: Control, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gevent, "signal_handler", lambda *_: None)
    web_ui = SimpleNamespace(
        host="127.0.0.1", port=8089, template_args={}, app=SimpleNamespace(after_request=lambda _: None)
    )
    runner = SimpleNamespace(greenlet=SimpleNamespace(spawn=lambda *_: None))
    control.attach(cast(Any, SimpleNamespace(runner=runner)), web_ui)
    assert capsys.readouterr().out == "page      http://127.0.0.1:8089\n"
    control.end()
    assert capsys.readouterr().out.endswith("page      http://127.0.0.1:8089 stays until Ctrl-C\n")
