"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from model import contract

DEFAULT_IMGSZ = str(contract.DEFAULT_IMGSZ)

ImgszOption = Annotated[str, typer.Option(help="Largest input: N, or HEIGHTxWIDTH; multiples of 32.")]
PrecisionOption = Annotated[str, typer.Option(help="fp32, bf16, or auto: bf16 where the CPU has it.")]
ShadowPercentOption = Annotated[
    float,
    typer.Option(help="Share of the frames that the candidate is asked about too, to compare; in percent."),
]
ShadowPairsOption = Annotated[
    int, typer.Option(help="Keep so many of the worst disagreements as pictures, for the live page.")
]
TrustOption = Annotated[bool, typer.Option("--trust", help="Unpickle the weights whatever they hold.")]


def imgsz_hw(text: str) -> tuple[int, int]:
    """`640` -> (640, 640), `384x640` -> (384, 640)."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"--imgsz: expected N or HEIGHTxWIDTH, got {text!r}")
    return int(sides[0]), int(sides[-1])
