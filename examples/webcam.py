"""What the computer's camera sees, a line per frame, until Ctrl-C.

python examples/webcam.py [relay's host:port]      (a relay: `sightline up --no-mesh`)
"""

import sys
from contextlib import suppress

from client import DetectionStream, open_source

relay = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8600"
with suppress(KeyboardInterrupt), DetectionStream(open_source("0"), relay) as stream:
    for result in stream:
        if result.detections is None:  # dropped or failed: the reason or error tells why
            print(result.frame.frame_id, result.status, result.reason or result.error, flush=True)
        else:
            print(
                f"{result.frame.frame_id} {result.age_s * 1e3:.0f} ms", *result.detections.labels, flush=True
            )
