"""The gate over what the candidate sees: pass, wait or fail, and why.

A check fails when its whole confidence interval is on the wrong side of its limit. It passes when the estimate is on
the right side. In between, and before there are enough frames, it waits: no traffic is neither good nor bad.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from client.relay.shadow_compare import Difference
from client.relay.shadow_evidence import FAIL, PASS, WAIT, Block
from client.relay.shadow_statistics import Floats, mean_interval, share_interval

SIDES = 2.0  # an object that both models have is two detections of one draw
CLASS_SIDES = 60  # a class is judged on its own from 30 objects on
NAMED = 3  # how many classes or flips a sentence names


@dataclass(frozen=True)
class AgreementGates:
    """Limits; None: not judged.

    `agreement`: least F1 at IoU 0.5. `class_agreement`: the same for the worst class. `mean_iou`: least, over the
    objects that both have. `score_drift`: the mean score may differ by so much. `latency_ratio`: the candidate's
    Predict by the stable one's, at most (geometric mean). `min_frames`: compared before anything passes or fails.
    `confidence` of the intervals.
    """

    agreement: float | None = None
    class_agreement: float | None = None
    mean_iou: float | None = None
    score_drift: float | None = None
    latency_ratio: float | None = None
    min_frames: int = 50
    confidence: float = 0.99

    def __post_init__(self) -> None:
        for name in ("agreement", "class_agreement", "mean_iou", "score_drift"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {value:g}")
        if self.latency_ratio is not None and not self.latency_ratio > 0:
            raise ValueError(f"latency_ratio: expected more than 0, got {self.latency_ratio:g}")
        if self.min_frames < 1:
            raise ValueError(f"min_frames: expected 1 or more, got {self.min_frames}")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence: expected 0.5 to less than 1, got {self.confidence:g}")

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> AgreementGates:
        """From texts, such as a query's. Raises ValueError for an unknown name, no number, or nothing to judge."""
        kinds = {field.name: int if field.name == "min_frames" else float for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if name not in kinds:
                raise ValueError(f"{name}: expected one of {', '.join(kinds)}")
            try:
                values[name] = kinds[name](text)
            except ValueError:
                raise ValueError(f"{name}: expected a number, got {text!r}") from None
            if not math.isfinite(values[name]):
                raise ValueError(f"{name}: expected a number, got {text!r}")
        if not values.keys() - {"min_frames", "confidence"}:
            raise ValueError(f"expected a limit: one of {', '.join(list(kinds)[:-2])}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Check:
    """One judged number: the estimate, its interval, the limit. `text` says it in words."""

    name: str
    verdict: str
    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None


def judge(name: str, interval: tuple[float, float, float], *, least: float | None = None, most: float | None = None,
          text: str = "") -> Check:  # fmt: skip
    """An estimate with its interval against `least` or `most`; NaN waits."""
    value, low, high = interval
    limit = least if least is not None else most
    assert limit is not None
    if math.isnan(value):
        return Check(name, WAIT, f"{name}: nothing to judge yet", limit=limit)
    wrong = high < limit if least is not None else low > limit
    right = value >= limit if least is not None else value <= limit
    verdict = FAIL if wrong else PASS if right else WAIT
    side = "at least" if least is not None else "at most"
    shown = f"{name} {value:.3g} ({low:.3g} to {high:.3g}), {side} {limit:g}" + (f": {text}" if text else "")
    return Check(name, verdict, shown, value, low, high, limit)


def verdict_of(checks: Sequence[Check]) -> str:
    """fail if one fails, wait if one waits or there is none."""
    verdicts = {check.verdict for check in checks}
    return FAIL if FAIL in verdicts else WAIT if WAIT in verdicts or not verdicts else PASS


def checks_of(blocks: Sequence[Block], gates: AgreementGates) -> list[Check]:
    """Every limit that is set, judged over these seconds."""
    frames = sum(block.frames for block in blocks)
    if frames < gates.min_frames:
        text = f"{frames} of {gates.min_frames} frames compared"
        return [Check("frames", WAIT, text, frames, limit=gates.min_frames)]
    total = total_of(blocks)
    found = list(_agreement(blocks, total, gates))
    counts = _floats(block.difference.pairs for block in blocks)
    if gates.mean_iou is not None:
        ious = mean_interval(_floats(block.difference.iou for block in blocks), counts, gates.confidence)
        found.append(
            judge(
                "mean_iou",
                ious,
                least=gates.mean_iou,
                text="boxes are elsewhere" * _low(ious, gates.mean_iou),
            )
        )
    if gates.score_drift is not None:
        drift = mean_interval(_floats(block.difference.drift for block in blocks), counts, gates.confidence)
        found.append(_drift(drift, gates.score_drift))
    if gates.latency_ratio is not None:
        logs = mean_interval(
            _floats(b.log_latency for b in blocks), _floats(b.frames for b in blocks), gates.confidence
        )
        ratio = (math.exp(logs[0]), math.exp(logs[1]), math.exp(logs[2]))
        found.append(judge("latency_ratio", ratio, most=gates.latency_ratio))
    return found


def total_of(blocks: Sequence[Block]) -> Difference:
    """All of them together."""
    total = Difference()
    for block in blocks:
        total.add(block.difference)
    return total


def _agreement(blocks: Sequence[Block], total: Difference, gates: AgreementGates) -> Iterator[Check]:
    if gates.agreement is not None:
        interval = _share(blocks, None, gates.confidence)
        yield judge("agreement", interval, least=gates.agreement, text=_named(total))
    if gates.class_agreement is None:
        return
    judged = [label for label in sorted(total.labels) if total.sides(label)[1] >= CLASS_SIDES]
    # The worst of k classes is judged: each interval is widened so that all k hold together (Bonferroni).
    confidence = 1 - (1 - gates.confidence) / max(1, len(judged))
    intervals = {label: _share(blocks, label, confidence) for label in judged}
    if not intervals:  # too few objects of every class: the overall agreement speaks for them
        return
    worst = min(intervals, key=lambda label: intervals[label][2])
    yield judge(
        "class_agreement",
        intervals[worst],
        least=gates.class_agreement,
        text=f"{worst}: {_fate(total, worst)}",
    )


def _share(blocks: Sequence[Block], label: str | None, confidence: float) -> tuple[float, float, float]:
    sides = [block.difference.sides(label) for block in blocks]
    return share_interval(_floats(s[0] for s in sides), _floats(s[1] for s in sides), confidence, SIDES)


def _drift(drift: tuple[float, float, float], limit: float) -> Check:
    """Scores may move up as little as down."""
    sign = math.copysign(1.0, drift[0]) if not math.isnan(drift[0]) else 1.0
    low, high = sorted((sign * drift[1], sign * drift[2]))
    text = "scores are " + ("lower" if sign < 0 else "higher") if sign * drift[0] > limit else ""
    return judge("score_drift", (sign * drift[0], low, high), most=limit, text=text)


def _named(total: Difference) -> str:
    """What differs most, in words: flips, and classes with objects missed or made up."""
    parts = [f"{a} became {b} ({n})" for (a, b), n in total.flips.most_common(NAMED)]
    for word, counts in (("missed", total.missed), ("made up", total.extra)):
        by_label: dict[str, int] = {}
        for (label, _), n in counts.items():
            by_label[label] = by_label.get(label, 0) + n
        worst = sorted(by_label.items(), key=lambda item: -item[1])[:NAMED]
        if worst:
            parts.append(f"{word} " + ", ".join(f"{n} {label}" for label, n in worst))
    return "; ".join(parts)


def _fate(total: Difference, label: str) -> str:
    """What became of one class's objects."""
    both = total.same[label]
    flipped = sum(n for (a, _), n in total.flips.items() if a == label)
    missed = sum(n for (one, _), n in total.missed.items() if one == label)
    extra = sum(n for (one, _), n in total.extra.items() if one == label)
    became = sum(n for (_, b), n in total.flips.items() if b == label)
    return (
        f"of {both + flipped + missed} the candidate finds {both}, misses {missed}, calls {flipped} otherwise, "
        f"and adds {extra + became}"
    )


def _low(interval: tuple[float, float, float], limit: float) -> bool:
    return interval[0] < limit


def _floats(values: Iterator[float] | Any) -> Floats:
    return np.fromiter(values, np.float64)


def summary(blocks: Sequence[Block], checks: Sequence[Check]) -> dict[str, Any]:
    """In words that JSON knows: the verdict, the checks, and what differs."""
    total = total_of(blocks)
    frames = sum(block.frames for block in blocks)
    telling = [check.text for check in checks if check.verdict == verdict_of(checks)]
    return {
        "verdict": verdict_of(checks),
        "reason": "; ".join(telling) or "no limits given",
        "frames": frames,
        "checks": [asdict(check) for check in checks],
        "agreement": round(total.agreement, 4),
        "mean_iou": round(total.iou / total.pairs, 4) if total.pairs else None,
        "score_drift": round(total.drift / total.pairs, 4) if total.pairs else None,
        "latency_ratio": round(math.exp(sum(b.log_latency for b in blocks) / frames), 3) if frames else None,
        "same": dict(total.same),
        "flips": [[a, b, n] for (a, b), n in total.flips.most_common()],
        "missed": [[label, size, n] for (label, size), n in total.missed.most_common()],
        "extra": [[label, size, n] for (label, size), n in total.extra.most_common()],
    }
