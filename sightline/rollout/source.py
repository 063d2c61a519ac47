"""Where a rollout's numbers come from on the local mesh: Envoy's counters and the relay's."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

from mesh.resources import MeshError
from mesh.run.envoy import Admin
from mesh.run.rollout import GONE, RolloutFolder, RunningMesh, served_weight
from mesh.stack import SERVING, SERVING_PORT
from sightline.rollout.gates import Gates

TIMEOUT_S = 5.0
LEAST_WINDOW_S = 1.0
STACK = "does `sightline up` still run?"
GIVEN_UP = "upstream_rq_tx_reset"  # Envoy's word
# No proxy of the environment's: the relay is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SourceLost(Exception):
    """The numbers cannot be had now; the text says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counts since the stack's start, at one moment.

    `ok`, `failed`: the candidate's Predicts by Envoy's count, shadows too; without those that the picture or the
    relay's patience is to blame for. `in_time`, `answers`: its answers to live frames, and of them those not older
    than the gate allows; a Predict that the relay gave up is one that was not in time. `stable_in_time`,
    `stable_answers`: the same of the other versions. `frames`: the cameras', by what became of them. `delivered`: by
    model version. `weight`: that Envoy serves, in percent; None: it has no split. `agreement`: the relay's report
    (client/relay/shadow_http.py); None: not asked for. `version`: what the candidate calls itself.
    """

    ok: int
    failed: int
    in_time: int
    answers: int
    stable_in_time: int = 0
    stable_answers: int = 0
    frames: dict[str, int] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    weight: int | None = None
    agreement: dict[str, Any] | None = None
    version: str = ""

    @property
    def counters(self) -> tuple[int, ...]:
        """What only grows."""
        mine = (self.ok, self.failed, self.in_time, self.answers, self.stable_in_time, self.stable_answers)
        return (*mine, *self.frames.values())

    def before(self, other: Reading) -> bool:
        """Whether `other` counts on from here: else a part of the stack was started again in between, or the relay has
        learned who the candidate is."""
        theirs = replace(other, frames={name: other.frames.get(name, 0) for name in self.frames}).counters
        grown = all(a <= b for a, b in zip(self.counters, theirs, strict=True))
        return grown and self.version == other.version


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
        version = str((agreement or {}).get("candidate_version") or self._to.removeprefix("v"))
        predicts, weight = self._envoy(running)
        frames, delivered, ages = self._relay(running)
        mine, stable = ages.pop(version, Counter()), sum(ages.values(), Counter())
        ours = predicts.pop(self._to, Counter())
        return Reading(
            ours["success"],
            # CANCELLED (1) is the relay's doing, INVALID_ARGUMENT (3) the picture's.
            ours["failure"] - ours["1"] - ours["3"],
            mine["in time"],
            mine["all"] + ours[GIVEN_UP],
            stable["in time"],
            stable["all"] + sum(counts[GIVEN_UP] for counts in predicts.values()),
            frames,
            delivered,
            weight,
            agreement,
            version,
        )

    def _agreement(self, running: RunningMesh, window_s: float) -> dict[str, Any] | None:
        if self._gates.agreement is None:
            return None
        query = urlencode({**self._gates.agreement_texts, "window_s": f"{window_s:.1f}"})
        found: dict[str, Any] = json.loads(_get(f"{running.relay}/v1/shadow?{query}"))
        return found

    def _envoy(self, running: RunningMesh) -> tuple[dict[str, Counter[str]], int | None]:
        """Each subset's Predicts by what became of them, and the candidate's weight."""
        admin = Admin(Path(running.admin))
        prefix = rf"^cluster\.outbound\|{SERVING_PORT}\|[^|]+\|{SERVING}\..*\."
        try:
            stats = admin.stats(prefix + rf"(grpc\.(success|failure|1|3)|{GIVEN_UP})$")
            weight = served_weight(admin, self._to)
        except GONE as error:
            raise SourceLost(f"Envoy does not answer ({_reason(error)}): {STACK}") from None
        counts: dict[str, Counter[str]] = {}
        for name, value in stats.items():
            counts.setdefault(name.split("|")[2], Counter())[name.rpartition(".")[2]] += int(value)
        return counts, weight

    def _relay(self, running: RunningMesh) -> tuple[dict[str, int], dict[str, int], dict[str, Counter[str]]]:
        """Frames by outcome; delivered ones by version; and each version's answers to live frames: in time, and all."""
        frames: Counter[str] = Counter()
        delivered: Counter[str] = Counter()
        ages: dict[str, Counter[str]] = {}
        limit, known = self._gates.age_p99_s, set()
        for family in text_string_to_metric_families(_get(f"{running.relay}/metrics")):
            for sample in family.samples:
                name, labels, value = sample.name, sample.labels, int(sample.value)
                if name == "sightline_relay_frames_total":
                    frames[labels["outcome"]] += value
                elif name == "sightline_relay_served_total":
                    delivered["v" + labels["model_version"]] += value
                elif name == "sightline_relay_answer_age_seconds_bucket":
                    known.add(float(labels["le"]))
                    if float(labels["le"]) == limit:
                        ages.setdefault(labels["model_version"], Counter())["in time"] = value
                elif name == "sightline_relay_answer_age_seconds_count":
                    ages.setdefault(labels["model_version"], Counter())["all"] = value
        if known and limit is not None and limit not in known:
            bounds = ", ".join(f"{bound:g}" for bound in sorted(known))
            raise ValueError(f"age_p99_s: expected one of {bounds}, got {limit:g}")
        return dict(frames), dict(delivered), ages


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
        raise SourceLost(f"the relay does not answer ({_reason(error)}): {STACK}") from None


def _reason(error: Exception) -> str:
    """The system's words, which urllib wraps once more."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
