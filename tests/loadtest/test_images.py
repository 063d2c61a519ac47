"""What users send."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from client.errors import SourceError
from loadtest.images import IMAGES, load_images


def picture(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


def decoded(image: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def test_a_folder_is_sent_in_turn(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b.png", "c.jpg")):
        cv2.imwrite(str(tmp_path / name), picture(60 * number))
    images = load_images(str(tmp_path))
    assert [round(float(decoded(image).mean()) / 60) for image in images] == [0, 1, 2]
    assert decoded(images[0]).shape == (48, 64, 3)


def test_the_first_pictures_of_a_video_are_sent(tmp_path: Path) -> None:
    path = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(IMAGES + 5):
        writer.write(picture(10 * number))
    writer.release()
    images = load_images(path)
    assert len(images) == IMAGES
    assert [round(float(decoded(image).mean()) / 10) for image in images] == list(range(IMAGES))


def test_nothing_to_send_is_told(tmp_path: Path) -> None:
    for spec in (str(tmp_path), str(tmp_path / "nonesuch.mp4")):
        with pytest.raises((SourceError, ValueError)) as caught:
            load_images(spec)
        assert "\n" not in str(caught.value)
