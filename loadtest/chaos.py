"""Faults under cameras: what a fault costs while it lasts, and how soon all is well again.

Two cameras stream through the gateway, the relay and both sidecars to two model servers that take a set time and
detect nothing. Each scenario runs calm, then with its fault, then calm again; every frame is accounted for.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from client.relayed import RelayTransport
from client.security import Security
from loadtest.stack import StandInConfig, StandIns, gateway_address, meshed
from loadtest.stream import LOST, CameraConfig, PacedCamera, Seen
from mesh.resources import MeshError
from mesh.run import Mesh
from mesh.stack import component_folder, istio_folder

CAMERAS = ("cam-0", "cam-1")
FPS = 15.0
FRAME_BYTES = 60_000
SERVER_MS = 30.0  # what a Predict takes in the stand-in server
MAX_AGE_MS = 1000
AFTER_S = 3.0  # calm again after a fault ...
AFTER_KILL_S = 18.0  # ... and after a kill: ejections of 5 s and 10 s may follow each other


@dataclass(frozen=True)
class Scenario:
    """A name for the table, and the component to add, or the server ("v1", "v2") to kill."""

    name: str
    component: str = ""
    kill: str = ""


SCENARIOS = (
    Scenario("calm"),
    Scenario("abort 10 %", component="faults/abort"),
    Scenario("abort cam-0", component="faults/abort-one-camera"),
    Scenario("delay 10 %", component="faults/delay"),
    Scenario("delay cam-0", component="faults/delay-one-camera"),
    Scenario("mirror to v2", component="mirror"),
    Scenario("all to v2", component="weights/100"),
    Scenario("v2 killed", kill="v2"),
    Scenario("v1 killed", kill="v1"),
)


@dataclass(frozen=True)
class Outcome:
    """One scenario's row. Ages are those of delivered frames while the fault lasted, in milliseconds.

    `recovery_s`: from the fault's end until the last frame that was captured after it and not delivered; 0 where all
    were. `lost`: frames that got no result at all; it must be 0.
    """

    name: str
    sent: int
    delivered: int
    dropped: int
    errored: int
    lost: int
    age_p50_ms: float
    age_p99_ms: float
    untouched_errored: int  # of cam-1
    recovery_s: float

    @property
    def adds_up(self) -> bool:
        return self.sent > 0 and self.lost == 0 and self.sent == self.delivered + self.dropped + self.errored


def run(
    scenarios: Sequence[Scenario] = SCENARIOS,
    calm_s: float = 3.0,
    fault_s: float = 6.0,
    say: Callable[[str], None] = print,
) -> int:
    """Run the scenarios and print their table (about 2.5 minutes). Returns 0 if every frame is accounted for, else 1.

    Raises MeshError where the mesh can't start.
    """
    istio = istio_folder()
    outcomes = []
    with ExitStack() as stack:
        servers = stack.enter_context(StandIns(("v1", "v2"), StandInConfig(SERVER_MS)))
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightline-chaos-")))
        mesh = stack.enter_context(meshed(servers.addresses, state))
        say(HEADER)
        for scenario in scenarios:
            outcomes.append(_scenario(scenario, mesh, servers, istio, calm_s, fault_s))
            say(row(outcomes[-1]))
    return 0 if all(outcome.adds_up for outcome in outcomes) else 1


def _scenario(
    scenario: Scenario, mesh: Mesh, servers: StandIns, istio: Path, calm_s: float, fault_s: float
) -> Outcome:
    seen: list[list[Seen]] = [[] for _ in CAMERAS]
    cameras = [_camera(mesh, name, frames) for name, frames in zip(CAMERAS, seen, strict=True)]
    for camera in cameras:
        camera.start()
    try:
        time.sleep(calm_s)
        began_s = time.monotonic()
        if scenario.component:
            mesh.use(component_folder(scenario.component, istio))
        if scenario.kill:
            servers.kill(scenario.kill)
        time.sleep(fault_s)
        if scenario.kill:
            servers.start(scenario.kill)
        mesh.use()
        ended_s = time.monotonic()
        time.sleep(AFTER_KILL_S if scenario.kill else AFTER_S)
    finally:
        for camera in cameras:
            camera.finish()
    return summarise(scenario.name, seen, began_s, ended_s)


def _camera(mesh: Mesh, name: str, seen: list[Seen]) -> PacedCamera:
    """One camera through the mesh's gateway, with a token of its own; `seen` gets its frames when they are due."""
    security = Security(mesh.ca_file, mesh.issuer.token)
    transport = RelayTransport(gateway_address(mesh), security=security, camera_id=name)
    config = CameraConfig(name, FPS, [b"\xff\xd8" + bytes(FRAME_BYTES - 2)], MAX_AGE_MS / 1e3)
    return PacedCamera(config, transport, on_settled=lambda _: None, on_due=seen.append)


def summarise(name: str, frames: Sequence[Sequence[Seen]], began_s: float, ended_s: float) -> Outcome:
    """Account for the frames of all cameras; times are `time.monotonic()` of the fault's begin and end."""
    everything = [frame for camera in frames for frame in camera]
    during = [frame for frame in everything if began_s <= frame.due_s < ended_s]
    outcomes = Counter(frame.outcome for frame in during)
    ages = sorted(1e3 * frame.age_s for frame in during if frame.outcome == "delivered")
    late = [f.due_s - ended_s for f in everything if f.due_s >= ended_s and f.outcome != "delivered"]
    return Outcome(
        name=name,
        sent=len(during),
        delivered=outcomes["delivered"],
        dropped=outcomes["dropped"],
        errored=outcomes["errored"],
        lost=sum(frame.outcome in ("", LOST) for frame in everything),
        age_p50_ms=statistics.median(ages) if ages else float("nan"),
        age_p99_ms=ages[min(len(ages) - 1, int(len(ages) * 0.99))] if ages else float("nan"),
        untouched_errored=sum(f.outcome == "errored" for f in frames[-1] if began_s <= f.due_s < ended_s),
        recovery_s=max(late, default=0.0),
    )


HEADER = (
    f"{len(CAMERAS)} cameras x {FPS:g} fps, {FRAME_BYTES // 1000} KB frames, {SERVER_MS:g} ms a Predict\n"
    f"{'scenario':<14}{'frames':>8}{'delivered':>11}{'dropped':>9}{'errors':>8}{'of cam-1':>10}"
    f"{'age p50':>9}{'p99 ms':>8}{'recovery s':>12}  adds up"
)


def row(outcome: Outcome) -> str:
    """A line of the table."""
    return (
        f"{outcome.name:<14}{outcome.sent:>8}{outcome.delivered:>11}{outcome.dropped:>9}{outcome.errored:>8}"
        f"{outcome.untouched_errored:>10}{outcome.age_p50_ms:>9.0f}{outcome.age_p99_ms:>8.0f}"
        f"{outcome.recovery_s:>12.1f}  {'yes' if outcome.adds_up else f'NO: {outcome.lost} lost'}"
    )


if __name__ == "__main__":
    try:
        sys.exit(run())
    except MeshError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
