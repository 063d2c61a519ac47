"""Programs that end while a stream still runs: their exit status is their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUSY = """
import sys, time
import cv2
import numpy as np
from client import DetectionStream, Frame

class Camera:
    camera_id, live, closed = "busy", True, False
    def frames(self):
        picture = np.zeros((400, 400, 3), np.uint8)
        while not self.closed:
            cv2.medianBlur(picture, 31)  # Python's lock is free meanwhile
            yield Frame("busy", 0, time.monotonic(), time.time_ns(), picture)
    def close(self):
        self.closed = True

stream = DetectionStream(Camera(), "127.0.0.1:1")
next(stream)
sys.exit(3)
"""


def test_a_program_that_leaves_a_stream_open_ends_with_its_own_status_and_not_in_an_abort() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUSY], cwd=Path(__file__).parents[2], capture_output=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (3, b"")
