"""Where a rollout's numbers come from on the local mesh: Envoy's counters and the relay's."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

from mesh.resources import MeshError
from mesh.run.envoy import Admin
from mesh.run.rollout import GONE, RolloutFolder, RunningMesh, served_weight
from mesh.stack import SERVING
from sightline.rollout.gates import Gates

TIMEOUT_S = 5.0
LEAST_WINDOW_S = 1.0
# No proxy of the environment's: the relay is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SourceLost(Exception):
    """The numbers cannot be had now; the text says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counts since the stack's start, at one moment.

    `ok`, `failed`: the candidate's Predicts by Envoy's count, shadows too; without those that the picture or the
    relay's patience is to blame for. `in_time`, `answers`: its answers to live frames, and of them those not older
    than the gate allows; a Predict that the relay gave up is one that was not in time. `frames`: the cameras', by what
    became of them. `delivered`: by model version. `weight`: that Envoy serves, in percent; None: it has no split.
    `agreement`: the relay's report (client/relay/shadow_http.py); None: not asked for.
    """

    ok: int
    failed: int
    in_time: int
    answers: int
    frames: dict[str, int] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    weight: int | None = None
    agreement: dict[str, Any] | None = None

    def before(self, other: Reading) -> bool:
        """Whether no counter of this one is higher: else a part of the stack was started again in between."""
        mine = (self.ok, self.failed, self.in_time, self.answers, *self.frames.values())
        theirs = (
            other.ok,
            other.failed,
            other.in_time,
            other.answers,
            *(other.frames.get(k, 0) for k in self.frames),
        )
        return all(a <= b for a, b in zip(mine, theirs, strict=True))


class Source(Protocol):
    """What a controller asks."""

    def read(self, window_s: float) -> Reading:
        """The counts now, and the agreement over the last `window_s` seconds. Raises SourceLost."""


class LocalSource:
    """The mesh that serves a rollout's folder, and its relay."""

    def __init__(self, folder: RolloutFolder, gates: Gates, to: str) -> None:
        self._folder, self._gates, self._to = folder, gates, to

    def read(self, window_s: float) -> Reading:
        """As Source.read; also raises ValueError for gates that this relay cannot judge."""
        try:
            running = self._folder.running()
        except MeshError as error:
            raise SourceLost(str(error)) from None
        agreement = self._agreement(running, max(LEAST_WINDOW_S, window_s))
        ok, failed, given_up, weight = self._envoy(running)
        frames, delivered, in_time, answers = self._relay(running, agreement)
        return Reading(ok, failed, in_time, answers + given_up, frames, delivered, weight, agreement)

    def _agreement(self, running: RunningMesh, window_s: float) -> dict[str, Any] | None:
        if self._gates.agreement is None:
            return None
        query = urlencode({**self._gates.agreement_texts, "window_s": f"{window_s:.1f}"})
        found: dict[str, Any] = json.loads(_get(f"{running.relay}/v1/shadow?{query}"))
        return found

    def _envoy(self, running: RunningMesh) -> tuple[int, int, int, int | None]:
        """Predicts that succeeded, that failed, that were given up, and the weight."""
        admin = Admin(Path(running.admin))
        prefix = rf"^cluster\.outbound\|8500\|{self._to}\|{SERVING}\..*\."
        try:
            stats = admin.stats(prefix + r"(grpc\.(success|failure|1|3)|upstream_rq_tx_reset)$")
            weight = served_weight(admin)
        except GONE as error:
            raise SourceLost(f"Envoy does not answer: {error or type(error).__name__}") from None
        counts: Counter[str] = Counter()
        for name, value in stats.items():
            counts[name.rpartition(".")[2]] += int(value)
        # CANCELLED (1) is the relay's doing, INVALID_ARGUMENT (3) the picture's.
        failed = counts["failure"] - counts["1"] - counts["3"]
        return counts["success"], failed, counts["upstream_rq_tx_reset"], weight

    def _relay(
        self, running: RunningMesh, agreement: dict[str, Any] | None
    ) -> tuple[dict[str, int], dict[str, int], int, int]:
        """Frames by outcome and delivered ones by version; the candidate's answers in time, and all of them."""
        frames: Counter[str] = Counter()
        delivered: Counter[str] = Counter()
        version = str((agreement or {}).get("candidate_version") or self._to.removeprefix("v"))
        ages: dict[float, int] = {}
        answers = 0
        for family in text_string_to_metric_families(_get(f"{running.relay}/metrics")):
            for sample in family.samples:
                if sample.name == "sightline_relay_frames_total":
                    frames[sample.labels["outcome"]] += int(sample.value)
                elif sample.name == "sightline_relay_served_total":
                    delivered["v" + sample.labels["model_version"]] += int(sample.value)
                elif sample.labels.get("model_version") != version:
                    continue
                elif sample.name == "sightline_relay_answer_age_seconds_bucket":
                    ages[float(sample.labels["le"])] = int(sample.value)
                elif sample.name == "sightline_relay_answer_age_seconds_count":
                    answers = int(sample.value)
        limit = self._gates.age_p99_s
        if ages and limit is not None and limit not in ages:
            raise ValueError(
                f"age_p99_s: expected one of {', '.join(f'{age:g}' for age in ages)}, got {limit:g}"
            )
        return dict(frames), dict(delivered), ages.get(limit or 0.0, 0), answers


def _get(url: str) -> str:
    try:
        with _OPENER.open(url, timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        body = error.read().decode("utf-8", "replace")
        if error.code == 400:
            raise ValueError(f"the relay refuses the gates: {body}") from None
        raise SourceLost(f"the relay answers {error.code}: {body[:200]}") from None
    except (OSError, ValueError) as error:
        raise SourceLost(f"the relay does not answer: {getattr(error, 'reason', error)}") from None
