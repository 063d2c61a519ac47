"""A folder of pictures: JSON Lines, and the pictures with boxes drawn in.

python examples/folder.py FOLDER OUT [relay's host:port]
"""

import sys
from contextlib import suppress
from pathlib import Path

from client import AnnotatedImages, ClientError, DetectionStream, JsonLines, StreamConfig, open_source


def main(folder: str, out: str, relay: str = "127.0.0.1:8600") -> None:
    """Write what is found in each picture."""
    patient = StreamConfig(max_age_s=0)  # pictures wait their turn, however long that is
    with (
        suppress(KeyboardInterrupt),
        DetectionStream(open_source(folder), relay, patient) as stream,
        JsonLines(Path(out) / "results.jsonl") as lines,
        AnnotatedImages(Path(out)) as pictures,
    ):
        for result in stream:
            lines.write(result)
            pictures.write(result)
    print(stream.account)


if len(sys.argv) < 3:
    sys.exit(__doc__)
try:
    main(*sys.argv[1:4])
except ClientError as error:
    sys.exit(str(error))
