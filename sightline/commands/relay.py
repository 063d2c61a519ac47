"""`sightline relay`."""

from __future__ import annotations

from typing import Annotated

import typer

from model import contract


def relay(
    listen: Annotated[str, typer.Option(help="host:port for cameras.")] = "127.0.0.1:8600",
    target: Annotated[str, typer.Option(help="The model server's host:port (gRPC).")] = "127.0.0.1:8500",
    metrics_port: Annotated[int, typer.Option(help="HTTP port for Prometheus; 0: a free one.")] = 8601,
    model_name: str = contract.MODEL_NAME,
    signature_name: str = contract.SIGNATURE,
    in_flight: Annotated[int, typer.Option(help="Predicts under way at once, over all cameras.")] = 8,
    in_flight_per_camera: Annotated[int, typer.Option(help="Predicts under way at once, per camera.")] = 2,
) -> None:
    """Take cameras' streams, ask the model server frame by frame, answer in order."""
    from client.relay import RelayConfig, run

    config = RelayConfig(
        target=target,
        listen=listen,
        metrics_port=metrics_port,
        model_name=model_name,
        signature_name=signature_name,
        in_flight=in_flight,
        in_flight_per_camera=in_flight_per_camera,
    )
    raise typer.Exit(run(config))
