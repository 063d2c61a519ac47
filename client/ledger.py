"""The account of a stream's frames, in the order of capture."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace

from client.transport import Answer
from client.types import Account, Frame, Result, Status


@dataclass(slots=True, eq=False)
class Entry:
    """One captured frame on its way through the stream. Times are time.monotonic(); 0: not yet."""

    frame: Frame
    seq: int
    taken_s: float = 0.0  # when it was taken to be encoded
    encoded_s: float = 0.0
    sent: bool = False  # it takes a place of the window, until the caller has taken its result
    answer: Answer | None = None


class Ledger:
    """Frames go in as they are captured and come out as results in the same order, one each.

    Not thread-safe: the stream holds its lock. `remainder_stage`: the stage that takes what no other one measured.
    `max_age_s`: delivered frames that are older are late; 0: none is.
    """

    def __init__(self, remainder_stage: str, max_age_s: float = 0.0) -> None:
        self.account = Account()
        self._remainder_stage, self._max_age_s = remainder_stage, max_age_s
        self._open: deque[Entry] = deque()  # frames whose Result is not out yet
        self._results: deque[tuple[bool, Result]] = deque()

    def __len__(self) -> int:
        """Frames whose result has not been taken."""
        return len(self._open) + len(self._results)

    @property
    def has_result(self) -> bool:
        """Whether a result can be taken."""
        return bool(self._results)

    def take_in(self, entry: Entry) -> None:
        """A frame was captured."""
        self.account.captured += 1
        self._open.append(entry)

    def take_result(self) -> tuple[bool, Result]:
        """The oldest result, and whether its frame was sent."""
        return self._results.popleft()

    def settle(self, entry: Entry, answer: Answer) -> None:
        """Record a frame's fate (only the first one counts), and let out the results that it held back."""
        if entry.answer is not None:
            return
        entry.answer = answer
        if not entry.sent:  # these may pile up by the hundred: do not keep their pictures
            entry.frame = replace(entry.frame, image_bgr=None, jpeg=None)
        while self._open and (settled := self._open[0].answer) is not None:
            ready = self._open.popleft()
            result = self._result(ready, settled)
            self.account.add(result)
            self._results.append((ready.sent, result))

    def settle_all(self, answer: Answer) -> None:
        """The same fate for every frame that has none yet."""
        for entry in list(self._open):
            self.settle(entry, answer)

    def _result(self, entry: Entry, answer: Answer) -> Result:
        now_s = time.monotonic()
        stages_ms = _own_stages_ms(entry, now_s)
        if entry.encoded_s:
            received_s = answer.received_s or now_s
            away_ms = (received_s - entry.encoded_s) * 1e3
            theirs_ms = sum(answer.stages_ms.values())
            # By another clock than ours: whatever it says, the parts are no more than the whole.
            share = min(1.0, away_ms / theirs_ms) if theirs_ms else 1.0
            stages_ms[self._remainder_stage] = max(0.0, away_ms - share * theirs_ms)
            stages_ms |= {name: share * ms for name, ms in answer.stages_ms.items()}
            if answer.received_s:
                stages_ms["post"] = stages_ms.get("post", 0.0) + (now_s - received_s) * 1e3
        age_s = now_s - entry.frame.captured_s
        return Result(
            entry.frame, answer.status, age_s, answer.detections, answer.reason, answer.error, answer.model_name,
            answer.model_version, stages_ms, late=answer.status is Status.DELIVERED and 0 < self._max_age_s < age_s,
        )  # fmt: skip


def _own_stages_ms(entry: Entry, now_s: float) -> dict[str, float]:
    """The stages of a frame at the camera, until it was encoded or given up."""
    frame, stages_s, since_s = entry.frame, {}, entry.frame.captured_s
    if frame.read_s:
        stages_s["capture"], since_s = frame.read_s - since_s, frame.read_s
    if frame.decoded_s:
        stages_s["decode"], since_s = frame.decoded_s - since_s, frame.decoded_s
    stages_s["wait"] = (entry.taken_s or now_s) - since_s
    if entry.taken_s:
        stages_s["encode"] = (entry.encoded_s or now_s) - entry.taken_s
    return {name: seconds * 1e3 for name, seconds in stages_s.items()}
