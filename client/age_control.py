"""Keeps results younger than their max age by what a camera can change: frames in flight, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

from client.types import DropReason, Status

MOST_IN_FLIGHT = 16
# Shares of the max age: results older than the first are too old, and younger than the second leave room.
GOAL, EASY = 0.8, 0.6
# Detail is multiplied by CUT, or less where results are very old, and RAISE is added after each easy second.
CUT, DEEPEST_CUT, RAISE, RAISE_EVERY_S = 0.7, 0.3, 0.03, 1.0
LEAST_DETAIL = 0.02
NETWORK_SIDE_PX = 640  # a detector scales larger pictures down to about this itself
LEAST_SIDE_PX, LEAST_QUALITY = 320, 40
LEAST_QUALITY_BYTES = 0.4  # share of its bytes that a JPEG of quality 85 has at quality 40


@dataclass(frozen=True, slots=True)
class Rendition:
    """How a picture is encoded. `max_side_px`: a longer side above this is scaled down to it; 0: none is."""

    quality: int
    max_side_px: int


@dataclass(frozen=True, slots=True)
class Trip:
    """What became of one sent frame, in seconds: its age now, and what of it was encoding and the network's (`own_s`)
    and what the relay's and the server's (`theirs_s`)."""

    seq: int
    age_s: float
    own_s: float
    theirs_s: float
    status: Status
    reason: str = ""


class AgeControl:
    """Additive increase, multiplicative decrease towards results younger than GOAL of the max age, for one camera.

    A result that is too old because of the camera's side halves the frames in flight; with `adapt`, if only one is in
    flight already, it takes 30 to 70 % of the picture's bytes. Only frames sent after a cut can cause the next one.
    After each second of young results, detail is given back first, and then, if the window was what held frames
    back, one frame more may be in flight. Where the relay or the server is slow nothing is cut: the relay drops what
    is too much, and smaller pictures would not help.

    `window`: frames in flight at first, and always if `fixed`. `max_age_s` 0: there is no goal, and nothing changes.
    """

    def __init__(self, max_age_s: float, window: int, *, fixed: bool, adapt: bool) -> None:
        self.window = self._first = window
        self._useful = max(2, window)  # one is inferred, one waits at the relay
        self.detail = 1.0
        self._goal_s, self._easy_s = GOAL * max_age_s, EASY * max_age_s
        self._fixed, self._adapt = fixed or not max_age_s, adapt and max_age_s > 0
        self._sent_seq = -1
        self._cut_seq = -1  # frames up to this one were sent before the last cut
        self._changed_s = 0.0
        self._held_back = False  # since the last change, by the window
        self._oldest_s = 0.0  # of the results since
        self._encodes = False  # its frames are pictures; encoded files travel as they are

    def __str__(self) -> str:
        """What is not as at first, for people."""
        window = f"window {self.window}" if self.window != self._first else ""
        detail = f"detail {100 * self.detail:.0f} %" if self.detail < 1 else ""
        return ", ".join(part for part in (window, detail) if part)

    def sent(self, seq: int) -> None:
        """A frame goes out."""
        self._sent_seq = seq

    def held_back(self) -> None:
        """A frame was lost because the window was full."""
        self._held_back = True

    def answered(self, trip: Trip, now_s: float) -> None:
        """A frame that was sent came to its end."""
        delivered = trip.status is Status.DELIVERED
        late = trip.age_s > self._goal_s if delivered else trip.reason == DropReason.EXPIRED
        if late and trip.own_s > trip.theirs_s:
            if trip.seq > self._cut_seq:
                self._cut(trip.age_s, now_s)
        elif trip.reason == DropReason.MAILBOX:
            if not self._fixed and self.window > self._useful:
                self.window -= 1
        elif delivered:
            self._oldest_s = max(self._oldest_s, trip.age_s)
            if now_s - self._changed_s >= RAISE_EVERY_S:
                self._raise(now_s)

    def rendition(self, quality: int, longer_px: int, max_side_px: int) -> Rendition:
        """How to encode a picture with this longer side, if `quality` and `max_side_px` (or 0) are the best."""
        self._encodes = True
        if self.detail == 1.0:
            return Rendition(quality, max_side_px)
        most_px = min(longer_px, max_side_px or longer_px)
        return scale(self.detail, quality, most_px)

    def _cut(self, age_s: float, now_s: float) -> None:
        if not self._fixed and self.window > 1:
            self.window //= 2
        elif self._adapt and self._encodes:
            cut = max(DEEPEST_CUT, min(CUT, self._goal_s / age_s))
            self.detail = max(LEAST_DETAIL, cut * self.detail)
        self._cut_seq = self._sent_seq
        self._start_over(now_s)

    def _raise(self, now_s: float) -> None:
        if self.detail < 1.0:
            if self._oldest_s < self._easy_s:
                self.detail = min(1.0, self.detail + RAISE)
        elif self._held_back and not self._fixed and self.window < MOST_IN_FLIGHT:
            self.window += 1
        self._start_over(now_s)

    def _start_over(self, now_s: float) -> None:
        self._changed_s, self._held_back, self._oldest_s = now_s, False, 0.0


def scale(detail: float, quality: int, longer_px: int) -> Rendition:
    """The rendition that has about `detail` (0..1) of the bytes: fewer pixels first, down to what a detector looks at,
    then lower quality, then fewer pixels again."""
    least = min(1.0, NETWORK_SIDE_PX / longer_px)
    side = min(1.0, max(detail**0.5, least))
    left = detail / side**2
    if left < 1 and quality > LEAST_QUALITY:
        share = max(0.0, (left - LEAST_QUALITY_BYTES) / (1 - LEAST_QUALITY_BYTES))
        quality = round(LEAST_QUALITY + share * (quality - LEAST_QUALITY))
        left /= max(left, LEAST_QUALITY_BYTES)
    if left < 1:
        side = max(side * left**0.5, min(1.0, LEAST_SIDE_PX / longer_px))
    return Rendition(quality, max(1, round(side * longer_px)))
