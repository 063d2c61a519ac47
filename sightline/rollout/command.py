"""`sightline rollout`: the controller as a process, and what other terminals say to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mesh.resources import MeshError
from mesh.run.rollout import RolloutFolder
from sightline.rollout.config import RolloutConfig
from sightline.rollout.controller import Controller
from sightline.rollout.source import LocalSource, SourceLost
from sightline.rollout.state import HISTORY, Command, FileStore, Phase, State, read_history

OLD_S = 5.0  # for numbers, of which a controller has new ones twice a second


def start(config: RolloutConfig, folder: Path, reports: Path, say: Callable[[str], None]) -> int:
    """Run a rollout, or the unfinished one of this folder. Returns the exit status: 0 if it was promoted.

    Raises MeshError where no mesh serves the folder, RuntimeError where another controller runs, ValueError for gates
    that cannot be judged here.
    """
    from sightline.rollout.report import write_report  # needs the extra `rollout`

    mesh, store = RolloutFolder(folder), FileStore(folder)
    mesh.check(config.to)
    with store.owned() as mine:
        if not mine:
            raise RuntimeError(f"{folder}: a rollout runs already; sightline rollout status, abort")
        state = store.load()
        if state is not None and not state.phase.over:
            config = RolloutConfig.of_json(state.config)
            say(
                f"goes on   with the rollout that was left at step {config.steps[state.step]} %: {state.phase}"
            )
        else:
            _check(LocalSource(mesh, config.gates, config.to), config)
            state = _new(config, reports)
        store.command()  # one that was left before is not meant for this rollout
        parts = (mesh, LocalSource(mesh, config.gates, config.to), store)
        try:
            state = Controller(config, state, parts, say, at_promotion=_mover(config, say)).run()
        except KeyboardInterrupt:
            say(
                f"left at {config.steps[state.step]} %: `sightline rollout start` goes on, `abort` goes to 0 %"
            )
            raise
        finally:
            path = write_report(state, config)
    say(f"report    {path}")
    return 0 if state.phase is Phase.PROMOTED else 1


def _mover(config: RolloutConfig, say: Callable[[str], None]) -> Callable[[State], None]:
    """What moves the label `stable` at a promotion, if there is a file that has it."""

    def move(state: State) -> None:
        if config.model_config is not None:
            from sightline.rollout.labels import promote  # needs the extra `serving`

            promote(config.model_config, state.version)
            say(f"label     stable is version {state.version} in {config.model_config}")

    return move


def _new(config: RolloutConfig, reports: Path) -> State:
    now_s = time.time()
    report = reports / time.strftime("%Y%m%d-%H%M%S", time.localtime(now_s))
    number = 1
    while report.exists():
        number += 1
        report = reports / f"{report.name.partition('_')[0]}_{number}"
    report.mkdir(parents=True)
    return State(config.as_json(), str(report.resolve()), now_s)


def _check(source: LocalSource, config: RolloutConfig) -> None:
    """Raise now what no waiting will change."""
    if config.model_config is not None:
        from sightline.rollout.labels import check

        check(config.model_config)
    try:
        reading = source.read(0.0)
    except SourceLost as lost:
        raise MeshError(f"the rollout cannot start: {lost}") from None
    if reading.weight == 100:
        raise ValueError(
            f"{config.to} has all frames already: --to names the other subset, which would get its share"
        )
    if config.gates.agreement is not None and not (reading.agreement or {}).get("enabled"):
        raise ValueError(
            "the gates judge agreement, and the relay compares nothing: start it with --shadow-percent, such as "
            "`sightline up --shadow-percent 20`, or leave the agreement out of the gates"
        )


def status(folder: Path) -> Iterator[str]:
    """Lines for people."""
    store = FileStore(folder)
    state = store.load()
    if state is None:
        yield f"no rollout in {folder}"
        return
    config = RolloutConfig.of_json(state.config)
    step = config.steps[state.step]
    yield f"{state.phase} at {step} % to {config.to} (steps {', '.join(map(str, config.steps))})"
    if state.reason:
        yield state.reason
    with store.owned() as mine:
        if mine and not state.phase.over:
            yield "no controller runs: sightline rollout start goes on, sightline rollout abort goes back to 0 %"
    history = read_history(Path(state.report))
    if history:
        age_s = time.time() - (Path(state.report) / HISTORY).stat().st_mtime
        if not mine and age_s > OLD_S:
            yield f"no numbers for {age_s:.0f} s: its controller holds until they are back, and says why"
        last = history[-1]
        yield f"held {last['held_s']:.0f} s of {config.hold_s:g} s: {last['verdict']}"
        for check in last["checks"]:
            yield f"  {check['verdict']:<5} {check['text']}"


def tell(command: Command, folder: Path) -> str:
    """Give the controller a command, or abort in its place where none runs. Returns what was done."""
    store = FileStore(folder)
    state = store.load()
    if state is None or state.phase.over:
        raise ValueError(f"{folder}: no rollout runs here")
    with store.owned() as mine:
        if not mine:
            store.tell(command)
            return f"told the controller: {command}"
        if command is not Command.ABORT:
            raise ValueError("no controller runs: sightline rollout start goes on with the rollout")
        RolloutFolder(folder).set_weight(RolloutConfig.of_json(state.config).to, 0)
        state.phase, state.reason = Phase.ABORTED, "a person aborted it; no controller ran"
        store.save(state)
    return "aborted: the weight is 0"
