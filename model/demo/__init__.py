"""The demo weights: a YOLOv8n trained from scratch on the synthetic street, where no others can be had."""

from __future__ import annotations

from pathlib import Path

DEMO_WEIGHTS = Path(__file__).with_name("yolov8n-street.pt")
DEMO_WEIGHTS_SHA256 = "df2cab35142492ab073a8331337bce5cceec293329eaf468b740777d7eb5477f"
