"""The shadow comparison's Prometheus metrics. Labels are bounded: codes, relations, sizes, and at most 101 classes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from client.relay.shadow_compare import Difference

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)


class ShadowMetrics:
    """Counts since the relay's start, in the relay's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._frames = Counter(
            "sightline_shadow_frames",
            "Frames of the sample: compared, skipped (why: load, busy, candidate) or failed (why: the gRPC code).",
            ("outcome", "reason"),
            registry=registry,
        )
        self._objects = Counter(
            "sightline_shadow_objects",
            "Objects by class: same in both, flip (by the stable model's class), missed by the candidate, extra in it.",
            ("relation", "label"),
            registry=registry,
        )
        self._alone = Counter(
            "sightline_shadow_alone",
            "Objects that one model alone sees (missed, extra), by size.",
            ("relation", "size"),
            registry=registry,
        )
        self._pairs = Counter("sightline_shadow_pairs", "Objects that both have.", registry=registry)
        self._iou = Counter("sightline_shadow_iou", "Sum of their IoUs.", registry=registry)
        self._drift = Counter(
            "sightline_shadow_score_drift",
            "Sum of how much the candidate's scores of a picture are higher (up) or lower (down).",
            ("direction",),
            registry=registry,
        )
        self._seconds = Histogram(
            "sightline_shadow_predict_seconds",
            "How long a compared frame's two Predicts took.",
            ("side",),
            buckets=_SECONDS,
            registry=registry,
        )

    def compared(self, found: Difference, stable_s: float, candidate_s: float) -> None:
        """One frame's comparison."""
        self._frames.labels("compared", "").inc()
        for relation, by_label in (
            ("same", found.same.items()),
            ("flip", [(label, n) for (label, _), n in found.flips.items()]),
            ("missed", [(label, n) for (label, _), n in found.missed.items()]),
            ("extra", [(label, n) for (label, _), n in found.extra.items()]),
        ):
            for label, n in by_label:
                self._objects.labels(relation, label).inc(n)
        for relation, counts in (("missed", found.missed), ("extra", found.extra)):
            for (_, size), n in counts.items():
                self._alone.labels(relation, size).inc(n)
        self._pairs.inc(found.pairs)
        self._iou.inc(found.iou)
        self._drift.labels("up" if found.drift > 0 else "down").inc(abs(found.drift))
        self._seconds.labels("stable").observe(stable_s)
        self._seconds.labels("candidate").observe(candidate_s)

    def skipped(self, why: str) -> None:
        """A frame of the sample that was not sent."""
        self._frames.labels("skipped", why).inc()

    def failed(self, code: str) -> None:
        """A frame whose shadow has no answer that could be compared."""
        self._frames.labels("failed", code).inc()
