"""The values that travel through a client: frames, detections, results and their accounts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

AHEAD_S = 1.0  # of now, as a capture's time may be that is estimated
OLDEST_S = 1e9  # that a frame may be: far more than any is


class DropReason(StrEnum):
    """Why a captured frame got no answer. The first three happen at the camera, the others anywhere."""

    SOURCE_OVERRUN = "source_overrun"  # the next frame came before this one was taken from the source
    DISCONNECTED = "disconnected"  # sent, and the stream broke before its result came
    UNSENT = "unsent"  # no connection to send it on
    MAILBOX = "mailbox"  # a fresher frame took its place while it waited
    EXPIRED = "expired"  # older than max_age
    SHUTDOWN = "shutdown"  # the client or the relay was stopping


class Status(StrEnum):
    """What became of a frame."""

    DELIVERED = "delivered"
    ERRORED = "errored"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One captured picture.

    `image_bgr` is uint8 [H, W, 3], OpenCV's channel order; None where the source gives encoded files.
    `jpeg` is the encoded file where the source already has one (an image folder), else None.
    `captured_s` is `time.monotonic()` at capture, `captured_unix_ns` the wall clock's. `read_s`: when it was in this
    process, not decoded yet; 0: the source cannot tell that from capture or decoding. `decoded_s`: when the picture
    was there; 0: nothing was decoded. docs/streaming.md says what these are for each kind of source.
    """

    camera_id: str
    frame_id: int
    captured_s: float
    captured_unix_ns: int
    image_bgr: NDArray[np.uint8] | None = None
    jpeg: bytes | None = None
    name: str = ""  # the file the frame came from, where there is one
    read_s: float = 0.0
    decoded_s: float = 0.0


def check_frame(frame: object) -> Frame:
    """What a source gave, if it is a frame that can be sent.

    Raises:
        TypeError, ValueError: what was expected, and what came.
    """
    if not isinstance(frame, Frame):
        raise TypeError(f"frames(): expected a client.Frame, got a {type(frame).__name__}")
    _check_camera_id(frame.camera_id)
    for name in ("frame_id", "captured_unix_ns"):
        value = getattr(frame, name)
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value < 1 << 64:
            raise ValueError(f"{name}: expected a whole number of 64 bits, 0 or more, got {value!r:.60}")
    captured_s = frame.captured_s
    is_number = isinstance(captured_s, float | int | np.floating | np.integer)
    if not (is_number and -AHEAD_S <= time.monotonic() - captured_s <= OLDEST_S):  # NaN neither
        raise ValueError(f"captured_s: expected time.monotonic() of its capture, got {captured_s!r:.60}")
    if not isinstance(frame.jpeg, bytes | None):
        raise TypeError(f"jpeg: expected bytes or None, got a {type(frame.jpeg).__name__}")
    _check_image(frame.image_bgr)
    return frame


def _check_camera_id(camera_id: object) -> None:
    """Raise what is wrong with a frame's camera id: TypeError or ValueError."""
    if not isinstance(camera_id, str):
        raise TypeError(f'camera_id: expected a text such as "door", got {camera_id!r:.60}')
    try:
        camera_id.encode()
    except UnicodeEncodeError:
        raise ValueError(f"camera_id: expected a text that is UTF-8, got {camera_id!r:.60}") from None


def _check_image(image: object) -> None:
    """Raise what is wrong with a frame's picture, which OpenCV would send all the same, as another one: TypeError."""
    if image is None or (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3)):
        return
    came = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
    raise TypeError(f"image_bgr: expected a uint8 array [H, W, 3] or None, got {came}")


class Source(Protocol):
    """Where frames come from: one camera, file or folder.

    `frames()` is called once and read on a thread of its own. If it raises, the stream settles the frames
    that are under way and then raises the same error from its iterator.
    `close()` makes `frames()` end soon; it may be called from another thread, and more than once.
    """

    @property
    def camera_id(self) -> str:
        """The name of the camera: 1 to 256 bytes of UTF-8, the same in every frame."""

    @property
    def live(self) -> bool:
        """True: frames that nobody takes in time are lost, as a camera's. False: the next frame waits."""

    def frames(self) -> Iterator[Frame]:
        """The frames in the order of capture."""

    def close(self) -> None:
        """Stop and release what the source holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """K detections of one frame by falling score.

    `boxes` float32 [K, 4]: ymin, xmin, ymax, xmax in 0..1 of the frame. `scores` float32 [K] in 0..1.
    `class_ids` int32 [K], 0-based. `labels` K class names. `track_ids` int64 [K]: the object's number, the same
    from frame to frame, from 1; -1: no track (yet); None where nothing tracks.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    labels: tuple[str, ...]
    track_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What became of one frame: exactly one of `detections`, `reason` and `error` is set.

    `age_s` is the result's age in seconds: from capture until the client had the result, by the camera's
    monotonic clock. `stages_ms` names the parts of it, which add up to it: capture, decode, wait, encode, network,
    relay_queue, predict (where the model server tells its times: mesh, server, infer), relay_order, post. A frame that
    was dropped before it was sent comes without its picture. `late`: delivered, and older than the stream's max age.
    """

    frame: Frame
    status: Status
    age_s: float
    detections: Detections | None = None
    reason: DropReason | str | None = None  # a relay may know reasons that this client does not
    error: str | None = None  # "CODE: message"
    model_name: str = ""
    model_version: int = 0
    stages_ms: dict[str, float] = field(default_factory=dict)
    late: bool = False


MAX_REASONS = 64  # that are told apart; another end must not fill our memory


@dataclass(slots=True)
class Account:
    """Frame conservation: captured = delivered + errored + dropped{reason}, always.

    `late` of the delivered were older than the stream's max age. `codes`: the errored by gRPC status code's name.
    """

    captured: int = 0
    delivered: int = 0
    errored: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    late: int = 0
    codes: Counter[str] = field(default_factory=Counter, repr=False)

    def add(self, result: Result) -> None:
        """Count one result; `captured` is counted where frames are captured."""
        if result.status is Status.DELIVERED:
            self.delivered += 1
            self.late += result.late
        elif result.status is Status.ERRORED:
            self.errored += 1
            _count(self.codes, (result.error or "").partition(":")[0])
        else:
            _count(self.dropped, str(result.reason))

    def merge(self, other: Account) -> None:
        """Add another one's counts."""
        self.captured += other.captured
        self.delivered += other.delivered
        self.errored += other.errored
        self.dropped.update(other.dropped)
        self.late += other.late
        self.codes.update(other.codes)

    @property
    def settled(self) -> int:
        """Frames whose fate is known."""
        return self.delivered + self.errored + self.dropped.total()

    @property
    def balanced(self) -> bool:
        """Whether every captured frame is accounted for. True only once nothing is under way."""
        return self.captured == self.settled


def _count(counter: Counter[str], kind: str) -> None:
    """Count one of a kind, or of "other" once there are too many kinds."""
    counter[kind if kind in counter or len(counter) < MAX_REASONS else "other"] += 1
