"""`sightline verify`, told to people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from model.verify import Compared, Comparison, Street, Verifier, image_files


def run(
    folder: Path, weights: str, images: Sequence[Path], street: int, *, trust: bool, console: Console
) -> int:
    """Compare a version folder, print the figures, and return 0 if all is within tolerance, else 1."""
    verifier = Verifier(folder, weights, trust=trust)
    compared = verifier.compare(image_files(images or default_images()))
    passed = compared.network.passed and compared.whole.passed
    console.print(f"{folder}: {verifier.meta.precision} against PyTorch fp32, {compared.images} images")
    console.print(_table(compared))
    on_street = verifier.street(street) if street else None
    if on_street is not None:
        passed &= on_street.passed
        console.print(_street_line(street, on_street), highlight=False)
    console.print("within tolerance" if passed else "BEYOND TOLERANCE")
    return 0 if passed else 1


def default_images() -> list[Path]:
    """The two photographs that come with Ultralytics: people and a bus, two people and a tie."""
    import ultralytics

    assets = Path(ultralytics.__file__).parent / "assets"
    return [assets / "bus.jpg", assets / "zidane.jpg"]


def _table(compared: Compared) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "detections", "matched", "extra", "box, px", "score", "allowed", ""):
        table.add_column(title, justify="left" if title in ("", "allowed") else "right", no_wrap=True)
    rows = (("network, same pixels", compared.network), ("from the file", compared.whole))
    for name, figures in rows:
        table.add_row(
            name, str(figures.expected), str(figures.matched), str(figures.extra), f"{figures.box_px:.2g}",
            f"{figures.score:.2g}", _allowed(figures), "ok" if figures.passed else "FAILED",
        )  # fmt: skip
    return table


def _allowed(figures: Comparison) -> str:
    allowed = figures.tolerance
    what = "all" if allowed.min_score == 0 else f"score ≥ {allowed.min_score:g}"
    parts = [f"{100 * allowed.matched:g} % of {what} at IoU {allowed.iou:g}"]
    if allowed.box_px is not None:
        parts.append(f"{allowed.box_px:g} px")
    if allowed.score is not None:
        parts.append(f"score {allowed.score:g}")
    return ", ".join(parts)


def _street_line(images: int, street: Street) -> str:
    return (
        f"synthetic street, {images} unseen frames: mAP50 {street.exported.map50:.3f}, "
        f"mAP50-95 {street.exported.map50_95:.4f} against {street.reference.map50_95:.4f}, "
        f"{street.lost_points:+.2f} points lost of {street.allowed_points:g} allowed: "
        + ("ok" if street.passed else "FAILED")
    )
