"""`sightline load`: a stack where the profile asks for one, then Locust with the profile."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from loadtest.launch import LaunchConfig, launch
from loadtest.plan import COMPARISON, DOUBTFUL, MISSED, OK, Plan, Search, Target
from loadtest.ports import free_address
from loadtest.profile import Profile, StackSpec
from loadtest.results import read_run
from loadtest.selfcheck import selfcheck as measure_known
from loadtest.stack import StandInConfig, StandIns, gateway_address, meshed, relay
from loadtest.switch import Switch
from loadtest.trust import warnings
from mesh.render.topology import Address
from model import contract
from sightline.load_checks import check_config
from sightline.models import prepare
from sightline.ports import LOOPBACK
from sightline.processes import Children
from sightline.ready import wait_serving
from sightline.stack import READY_TIMEOUT_S, start_server
from sightline.up import CANARY

RUNS = Path("runs/load")
MODELS = Path("runs/models")
IMGSZ = (contract.DEFAULT_IMGSZ, contract.DEFAULT_IMGSZ)

Check = Callable[[], None]


@dataclass(frozen=True)
class LoadConfig:
    """One run. `target`: where to send if the profile starts no stack. `folder`: of the results."""

    profile: Profile
    target: Target
    folder: Path
    launch: LaunchConfig
    samples: bool = False
    search: Search | None = None


def new_folder(name: str) -> Path:
    """A folder for a run that begins now."""
    return RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"


def new(folder: Path) -> None:
    """Make it. Raises ValueError if it is there and has something in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"--out {folder}: expected an empty or a new folder")


def with_stack(profile: Profile, stack: str) -> Profile:
    """The profile with the stack that the option asks for: plain, mesh, or "" for the profile's own."""
    if stack not in ("", "plain", "mesh"):
        raise ValueError(f"--stack: expected plain or mesh, got {stack!r}")
    return replace(profile, stack=StackSpec(mesh=stack == "mesh")) if stack else profile


def run(config: LoadConfig) -> int:
    """Run it and return the exit status: 0, 1 if a goal was missed, 3 if the figures are not to be trusted.

    Raises ValueError, RuntimeError, OSError, MeshError, ClientError, each with one line.
    """
    check_config(config.profile, config.target, config.launch)
    new(config.folder)
    with _stack(config) as (target, check):
        plan = Plan(config.profile, target, config.folder.resolve(), config.samples, config.search)
        return launch(plan, config.launch, check)


@contextmanager
def _stack(config: LoadConfig) -> Iterator[tuple[Target, Check]]:
    """The target, and what raises when a part of the stack that was started for it is gone."""
    spec = config.profile.stack
    if spec is None:
        yield config.target, lambda: None
        return
    if config.profile.rest and spec.server_ms:
        raise ValueError(f"profile {config.profile.name}: stand-in servers have no REST: leave server_ms out")
    print("stack     starting ...", flush=True)
    with ExitStack() as stack:
        servers, target, check = _servers(config, spec, stack)
        if not spec.mesh:
            listen = free_address()
            stack.enter_context(relay(servers["v1"], listen))
            yield replace(target, relay=str(listen)), check
            return
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightline-load-")))
        mesh = stack.enter_context(meshed(servers, state))
        switch = stack.enter_context(Switch(mesh, config.profile, config.folder))

        def check_all() -> None:
            check()
            switch.check()
            if mesh.envoy is not None:
                mesh.envoy.check_alive()

        yield replace(target, relay=gateway_address(mesh), ca=str(mesh.ca_file), tokens=str(state)), check_all


def _servers(
    config: LoadConfig, spec: StackSpec, stack: ExitStack
) -> tuple[Mapping[str, Address], Target, Check]:
    """Model servers by version, real ones or stand-ins, and a target that has the first of them."""
    versions = ("v1", "v2") if spec.mesh else ("v1",)
    if spec.server_ms:
        standins = stack.enter_context(StandIns(versions, StandInConfig(spec.server_ms, spec.server_workers)))
        return standins.addresses, replace(config.target, server=str(standins.addresses["v1"])), lambda: None
    children = stack.enter_context(Children(config.folder / "logs"))
    addresses, rest = {version: free_address() for version in versions}, free_address()
    for number, version in enumerate(versions, 1):
        precision = CANARY[version] if spec.mesh else "auto"
        model = prepare(MODELS, None, IMGSZ, precision, number, lambda line: print(line, file=sys.stderr))
        start_server(
            children, f"server-{version}", model, addresses[version].port, rest.port if number == 1 else 0
        )
    for address in addresses.values():
        wait_serving(str(address), READY_TIMEOUT_S, children.check)
    target = replace(config.target, server=str(addresses["v1"]), rest=f"http://{LOOPBACK}:{rest.port}")
    return addresses, target, children.check


def compare(first: Path, second: Path, tolerance: float, console: Console) -> int:
    """Print how the second run differs, and write a page into its folder; 0, 1 if it is worse, 3 if that is unclear."""
    # With scipy's statistics and matplotlib, for which no load has to wait.
    from loadtest.compare import UNCLEAR, WORSE, differences
    from loadtest.compare import compare as compare_runs
    from loadtest.compare_page import comparison_page
    from sightline.load_tables import comparison_table

    one, other = read_run(first), read_run(second)
    found, notes = compare_runs(one, other, tolerance), list(differences(one, other))
    runs = {"first": one, "second": other}
    doubts = [f"{name}: {text}" for name, run in runs.items() for text in warnings(run)]
    console.print(comparison_table(found))
    for text in notes:
        print(f"not same  {text}")
    for text in doubts:
        print(f"WARNING   {text}")
    page = (second if second.is_dir() else second.parent) / COMPARISON
    page.write_text(comparison_page(runs, f"First {first}, second {second}.", found, doubts, notes))
    print(f"report    {page}")
    verdicts = {item.verdict for item in found}
    if doubts or (UNCLEAR in verdicts and WORSE not in verdicts):
        return DOUBTFUL
    return MISSED if WORSE in verdicts else OK


def selfcheck(folder: Path, processes: int, console: Console) -> int:
    """Print what was injected and what was measured; 0 if they agree, 1 if not, 3 if the generator was too slow."""
    from sightline.load_tables import selfcheck_table

    new(folder)
    found, run, _ = measure_known(folder.resolve(), LaunchConfig(processes))
    console.print(selfcheck_table(found))
    if warnings(run):
        return DOUBTFUL
    return OK if all(item.ok for item in found) else MISSED
