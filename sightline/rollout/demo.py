"""`make demo-rollout`: the real model rolled out, and wrong, slow and dying ones rolled back, on this machine.

    python -m sightline.rollout.demo

Everything is as in `sightline up`: fp32 is v1 and bf16 v2, behind Envoy with istio/. The network sees smaller pictures,
so that two cores have time for it; the steps are shorter, and need fewer frames, than those of a rollout that matters.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from client.sources import SourceOptions, open_source
from loadtest.wrong_model import FAULTS, WrongModel, forward
from mesh.resources import MeshError
from mesh.run.envoy import Admin, wait_until
from mesh.run.rollout import RolloutFolder, served_weight
from sightline import interrupts
from sightline.models import ServedModel, prepare
from sightline.ports import LOOPBACK, Ports, free_port
from sightline.processes import ChildDied, Children
from sightline.ready import wait_serving
from sightline.rollout.camera import CountedCamera
from sightline.rollout.command import start
from sightline.rollout.config import RolloutConfig
from sightline.rollout.controller import TAKEN_S
from sightline.rollout.gates import Gates, gates_file, parse_gates, read_gates
from sightline.rollout.simulate import rates
from sightline.stack import READY_TIMEOUT_S, Entrance, join, start_server
from sightline.up import CANARY

CAMERAS, FPS, SIZE = 3, 8, "640x360"
IMGSZ = (256, 448)
SHADOW_PERCENT = 30
FEWER = {"min_requests": "15", "min_frames": "25"}  # 24 frames/s, 5 % of them: 1.2 a second
SLOW = "faults/delay-v2"  # of istio/components: half a second
WORDS = 130  # of a reason, in the table


@dataclass(frozen=True)
class Scene:
    """A candidate, how it is rolled out, and how that must end."""

    name: str
    steps: tuple[int, ...]
    hold_s: float
    promoted: bool = False
    fault: str = ""
    dies: bool = False
    gate: str = ""  # that must be named


GOOD = Scene("bf16 of the same weights", (5, 20, 50, 100), 5.0, promoted=True)
WRONG = tuple(
    Scene(f"wrong: {fault}", (0, 5, 100), 4.0, fault=fault, gate=gate)
    for fault, gate in zip(FAULTS, ("agreement", "mean_iou", "agreement", "score_drift"), strict=True)
)
LATE = Scene("slow: Istio's fault delay", (20, 100), 4.0, gate="age_p99")
DEAD = Scene("dead: its server is killed", (20, 100), 4.0, dies=True, gate="success_ratio")


@dataclass(frozen=True)
class Outcome:
    """One rollout: how it ended, and what became of the cameras' frames meanwhile."""

    scene: Scene
    promoted: bool
    reason: str
    took_s: float
    delivered: int
    errored: int
    dropped: int
    by_version: Counter[int]
    reconnects: int
    balanced: bool

    @property
    def as_expected(self) -> bool:
        """Whether the rollout ended as it must, with every frame accounted for and every stream open."""
        scene = self.scene
        fine = self.promoted == scene.promoted and self.balanced and not self.reconnects
        named = scene.promoted or scene.gate in self.reason
        return (
            fine
            and named
            and (not scene.promoted or not self.errored)
            and (scene.steps[0] > 0 or not self.by_version[2])
        )


@contextlib.contextmanager
def _stack(
    children: Children, servers: dict[str, int], runs: Path, name: str, *components: str
) -> Iterator[tuple[Entrance, Path]]:
    """The mesh and a relay in front of the servers (their ports by version)."""
    from mesh.render.topology import Address

    ports = Ports(free_port(), free_port(), free_port(), free_port(), free_port())
    folder = runs / name
    options = ["--shadow-percent", str(SHADOW_PERCENT), "--shadow-pairs", "8"]
    where = {version: [Address(LOOPBACK, port)] for version, port in servers.items()}
    with join(
        children,
        where,
        ports,
        components,
        lambda line: None,
        f"relay-{name}",
        rollout=folder,
        relay_options=options,
    ) as entrance:
        RolloutFolder(folder).set_weight("v2", 0)  # istio/base begins with 20 %
        admin = Admin(Path(RolloutFolder(folder).running().admin))
        wait_until(lambda: served_weight(admin, "v2") == 0, TAKEN_S, "the mesh did not take the weight over")
        yield entrance, folder


