"""What the computer's camera sees, a line per frame, until Ctrl-C.

python examples/webcam.py [relay's host:port]      (a relay: `sightline up --no-mesh`)
"""

import sys
from contextlib import suppress

from client import ClientError, DetectionStream, open_source


def main(relay: str = "127.0.0.1:8600") -> None:
    """Print a line for each frame."""
    with suppress(KeyboardInterrupt), DetectionStream(open_source("0"), relay) as stream:
        for result in stream:
            if result.detections is None:  # dropped or failed: the reason or error tells why
                print(result.frame.frame_id, result.status, result.reason or result.error, flush=True)
                continue
            age = f"{result.age_s * 1e3:.0f} ms"
            print(result.frame.frame_id, age, *result.detections.labels, flush=True)


try:
    main(*sys.argv[1:2])
except ClientError as error:  # no camera, no relay: its text says what, in a line
    sys.exit(str(error))
