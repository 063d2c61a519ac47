"""`sightline export` and `sightline verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model import contract
from sightline.commands.options import DEFAULT_IMGSZ, ImgszOption, PrecisionOption, TrustOption, imgsz_hw
from sightline.console import table_console


def export(
    weights: Annotated[str, typer.Option(help="A .pt file, yolov8n.pt ... yolov8x.pt, or demo.")],
    out: Annotated[Path, typer.Option(help="The model's base path; the version folder goes below it.")],
    imgsz: ImgszOption = DEFAULT_IMGSZ,
    precision: PrecisionOption = "auto",
    conf: Annotated[
        float, typer.Option(help="Detections that score less are left out.")
    ] = contract.DEFAULT_CONF,
    iou: Annotated[
        float, typer.Option(help="NMS: of two boxes that overlap more, one stays.")
    ] = contract.DEFAULT_IOU,
    max_det: Annotated[int, typer.Option(help="Detections per image, at most.")] = contract.DEFAULT_MAX_DET,
    max_pixels: Annotated[
        int, typer.Option(help="Images that claim more pixels are refused undecoded.")
    ] = contract.DEFAULT_MAX_PIXELS,
    model_version: Annotated[
        int | None, typer.Option(min=1, help="Version number; else the next one.")
    ] = None,
    trust: TrustOption = False,
    sign: Annotated[
        Path | None, typer.Option(help="Sign it with this Ed25519 private key (PEM, no passphrase).")
    ] = None,
) -> None:
    """Export YOLOv8 weights to a SavedModel version that TF Serving serves."""
    from model.export import ExportConfig
    from model.export import export as run

    config = ExportConfig(
        weights, out, imgsz_hw(imgsz), precision, conf, iou, max_det, max_pixels, model_version, trust, sign
    )
    print(run(config))


def verify(
    model: Annotated[Path, typer.Argument(help="A version folder, or a base path: then its newest version.")],
    weights: Annotated[str | None, typer.Option(help="The weights that it was exported from.")] = None,
    signed_by: Annotated[
        Path | None, typer.Option(help="Check its signature first, with this Ed25519 public key (PEM).")
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Image files, folders, videos. Default: Ultralytics' two.")
    ] = None,
    street: Annotated[int, typer.Option(min=0, help="Synthetic street frames for mAP; 0: none.")] = 100,
    trust: TrustOption = False,
) -> None:
    """Compare a SavedModel with Ultralytics' PyTorch model; exit status 1 beyond tolerance."""
    from model.export import version_folder

    folder = version_folder(model)  # before torch and TensorFlow take their seconds
    if weights is None and signed_by is None:
        raise ValueError("expected --weights to compare with, or --signed-by to check the signature, or both")
    if signed_by is not None:  # before anything of the model is loaded: it is a program
        from model import signing

        count = signing.check(folder, signing.read_public_key(signed_by))
        print(f"{folder}: {count} files as they were signed")
    if weights is None:
        return
    from sightline.verify_report import run

    raise typer.Exit(run(folder, weights, images or [], street, trust=trust, console=table_console()))
