"""`sightline mesh`: check, render and run Istio's YAML; tokens for cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

PathsArgument = Annotated[
    list[Path] | None, typer.Argument(help="YAML files and folders, kustomizations too. Default: our istio/.")
]
ComponentOption = Annotated[
    list[str] | None, typer.Option(help="Of istio/components, such as faults/abort, or a folder; repeatable.")
]
EndpointsOption = Annotated[
    Path | None, typer.Option(help="Where the programs are on this machine. Default: mesh/endpoints.yaml.")
]
MeshConfigOption = Annotated[
    Path | None,
    typer.Option(help="istiod's Helm values or MeshConfig. Default: istio/install's, with our istio/."),
]


@app.callback()
def mesh() -> None:
    """Istio's YAML on this machine: checked, translated, and run by a real Envoy."""


@app.command()
def check(
    paths: PathsArgument = None,
    output_format: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Find what Istio would refuse, and the traps that it lets through; exit status 1 on errors."""
    from mesh.check import run
    from mesh.stack import istio_folder

    if output_format not in ("text", "json"):
        raise ValueError(f"--format: expected text or json, got {output_format!r}")
    raise typer.Exit(run(paths or [istio_folder()], json=output_format == "json"))


@app.command()
def render(
    paths: PathsArgument = None,
    component: ComponentOption = None,
    endpoints: EndpointsOption = None,
    mesh_config: MeshConfigOption = None,
    role: Annotated[str, typer.Option(help="ingress, outbound or inbound only. Default: all.")] = "",
    output_format: Annotated[str, typer.Option("--format", help="yaml or json.")] = "yaml",
) -> None:
    """Print the Envoy configuration that istiod would make of the files."""
    from mesh.render.command import run
    from mesh.stack import ENDPOINTS
    from mesh.tokens import ISSUER, TokenIssuer

    if output_format not in ("yaml", "json"):
        raise ValueError(f"--format: expected yaml or json, got {output_format!r}")
    files, folders, values = _inputs(paths, component, mesh_config)
    raise typer.Exit(
        run(
            files,
            endpoints or ENDPOINTS,
            components=folders,
            mesh_config=values,
            role=role,
            as_json=output_format == "json",
            jwks=TokenIssuer().jwks,
            issuer=ISSUER,
        )
    )


@app.command()
def run(
    paths: PathsArgument = None,
    component: ComponentOption = None,
    endpoints: EndpointsOption = None,
    mesh_config: MeshConfigOption = None,
    logs: Annotated[Path | None, typer.Option(help="Folder that keeps access logs and Envoy's own.")] = None,
) -> None:
    """Run the files in a real Envoy until Ctrl-C; a changed file is live within a second."""
    from mesh.render.topology import read_topology
    from mesh.run import MeshConfig
    from mesh.run import run as run_mesh
    from mesh.stack import ENDPOINTS

    files, folders, values = _inputs(paths, component, mesh_config)
    topology = read_topology(endpoints or ENDPOINTS)
    raise typer.Exit(run_mesh(MeshConfig(files, topology, folders, mesh_config=values, logs=logs)))


@app.command()
def token(
    camera: Annotated[str, typer.Option(help="The camera's id: the only one that the token allows.")],
    canary: Annotated[bool, typer.Option("--canary", help="It may choose the model's version.")] = False,
    ttl: Annotated[float, typer.Option(help="Seconds until it expires.")] = 3600.0,
) -> None:
    """Print a token for a camera, signed with this machine's key."""
    from mesh.tokens import TokenIssuer

    print(TokenIssuer().token(camera, canary=canary, ttl_s=ttl))


def _inputs(
    paths: list[Path] | None, component: list[str] | None, mesh_config: Path | None
) -> tuple[tuple[Path, ...], tuple[Path, ...], Path | None]:
    """Files, components' folders, and istiod's values: our istio/ where nothing else is named."""
    from mesh.stack import component_folder, istio_folder

    folders = tuple(component_folder(name, istio_folder()) for name in component or ())
    if paths:
        return tuple(paths), folders, mesh_config
    istio = istio_folder()
    return (istio / "base",), folders, mesh_config or istio / "install" / "istiod-values.yaml"
