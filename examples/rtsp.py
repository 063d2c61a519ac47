"""A network camera whose results stay fresh: what is older than 0.3 s is dropped and counted, never queued.

python examples/rtsp.py rtsp://user:password@camera/stream [relay's host:port]      until Ctrl-C
"""

import sys
from contextlib import suppress

from client import ClientError, DetectionStream, SourceOptions, StreamConfig, open_source


def main(url: str, relay: str = "127.0.0.1:8600") -> None:
    """Tell when somebody is at the door."""
    # patient: a camera that is off is tried again, with longer and longer pauses, as one that goes away always is.
    source = open_source(url, SourceOptions(patient=True), camera_id="door")
    with suppress(KeyboardInterrupt), DetectionStream(source, relay, StreamConfig(max_age_s=0.3)) as stream:
        for result in stream:
            if result.detections is not None and "person" in result.detections.labels:
                print(f"somebody is at the door, seen {result.age_s * 1e3:.0f} ms ago", flush=True)
    print(stream.account)


if len(sys.argv) < 2:
    sys.exit(__doc__)
try:
    main(*sys.argv[1:3])
except ClientError as error:
    sys.exit(str(error))
