"""`sightline relay`."""

from __future__ import annotations

from typing import Annotated

import typer

from model import contract
from sightline.commands.options import ShadowPairsOption, ShadowPercentOption


def relay(
    listen: Annotated[str, typer.Option(help="host:port for cameras.")] = "127.0.0.1:8600",
    target: Annotated[str, typer.Option(help="The model server's host:port (gRPC).")] = "127.0.0.1:8500",
    http_port: Annotated[
        int, typer.Option(help="HTTP port: live page, /v1/detect, /metrics; 0: a free one.")
    ] = 8601,
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page", help="Offer the live page and /v1/detect. Default: on a loopback address."
        ),
    ] = None,
    http_name: Annotated[
        list[str] | None, typer.Option(help="A host name under which browsers may ask, besides localhost.")
    ] = None,
    model_name: str = contract.MODEL_NAME,
    signature_name: str = contract.SIGNATURE,
    in_flight: Annotated[
        int, typer.Option(help="Predicts under way at once, at most; the relay finds how many are useful.")
    ] = 64,
    in_flight_per_camera: Annotated[int, typer.Option(help="Predicts under way at once, per camera.")] = 2,
    max_streams: Annotated[int, typer.Option(help="Cameras' streams at once, at most.")] = 1024,
    max_image_bytes: Annotated[int, typer.Option(help="Of a frame; a larger one is an error result.")] = 8
    << 20,
    shadow_percent: ShadowPercentOption = 0.0,
    shadow_version: Annotated[
        str, typer.Option(help="The candidate: what the header `version` of its Predicts says.")
    ] = "v2",
    shadow_target: Annotated[
        str,
        typer.Option(help="The candidate's own host:port, where no header reaches it. Default: --target."),
    ] = "",
    shadow_pairs: ShadowPairsOption = 0,
) -> None:
    """Take cameras' streams, ask the model server frame by frame, answer in order."""
    from client.relay import RelayConfig, run

    config = RelayConfig(
        target=target,
        listen=listen,
        http_port=http_port,
        page=page,
        http_names=tuple(http_name or ()),
        model_name=model_name,
        signature_name=signature_name,
        in_flight=in_flight,
        in_flight_per_camera=in_flight_per_camera,
        max_streams=max_streams,
        max_image_bytes=max_image_bytes,
        shadow_percent=shadow_percent,
        shadow_version=shadow_version,
        shadow_target=shadow_target,
        shadow_pairs=shadow_pairs,
    )
    raise typer.Exit(run(config))
