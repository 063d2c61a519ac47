"""`sightline up`: the whole stack on this machine, and cameras streamed through it."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from client.detect import run as run_detect
from client.detect_config import DetectConfig
from client.report import Summary
from model import contract
from model.weights import DEMO_NAME
from sightline.models import ServedModel, prepare
from sightline.monitoring.prometheus import prometheus_binary, start_prometheus
from sightline.ports import LOOPBACK, Ports
from sightline.processes import ChildDied, Children
from sightline.stack import Entrance, meshed_stack, plain_stack

WATCH_EVERY_S = 0.3
# The two versions of the mesh's canary; auto: bf16 where the CPU multiplies it in hardware.
CANARY = {"v1": "fp32", "v2": "auto"}
DEMO_NOTE = (
    "note      demo weights know the synthetic street only; for other pictures name some with --weights"
)


@dataclass(frozen=True)
class UpConfig:
    """What `sightline up` takes: the model, the ports, and what to stream (`detect`; its relay is set here).

    `mesh`: join the parts by istio/ in a real Envoy, with v1 in fp32 and v2 in bf16; else one model server in
    `precision`. `components`: of istio/components, on top of its base. `models`: folder of exported models.
    `runs`: folder of logs, of what a rollout edits, and of Prometheus' data if there is `monitoring`. `shadow_percent`,
    `shadow_pairs`: the relay's options.
    """

    detect: DetectConfig
    weights: str | None = None
    imgsz: tuple[int, int] = (contract.DEFAULT_IMGSZ, contract.DEFAULT_IMGSZ)
    precision: str = "auto"
    mesh: bool = True
    components: tuple[str, ...] = ()
    ports: Ports = field(default_factory=Ports)
    models: Path = Path("runs/models")
    runs: Path = Path("runs/up")
    monitoring: bool = False
    shadow_percent: float = 0.0
    shadow_pairs: int = 0

    def __post_init__(self) -> None:
        if self.mesh and self.precision != "auto":
            raise ValueError(
                "--precision goes with --no-mesh: in the mesh v1 is fp32, and v2 bf16 where the CPU has it"
            )
        if self.shadow_percent and not self.mesh:
            raise ValueError("--shadow-percent goes with the mesh: leave --no-mesh out")
        if self.components and not self.mesh:
            raise ValueError("--component goes with the mesh: leave --no-mesh out")


def up(config: UpConfig, console: Console) -> int:
    """Run the stack until its cameras end, Ctrl-C, or the death of a part. Returns the exit status: 0 only if
    detections were delivered and the frames add up.

    Raises SourceError, PortTaken, ChildDied, TimeoutError, WeightsError, MeshError, RuntimeError: each says what to do.
    """

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    config.detect.check_sources()
    with _alone_in(config.runs):
        return _up(config, console, say)


def _up(config: UpConfig, console: Console, say: Callable[[str], None]) -> int:
    config.ports.check_free()
    if config.mesh:
        _check_mesh(config.components)
    if config.monitoring:
        prometheus_binary()
    models = _models(config, say)
    for name, model in models.items():
        say(f"{name:<9} {model.text}")
    if needs_demo_note(config, models):
        say(DEMO_NOTE)
    with Children(config.runs / "logs") as children:
        started_s = time.monotonic()
        say(
            f"stack     relay {LOOPBACK}:{config.ports.relay_port}, model server {LOOPBACK}:{config.ports.port}, "
            f"REST http://{LOOPBACK}:{config.ports.rest_api_port}"
        )
        with _stack(config, models, children, say) as entrance:
            say(f"ready     in {time.monotonic() - started_s:.1f} s; logs in {children.log_folder}")
            through = " through Envoy with istio/" if config.mesh else ""
            say(f"cameras   stream to {entrance.address}{through}")
            say(f"live      http://{LOOPBACK}:{config.ports.http_port}/ (Ctrl-C stops)")
            if config.monitoring:
                url = start_prometheus(children, entrance.targets, config.runs / "prometheus")
                say(f"metrics   {url} Prometheus, with the cluster's rules and alerts")
            entrance.check()
            summary = _stream(config, entrance, console)
            entrance.check()
    return 0 if summary.exit_code == 0 and summary.tally.detections > 0 else 1


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Raise RuntimeError if another stack has its logs and its rollout there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"another stack runs in {folder}: end it first, or start this one from another folder"
            ) from None
        yield


def _check_mesh(components: tuple[str, ...]) -> None:
    """Raise now, before exports and servers take their time, what the mesh would raise after them."""
    from mesh.kustomize import load
    from mesh.resources import MeshError
    from mesh.run.envoy import envoy_binary
    from mesh.stack import component_folder, istio_folder
    from mesh.tokens import TokenIssuer  # noqa: F401  # needs packages of the extra `mesh`

    envoy_binary()
    istio = istio_folder()
    folders = [component_folder(name, istio) for name in components]
    try:
        load((istio / "base",), folders)
    except MeshError as error:
        order = "; components are applied in the order given: try another" if len(folders) > 1 else ""
        raise MeshError(f"{error}{order}") from None


def _models(config: UpConfig, say: Callable[[str], None]) -> dict[str, ServedModel]:
    """What each model server serves, exported now if it was not before."""
    precisions = CANARY if config.mesh else {"model": config.precision}
    models: dict[str, ServedModel] = {}
    weights = config.weights
    for number, (name, precision) in enumerate(precisions.items(), 1):
        models[name] = prepare(config.models, weights, config.imgsz, precision, number, say)
        weights = (
            weights or models[name].weights_spec
        )  # what the first came from, without asking the network again
    return models


def needs_demo_note(config: UpConfig, models: dict[str, ServedModel]) -> bool:
    """Whether a camera shows what the demo weights, which nobody asked for, do not know."""
    demo = config.weights is None and any(model.weights_spec == DEMO_NAME for model in models.values())
    return demo and not all(camera.source.startswith("synthetic") for camera in config.detect.cameras)


def _stack(
    config: UpConfig, models: dict[str, ServedModel], children: Children, say: Callable[[str], None]
) -> AbstractContextManager[Entrance]:
    if config.mesh:
        options = ["--shadow-percent", str(config.shadow_percent), "--shadow-pairs", str(config.shadow_pairs)]
        return meshed_stack(
            children, models, config.ports, config.components, say, config.runs / "rollout", options
        )
    return plain_stack(children, models["model"], config.ports)


def _stream(config: UpConfig, entrance: Entrance, console: Console) -> Summary:
    """Stream the cameras; a part's death stops them, and their summary still comes."""
    detect = replace(config.detect, relay=entrance.address, security=entrance.security, wait_s=30.0)
    stop = threading.Event()
    with _watching(entrance, stop):
        return run_detect(detect, console, stop)


@contextmanager
def _watching(entrance: Entrance, stop: threading.Event) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_EVERY_S):
            try:
                entrance.check()
            except (ChildDied, KeyboardInterrupt):
                stop.set()
                return

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
