"""A network camera: stamped pictures of the synthetic street as motion JPEG over HTTP. `python -m ... FPS`.

Prints its port. Like a camera it never waits: while the network takes nothing, its pictures are lost.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

from model.street import StreetScene, paint_stamp

SIZE_WH = (640, 360)
SCENES = 32  # pictures that are drawn beforehand and shown in turn, so that drawing costs the others nothing
QUALITY = 85


def main(fps: float) -> None:
    """Serve one viewer after the other, until killed."""
    street = StreetScene(3, SIZE_WH)
    pictures = [street.render(number / 15).image_bgr for number in range(SCENES)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            started_s, number = time.monotonic(), 0
            while True:
                time.sleep(max(0.0, started_s + number / fps - time.monotonic()))
                try:
                    self.wfile.write(part(pictures[number % SCENES].copy(), number))
                except OSError:  # the viewer went
                    return
                number = max(number + 1, int((time.monotonic() - started_s) * fps))

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


def part(picture_bgr: NDArray[np.uint8], number: int) -> bytes:
    """One picture of the stream, stamped now."""
    paint_stamp(picture_bgr, number, time.time_ns())
    image = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
    return head.encode() + image + b"\r\n"


if __name__ == "__main__":
    main(float(sys.argv[1]))
