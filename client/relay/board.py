"""What people may see of the relay: each camera's last minute, its state, and its newest picture while one looks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from client.relay.history import History
from client.tally import plain_error
from client.wire import relay_pb2 as pb

STALLED_S = 2.0  # an open stream without a frame for so long, and for so many of its frame intervals:
STALLED_INTERVALS = 4
UNANSWERED_S = 3.0  # frames come, and none was delivered for so long, and for so many of a result's intervals
GONE_KEPT, GONE_KEPT_S = 64, 600.0  # cameras that left: how many and how long they stay on the board
MAX_GAP = 100_000  # of frame ids; a camera that makes them up must not fill the page
MAX_PROBLEM = 300  # letters of what a camera says of itself
AT_CAMERA = "camera"  # gaps in the frame ids: frames that the camera dropped before it sent them


# What a camera may say of its source.
CONNECTING, STREAMING, STALLED, BACKING_OFF, FAILED = (
    "connecting",
    "streaming",
    "stalled",
    "backing off",
    "failed",
)
_BADNESS = {CONNECTING: 1, BACKING_OFF: 1, FAILED: 2}
SOURCE_STATES = frozenset({CONNECTING, STREAMING, STALLED, BACKING_OFF, FAILED})


class Stream(Protocol):
    """One of a camera's streams."""

    def retry(self) -> None:
        """Ask the camera to try its source again."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivered frame as people see it. `serial` tells a newer one of the same camera."""

    serial: int
    image: bytes
    result: pb.Result


@dataclass(frozen=True, slots=True)
class _Source:
    """How a stream's source is, as its camera says."""

    state: str = STREAMING
    problem: str = ""
    since_s: float = 0.0
    retry_at_s: float = 0.0


class _StreamView:
    """One stream: its source, and its newest frame ids, that came and that was shown."""

    __slots__ = ("came", "shown", "source")

    def __init__(self) -> None:
        self.source = _Source()
        self.came: int | None = None
        self.shown = -1


