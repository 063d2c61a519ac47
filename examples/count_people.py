"""How many people cross the middle of the picture, each way. Needs `pip install '.[track]'` in Sightline's folder.

python examples/count_people.py clip.mp4 [relay's host:port]
"""

import sys
from contextlib import suppress

from client import ClientError, DetectionStream, SourceOptions, StreamConfig, open_source
from client.choose import Choice
from client.sinks.counts import Counts
from client.track import Tracker


def main(clip: str, relay: str = "127.0.0.1:8600") -> None:
    """Count over the whole clip, or until Ctrl-C."""
    source = open_source(clip, SourceOptions(every_frame=True))
    people, tracker = Choice(classes=["person"]), Tracker(source.fps)
    counts = Counts(source.camera_id, lines={"middle": ((0.5, 1.0), (0.5, 0.0))}, zones={})
    with suppress(KeyboardInterrupt), DetectionStream(source, relay, StreamConfig(max_age_s=0)) as stream:
        for result in stream:
            counts.write(people.apply(tracker.apply(result)))
    print(*counts.texts(), sep="\n")


if len(sys.argv) < 2:
    sys.exit(__doc__)
try:
    main(*sys.argv[1:3])
except ClientError as error:
    sys.exit(str(error))
