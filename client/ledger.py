"""The account of a stream's frames, in the order of capture."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace

from client.transport import Answer
from client.types import Account, Frame, Result


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
    """

    def __init__(self, remainder_stage: str) -> None:
        self.account = Account()
        self._remainder_stage = remainder_stage
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
        captured_s, decoded_s, now_s = entry.frame.captured_s, entry.frame.decoded_s, time.monotonic()
        stages_s = {"decode": decoded_s - captured_s} if decoded_s else {}
        stages_s["wait"] = (entry.taken_s or now_s) - (decoded_s or captured_s)
        if entry.taken_s:
            stages_s["encode"] = (entry.encoded_s or now_s) - entry.taken_s
        stages_ms = {name: seconds * 1e3 for name, seconds in stages_s.items()} | answer.stages_ms
        age_s = now_s - captured_s
        if entry.encoded_s:
            stages_ms[self._remainder_stage] = max(0.0, age_s * 1e3 - sum(stages_ms.values()))
        return Result(
            entry.frame, answer.status, age_s, answer.detections, answer.reason, answer.error,
            answer.model_name, answer.model_version, stages_ms,
        )  # fmt: skip