class CameraView:
    """One camera id, over all of its streams. `total`: counts of all cameras. `watchers`: pages that show it."""

    def __init__(self, camera_id: str, total: History, watchers: int) -> None:
        self.camera_id = camera_id
        self.history = History()
        self.watchers = watchers
        self.streams: dict[Stream, _StreamView] = {}
        self.newest: Shown | None = None
        self.max_age_ms = 0
        self.left_s = 0.0  # when its last stream ended
        self.lost = False  # that stream broke off
        self.problem = ""  # of the newest result that was an error or delivered, if it was an error
        self._last_source = _Source()  # of the stream that ended last
        # When the last frame came, and the last delivered result; and how long between two of them.
        self._arrived_s = self._interval_s = 0.0
        self._delivered_s = self._result_interval_s = 0.0
        self._serial = 0
        self._total = total

    def arrived(self, stream: Stream, frame: pb.Frame, now_s: float) -> None:
        """A frame came in."""
        view = self.streams[stream]
        if view.came is not None:
            gap_s = now_s - self._arrived_s
            self._interval_s += 0.1 * (gap_s - self._interval_s)
            if frame.frame_id > view.came + 1:
                gap = frame.frame_id - view.came - 1
                self.dropped(AT_CAMERA, now_s, min(gap, MAX_GAP))
        view.came, self._arrived_s, self.max_age_ms = frame.frame_id, now_s, frame.max_age_ms

    def source_is(self, stream: Stream, source: pb.Source, now_s: float) -> None:
        """The camera tells how a stream's source is."""
        if source.state in SOURCE_STATES and stream in self.streams:
            retry_at_s = now_s + source.retry_ms / 1e3
            problem = source.problem[:MAX_PROBLEM]
            self.streams[stream].source = _Source(source.state, problem, now_s, retry_at_s)

    @property
    def _source(self) -> _Source:
        """The best of its streams' sources: one that streams is what people want to know of."""
        sources = [view.source for view in self.streams.values()] or [self._last_source]
        return min(sources, key=lambda source: (_BADNESS.get(source.state, 0), -source.since_s))

    def retry(self) -> None:
        """Ask the camera to try its source again now; one that is not connected cannot be asked."""
        for stream in self.streams:
            stream.retry()

    def joined(self, stream: Stream, now_s: float) -> None:
        """A stream of it opened."""
        if not self.streams:
            self._interval_s = self._result_interval_s = 0.0
            self._arrived_s = self._delivered_s = now_s
        self.streams[stream] = _StreamView()

    def sent(self, result: pb.Result, now_s: float, age_ms: float) -> None:
        """A result went out; `age_ms`: from capture until now, without the way through the network."""
        if result.HasField("dropped"):
            self.dropped(result.dropped.reason, now_s, 1)
        elif result.HasField("error"):
            self.problem = plain_error(result.error.message)
            for history in (self.history, self._total):
                history.at(now_s).errored += 1
        else:
            self._result_interval_s += 0.1 * (now_s - self._delivered_s - self._result_interval_s)
            self.problem, self._delivered_s = "", now_s
            version = str(result.delivered.model_version)
            for history in (self.history, self._total):
                history.at(now_s).count_delivered(version, age_ms)

    def dropped(self, reason: str, now_s: float, count: int) -> None:
        """So many frames get no answer."""
        for history in (self.history, self._total):
            dropped = history.at(now_s).dropped
            dropped[reason] = dropped.get(reason, 0) + count

    def left(self, stream: Stream, now_s: float, lost: int, *, broke: bool) -> None:
        """A stream ended, or broke off; `lost` of its frames will not be answered."""
        view = self.streams.pop(stream, None)
        if view is not None:
            self._last_source = view.source
        self.left_s, self.lost, self.problem = now_s, broke, ""
        if lost:
            self.dropped("disconnected", now_s, lost)

    def show(self, stream: Stream, image: bytes, result: pb.Result) -> None:
        """A delivered frame, unless a later one of its stream was on show."""
        view = self.streams.get(stream)
        if view is not None and result.frame_id > view.shown:
            self._serial, view.shown = self._serial + 1, result.frame_id
            self.newest = Shown(self._serial, image, result)

    def state(self, now_s: float) -> str:
        """In a word or two. Of its source, as it says: connecting, backing off, failed. Of its frames: streaming,
        stalled (none comes), unanswered, failing. Of its stream: lost (it broke off), ended."""
        source = self._source.state
        if source == FAILED:
            return FAILED
        if not self.streams:
            return "lost" if self.lost else "ended"
        if source in (CONNECTING, BACKING_OFF):
            return source
        if now_s - self._arrived_s > max(STALLED_S, STALLED_INTERVALS * self._interval_s):
            return STALLED
        interval_s = max(self._interval_s, self._result_interval_s)
        if now_s - self._delivered_s > max(UNANSWERED_S, STALLED_INTERVALS * interval_s):
            return "failing" if self.problem else "unanswered"
        return STREAMING

    def since_s(self, now_s: float) -> float:
        """Seconds since it left, else since its source is as it is, since its last frame, or since the last delivered
        one while frames come."""
        state = self.state(now_s)
        if state in (CONNECTING, BACKING_OFF, FAILED):
            return now_s - self._source.since_s
        if not self.streams:
            return now_s - self.left_s
        return now_s - (self._delivered_s if state in ("failing", "unanswered") else self._arrived_s)

    def summary(self, now_s: float) -> dict[str, Any]:
        """All of it but the picture."""
        state = self.state(now_s)
        return {
            "id": self.camera_id,
            "state": state,
            "since_s": round(self.since_s(now_s), 1),
            "retry_s": round(max(0.0, self._source.retry_at_s - now_s), 1) if state == BACKING_OFF else None,
            "streams": len(self.streams),
            "max_age_ms": self.max_age_ms,
            "problem": self._source.problem if state == FAILED else self.problem,
            "ages_ms": self.history.ages_ms(now_s) if self.watchers else None,
            **self.history.summary(now_s),
        }


class Board:
    """All cameras that are here or were a while ago. Runs on one event loop, and costs little when nobody looks."""

    def __init__(self) -> None:
        self.views: dict[str, CameraView] = {}
        self.total = History()
        self.problem = "not asked yet"  # why the model is not available; "": it is
        self.model: Callable[[], dict[str, Any]] = dict  # what goes on there
        self._watched: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()

    def join(self, camera_id: str, stream: Stream) -> CameraView:
        """A stream of this camera begins."""
        self._forget()
        view = self.views.get(camera_id)
        if view is None:
            view = CameraView(camera_id, self.total, self._watched[camera_id])
            self.views[camera_id] = view
        view.joined(stream, self._loop.time())
        return view

    def watch(self, camera_id: str, change: int) -> None:
        """A page begins (+1) or ceases (-1) to show a camera, whether it is here or not."""
        self._watched[camera_id] += change
        view = self.views.get(camera_id)
        if view is not None:
            view.watchers = self._watched[camera_id]
            if not view.watchers:
                view.newest = None
        if not self._watched[camera_id]:
            del self._watched[camera_id]

    def summary(self) -> dict[str, Any]:
        """The state of everything, and the last minute's ages of the cameras that somebody looks at."""
        now_s = self._loop.time()
        self._forget()
        cameras = [view.summary(now_s) for view in self.views.values()]
        total = self.total.summary(now_s)
        return {"problem": self.problem, "model": self.model(), "total": total, "cameras": cameras}

    def _forget(self) -> None:
        """Let go of cameras that left long ago, or too many."""
        oldest_s = self._loop.time() - GONE_KEPT_S
        gone = sorted((v for v in self.views.values() if not v.streams), key=lambda v: v.left_s, reverse=True)
        for place, view in enumerate(gone):
            if place >= GONE_KEPT or view.left_s < oldest_s:
                del self.views[view.camera_id]
