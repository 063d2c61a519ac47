"""The demo weights: a YOLOv8n trained from scratch on the synthetic street, where no others can be had."""

from __future__ import annotations

from pathlib import Path

DEMO_WEIGHTS = Path(__file__).with_name("yolov8n-street.pt")
DEMO_WEIGHTS_SHA256 = "c76b072f778e3fa2e3ca87942a96fc5d5c259414c432c6ec1096eb4dde8d0602"
