"""Where frames come from.

    with closing(open_source("rtsp://user:secret@camera/stream")) as source:
        for frame in source.frames():
            ...

| spec | source |
|---|---|
| `0`, `/dev/video0` | webcam number 0 |
| `clip.mp4` | video file, at its own rate |
| `rtsp://...`, `http://...` | network camera, opened again when it goes away |
| `https://host/clip.mp4` | video file on a web server |
| `photo.jpg`, `folder`, `folder/*.png` | image files |
| `synthetic`, `synthetic:seed=3,fps=15,size=1280x720` | synthetic street camera |
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from client.errors import SourceError
from client.sources.header import is_encoded
from client.sources.images import SUFFIXES, ImageSource, folder_source, glob_source
from client.sources.live import LiveSource, url_source, webcam_source
from client.sources.names import camera_id as default_camera_id
from client.sources.names import camera_ids, is_url, redact
from client.sources.options import SourceOptions
from client.sources.synthetic import SyntheticSource, Truth, parse_scene
from client.sources.video import VideoSource, file_source, url_file_source

# Each is a client.types.Source with `fps`, the frames a second that it gives.
OpenedSource = ImageSource | LiveSource | SyntheticSource | VideoSource

__all__ = [
    "ImageSource", "LiveSource", "OpenedSource", "SourceError", "SourceOptions", "SyntheticSource", "Truth",
    "VideoSource", "camera_ids", "check_source", "open_source", "redact",
]  # fmt: skip

SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "udp", "tcp"})
_VIDEO_ENDINGS = (".mp4", ".m4v", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg")


def open_source(
    spec: str | os.PathLike[str], options: SourceOptions | None = None, camera_id: str | None = None
) -> OpenedSource:
    """Open a source by what names it: see the table above. A file whose name is a number is `./0` or a `Path`.

    `camera_id` names its frames; by default it is derived from the spec.

    Raises:
        SourceError: there is no such source, or it cannot be read. One line, without passwords. A network
            camera is given `options.open_timeout_s`, unless `options.patient`.
        TypeError: `spec` is neither text nor path, but OpenCV's number of a webcam, for one.
    """
    spec = _as_text(spec)
    options = options or SourceOptions()
    name = camera_id or default_camera_id(spec)
    webcam = re.fullmatch(r"(?:/dev/video)?([0-9]{1,3})", spec)
    if webcam:
        return webcam_source(int(webcam.group(1)), name, options)
    if spec == "synthetic" or spec.startswith("synthetic:"):
        return SyntheticSource(parse_scene(spec), name, options)
    if is_url(spec):
        return _open_url(spec, name, options)
    return _open_path(spec, name, options)


def _as_text(spec: object) -> str:
    """What names a source, as text; a path's text that names nothing but a file or folder. Raises TypeError."""
    if isinstance(spec, str):
        return spec
    if not isinstance(spec, os.PathLike):
        raise TypeError(f'source: expected a text or a path, got {spec!r:.60}; the first webcam is "0"')
    path = os.fsdecode(spec)
    return path if os.path.dirname(path) else os.path.join(os.curdir, path)


def check_source(spec: str, options: SourceOptions | None = None) -> None:
    """Raise what `open_source` would raise, as far as it can be told without the network."""
    if not is_url(spec) or spec.partition("://")[0].lower() not in SCHEMES:
        open_source(spec, options).close()


def _open_url(url: str, camera_id: str, options: SourceOptions) -> LiveSource | VideoSource | ImageSource:
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme == "file":
        return _open_path(unquote(urlsplit(url).path), camera_id, options)
    if scheme not in SCHEMES:
        raise SourceError(f"cannot open {redact(url)}: expected one of {' '.join(sorted(SCHEMES))}://")
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    if scheme in {"http", "https"} and path.lower().endswith(_VIDEO_ENDINGS):
        return url_file_source(url, camera_id, options)
    return url_source(url, camera_id, options)


def _open_path(spec: str, camera_id: str, options: SourceOptions) -> ImageSource | VideoSource:
    path = Path(spec).expanduser()
    try:
        if path.is_dir() and spec:
            return folder_source(path, camera_id, options)
        if path.is_file():
            return _open_file(path, camera_id, options)
        if spec and path.exists():
            raise SourceError(f"cannot open {redact(spec)!r}: expected a file or folder, this is neither")
    except (OSError, ValueError) as error:  # no permission to look, a name too long, a null character
        raise SourceError(
            f"cannot open {redact(spec)!r}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if re.search(r"[*?\[]", spec):
        return glob_source(str(path), camera_id, options)
    raise SourceError(f"no such file or folder: {redact(spec)!r}")


def _open_file(path: Path, camera_id: str, options: SourceOptions) -> ImageSource | VideoSource:
    """Image or video: by its name, else by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return ImageSource([path], camera_id, options)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    if is_encoded(start):
        return ImageSource([path], camera_id, options)
    return file_source(path, camera_id, options)
