"""The command line: what each command is called, and what becomes of its errors."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from client.errors import ClientError
from model.extras import how_to_install
from sightline import interrupts
from sightline.commands import bench, detect, load, mesh, model, relay, rollout, stream

# The extra that brings a package which a command may miss.
EXTRAS = {
    "tensorflow": "serving",
    "tensorflow_serving": "serving",
    "httptools": "serving",
    "uvicorn": "serving",
    "torch": "export",
    "torchvision": "export",
    "ultralytics": "export",
    "ultralytics-opencv-headless": "export",  # what its metadata calls it
    "pycocotools": "export",
    "onnxruntime": "bench",
    "openvino": "bench",
    "onnx": "bench",
    "cryptography": "mesh",
    "envoy": "mesh",
    "jsonschema": "mesh",
    "jwt": "mesh",
    "onnxscript": "bench",
    "gevent": "load",
    "hdrh": "load",
    "jinja2": "load",
    "locust": "load",
    "scipy": "rollout",
    "matplotlib": "rollout",
    "paho": "mqtt",
    "supervision": "track",
    "opentelemetry": "otel",
}

app = typer.Typer(
    name="sightline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sightline {version('sightline')}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Real-time object detection serving: export YOLOv8, serve it, stream cameras through it."""


@app.command()
def serve() -> None:
    """Serve SavedModels with TF Serving's protocol and flags (sightline serve --help lists them)."""
    # Only for the list of commands: `main` hands the flags over in TF Serving's own syntax.


for command in (model.export, model.verify, relay.relay, detect.detect, stream.up):
    app.command()(command)
app.add_typer(mesh.app, name="mesh")
app.add_typer(bench.app, name="bench")
app.add_typer(rollout.app, name="rollout")
app.add_typer(load.app, name="load")


def main() -> None:
    """Run the command of sys.argv. Expected errors are one line on standard error; exit status 1, for usage 2."""
    # What stops a container stops a command as Ctrl-C does; commands that drain install handlers of their own.
    interrupts.install()
    try:
        if sys.argv[1:2] == ["serve"]:
            from serving import main as serve_main

            sys.exit(serve_main(sys.argv[2:]))
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _fail(f"{package} is not installed: {how_to_install(EXTRAS[package])}")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (ClientError, ValueError, RuntimeError) as error:
        _fail(str(error) or type(error).__name__)


def _fail(message: str) -> NoReturn:
    print(f"sightline: {message}", file=sys.stderr)
    sys.exit(1)