def _play(scene: Scene, entrance: Entrance, folder: Path, gates: Gates, runs: Path) -> Outcome:
    """One rollout under cameras that stream from its begin to its end."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith(("step", "passed", "holds", "report")):
            print(f"    {line[:WORDS]}", flush=True)

    print(f"  {scene.name}", flush=True)
    began_s = time.monotonic()
    with ExitStack() as stack:
        cameras = []
        for number in range(CAMERAS):
            source = open_source(f"synthetic:seed={number + 1},fps={FPS},size={SIZE}", SourceOptions())
            cameras.append(stack.enter_context(CountedCamera(source, entrance.address, entrance.security)))
        time.sleep(1.0)  # they are all there
        promoted = (
            start(RolloutConfig(gates, steps=scene.steps, hold_s=scene.hold_s), folder, runs / "reports", say)
            == 0
        )
        entrance.check()
    accounts = [camera.account for camera in cameras]
    reason = next(line for line in lines if line.startswith(("promoted", "rolled back")))
    return Outcome(
        scene,
        promoted,
        reason.partition(" ")[2].removeprefix("back ").strip(),
        time.monotonic() - began_s,
        sum(account.delivered for account in accounts),
        sum(account.errored for account in accounts),
        sum(account.dropped.total() for account in accounts),
        sum((camera.versions for camera in cameras), Counter()),
        sum(camera.reconnects for camera in cameras),
        all(account.balanced for account in accounts),
    )


def _good(children: Children, ports: dict[str, int], gates: Gates, runs: Path) -> Iterator[Outcome]:
    with _stack(children, ports, runs, "good") as (entrance, folder):
        yield _play(GOOD, entrance, folder, gates, runs)


def _late(children: Children, ports: dict[str, int], gates: Gates, runs: Path) -> Iterator[Outcome]:
    with _stack(children, ports, runs, "late", SLOW) as (entrance, folder):
        yield _play(LATE, entrance, folder, gates, runs)


def _bad(children: Children, ports: dict[str, int], gates: Gates, runs: Path) -> Iterator[Outcome]:
    """v2 is the same server, with its answers changed on the way."""
    with WrongModel(forward(f"{LOOPBACK}:{ports['v2']}")) as model:
        behind = {"v1": ports["v1"], "v2": model.port}
        with _stack(children, behind, runs, "bad") as (entrance, folder):
            for scene in (*WRONG, DEAD):
                model.fault = scene.fault
                if scene.dies:
                    model.kill()
                yield _play(scene, entrance, folder, gates, runs)
            model.start()  # so that there is something to end


def _row(outcome: Outcome) -> str:
    total = sum(outcome.by_version.values()) or 1
    end = "promoted" if outcome.promoted else "rolled back"
    return (
        f"{outcome.scene.name:<28}{end:<12}{outcome.took_s:>5.0f} s{outcome.delivered:>11}{outcome.errored:>8}"
        f"{outcome.dropped:>7}{100 * outcome.by_version[2] / total:>7.1f} %  "
        f"{'yes' if outcome.as_expected else 'NO'}\n    {outcome.reason[:WORDS]}"
    )


def run(runs: Path = Path("runs/demo-rollout")) -> int:
    """Play all scenes, and simulate. Returns the exit status: 0 if every rollout ended as it must.

    Raises ChildDied, MeshError, OSError, RuntimeError, ValueError: each says what to do.
    """
    gates = parse_gates({**read_gates(gates_file()).texts, **FEWER})
    models = _models()
    outcomes: list[Outcome] = []
    with Children(runs / "logs") as children:
        ports = {}
        for version, model in models.items():
            print(f"{version}  {model.text}")
            ports[version] = free_port()
            start_server(children, f"server-{version}", model, ports[version])
        for port in ports.values():
            wait_serving(f"{LOOPBACK}:{port}", READY_TIMEOUT_S, children.check)
        print(f"{CAMERAS} cameras x {FPS} fps, {SHADOW_PERCENT} % compared; reports in {runs / 'reports'}")
        for play in (_good, _late, _bad):
            outcomes += play(children, ports, gates, runs)
    print(
        f"\n{'candidate':<28}{'end':<12}{'took':>7}{'delivered':>11}{'errors':>8}{'drops':>7}{'by v2':>9}  as it must"
    )
    for outcome in outcomes:
        print(_row(outcome))
    print()
    rates(200, print)
    return 0 if all(outcome.as_expected for outcome in outcomes) else 1


def _models() -> dict[str, ServedModel]:
    models: dict[str, ServedModel] = {}
    for number, (name, precision) in enumerate(CANARY.items(), 1):
        models[name] = prepare(Path("runs/models"), "demo", IMGSZ, precision, number, print)
    return models


def main(arguments: Sequence[str]) -> int:
    """The demonstration as a command."""
    interrupts.install()
    try:
        return run(*map(Path, arguments))
    except (ChildDied, MeshError, OSError, RuntimeError, ValueError) as error:
        print(f"demo-rollout: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
