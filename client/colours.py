"""The colours of classes: the same in every picture, on the live page and in every run."""

from __future__ import annotations

# 0xRRGGBB. Neighbours differ well, and so do COCO's person, bicycle, car, motorcycle, bus and truck.
PALETTE = (
    0xFF4136, 0x3D7EFF, 0x2ECC40, 0xFFB700, 0xB455FF, 0xFF851B, 0x7A8B99,
    0x00C8D7, 0xF25FB0, 0xA6D608, 0x8A5A2B, 0x19A974, 0xFF7F7F, 0x5E4BFF,
    0xD4C100, 0xE0218A, 0x4FB3FF, 0xB3A04D, 0x9BE89B, 0xC49BFF,
)  # fmt: skip


def class_colour(class_id: int) -> tuple[int, int, int]:
    """A class's blue, green and red, each 0..255; 20 colours, then again from the first."""
    code = PALETTE[class_id % len(PALETTE)]
    return code & 255, (code >> 8) & 255, code >> 16
