"""A folder of pictures: JSON Lines, and the pictures with boxes drawn in.

python examples/folder.py FOLDER OUT [relay's host:port]
"""

import sys
from pathlib import Path

from client import AnnotatedImages, DetectionStream, JsonLines, StreamConfig, open_source

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
relay = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1:8600"
patient = StreamConfig(max_age_s=0)  # pictures wait their turn, however long that is
with (
    DetectionStream(open_source(str(folder)), relay, patient) as stream,
    JsonLines(out / "results.jsonl") as lines,
    AnnotatedImages(out) as pictures,
):
    for result in stream:
        lines.write(result)
        pictures.write(result)
print(stream.account)
