"""`sightline load`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sightline.console import table_console


class ProfileGroup(TyperGroup):
    """`sightline load steady` is `sightline load run steady`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What is no command's name is a profile's."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


app = typer.Typer(cls=ProfileGroup, no_args_is_help=True)


def number(value: float) -> float:
    """An option's value. Raises typer.BadParameter for NaN, which is within any bounds."""
    if math.isnan(value):
        raise typer.BadParameter("expected a number, got nan")
    return value


RelayOption = Annotated[str, typer.Option(help="The relay's or its gateway's host:port, for cameras.")]
ServerOption = Annotated[str, typer.Option(help="The model server's host:port, for Predict.")]
RestOption = Annotated[str, typer.Option(help="The model server's URL, for REST.")]
CaOption = Annotated[Path | None, typer.Option(help="TLS: the PEM file of the authority behind the gateway.")]
CertOption = Annotated[Path | None, typer.Option(help="mTLS: the PEM file of the cameras' certificate.")]
KeyOption = Annotated[Path | None, typer.Option(help="mTLS: the PEM file of its key.")]
TokensOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the cameras' tokens, ID.jwt, or with the key that signs them: "
        "~/.local/state/sightline/mesh for the local mesh."
    ),
]
ProcessesOption = Annotated[int, typer.Option(help="Processes that generate load.")]
OutOption = Annotated[
    Path | None, typer.Option(help="Folder of the results. Default: a new one in runs/load.")
]
StackOption = Annotated[
    str,
    typer.Option(
        help="Start a stack with a real model for the run: plain or mesh. Default: as the profile says."
    ),
]


LocustArgument = Annotated[
    list[str] | None, typer.Argument(help="After --: more options of Locust's, such as --worker.")
]


@app.callback()
def load() -> None:
    """Load with cameras and callers: `sightline load PROFILE`, or a command.

    Profiles: steady, ramp, spike, soak, canary, chaos, calls, or a YAML file.
    """


@app.command()
def run(
    profile: Annotated[str, typer.Argument(help="A profile's name, or a YAML file.")],
    relay: RelayOption = "127.0.0.1:8600",
    server: ServerOption = "127.0.0.1:8500",
    rest: RestOption = "http://127.0.0.1:8501",
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    tokens: TokensOption = None,
    stack: StackOption = "",
    processes: ProcessesOption = 1,
    web: Annotated[
        bool, typer.Option("--web", help="Show Locust's own page, and stay until Ctrl-C.")
    ] = False,
    web_port: Annotated[int, typer.Option(min=1, max=65535, help="Its port, on loopback.")] = 8089,
    samples: Annotated[
        bool, typer.Option("--samples", help="Write each frame's fate into CSV files too.")
    ] = False,
    out: OutOption = None,
    locust: LocustArgument = None,
) -> None:
    """Run a profile. Exit status 0: all goals met. 1: one missed, or nothing delivered.

    3: the figures are not to be trusted: the generator was the bottleneck, it offered less than was planned, a user \
ended with an error, a worker's clock was off, or frames are not accounted for.
    """
    from loadtest.launch import LaunchConfig
    from loadtest.plan import Target
    from loadtest.profile import load_profile
    from sightline.load import LoadConfig, new_folder, with_stack
    from sightline.load import run as run_load

    loaded = with_stack(load_profile(profile), stack)
    target = Target(relay, server, rest, ca=text(ca), cert=text(cert), key=text(key), tokens=text(tokens))
    launch = LaunchConfig(processes, web_port if web else 0, tuple(locust or ()))
    raise typer.Exit(run_load(LoadConfig(loaded, target, out or new_folder(loaded.name), launch, samples)))


@app.command()
def capacity(
    fps: Annotated[
        float, typer.Option(min=0.1, max=1000, callback=number, help="Frames a second of each camera.")
    ] = 15.0,
    age: Annotated[
        float, typer.Option(min=1, max=600_000, callback=number, help="The goal: so many milliseconds ...")
    ] = 200.0,
    at: Annotated[
        float, typer.Option(min=1, max=100, callback=number, help="... at this percentile of the ages.")
    ] = 99.0,
    delivered: Annotated[
        float,
        typer.Option(min=0, max=100, callback=number, help="And so many percent of the frames delivered."),
    ] = 99.0,
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Never try more cameras.")] = 512,
    measure: Annotated[
        float, typer.Option(min=2, max=3600, callback=number, help="Seconds of each trial.")
    ] = 10.0,
    images: Annotated[
        str, typer.Option(help="What cameras show, as `sightline detect` takes it.")
    ] = "synthetic:fps=1",
    relay: RelayOption = "127.0.0.1:8600",
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    tokens: TokensOption = None,
    stack: StackOption = "",
    processes: ProcessesOption = 1,
    out: OutOption = None,
    locust: LocustArgument = None,
) -> None:
    """How many cameras a deployment holds; see docs/capacity.md. Exit status 1: not even one; 3: as for run."""
    from loadtest.launch import LaunchConfig
    from loadtest.plan import Search, Target
    from loadtest.profile import CameraLoad, Goal, Profile, Stage
    from sightline.load import LoadConfig, new_folder, with_stack
    from sightline.load import run as run_load

    search = Search(most=most, measure_s=measure)
    goals = (Goal("age_ms", at=at, max=age), Goal("delivered_percent", min=delivered), Goal("lost", max=0))
    profile = Profile(
        "capacity", f"How many cameras at {fps:g} frames a second hold.", (Stage(1, measure),),
        camera=CameraLoad(fps), images=images, slo=goals,
    )  # fmt: skip
    target = Target(relay, ca=text(ca), cert=text(cert), key=text(key), tokens=text(tokens))
    config = LoadConfig(
        with_stack(profile, stack),
        target,
        out or new_folder("capacity"),
        LaunchConfig(processes, locust=tuple(locust or ())),
        search=search,
    )
    raise typer.Exit(run_load(config))


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="The folder of a run.")],
    second: Annotated[Path, typer.Argument(help="The folder of another one of the same profile.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="Percent of difference that doesn't matter.")
    ] = 10.0,
) -> None:
    """Is the second run worse? Exit status 1: by more than chance and the tolerance; 3: not to be trusted, or unclear.

    A page with both goes into the second run's folder, compare.html.
    """
    from sightline.load import compare as run_compare

    raise typer.Exit(run_compare(first, second, tolerance / 100, table_console()))


@app.command()
def selfcheck(processes: ProcessesOption = 1, out: OutOption = None) -> None:
    """Measure a server whose latencies are known (25 s). Exit status 1: a percentile is off by more than 2 %."""
    from sightline.load import new_folder
    from sightline.load import selfcheck as run_selfcheck

    raise typer.Exit(run_selfcheck(out or new_folder("selfcheck"), processes, table_console()))


def text(path: Path | None) -> str:
    """An option's path; "" for none."""
    return str(path.expanduser()) if path else ""
