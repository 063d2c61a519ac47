"""How many people cross the middle of the picture, each way. Needs `pip install 'sightline[track]'`.

python examples/count_people.py clip.mp4 [relay's host:port]
"""

import sys

from client import DetectionStream, SourceOptions, StreamConfig, open_source
from client.choose import Choice
from client.sinks.counts import Counts
from client.track import Tracker

relay = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:8600"
source = open_source(sys.argv[1], SourceOptions(every_frame=True))
people, tracker = Choice(classes=["person"]), Tracker(source.fps)
counts = Counts(source.camera_id, lines={"middle": ((0.5, 1.0), (0.5, 0.0))}, zones={})
with DetectionStream(source, relay, StreamConfig(max_age_s=0)) as stream:
    for result in stream:
        counts.write(people.apply(tracker.apply(result)))
print(*counts.texts(), sep="\n")
