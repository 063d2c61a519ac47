"""The plots of a rollout's report, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {"pass": "#18a058", "wait": "#c47f00", "fail": "#d6323c"}
STABLE, CANDIDATE, QUIET = "#0f8f86", "#e07a1f", "#5d6775"
WHAT = {
    "success_ratio": "share of Predicts that succeed",
    "age_p99": "share of answers that come in time",
    "agreement": "F1 of the two versions' detections",
    "class_agreement": "the same, for the class that agrees least",
    "mean_iou": "overlap of the boxes that both have",
    "score_drift": "how far the mean score moves",
    "latency_ratio": "the candidate's Predict by the stable version's",
}


def gate_names(history: Sequence[dict[str, Any]]) -> list[str]:
    """In the order of their first appearance, those that ever had a value and a limit."""
    names: dict[str, None] = {}
    for entry in history:
        names |= {c["name"]: None for c in entry["checks"] if c["low"] is not None}
    return list(names)


def share_plot(history: Sequence[dict[str, Any]]) -> str:
    """The weight, and the candidate's share of the delivered frames, over time."""
    return _plot(history, _draw_share)


def _plot(history: Sequence[dict[str, Any]], draw: Any, height: float = 2.1) -> str:
    """An SVG element; the same history gives the same text."""
    with matplotlib.rc_context({"svg.hashsalt": "sightline", "font.size": 8.5, "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e8ebef", linewidth=0.8)
        draw(axes, history)
        axes.xaxis.set_major_formatter("{x:g} s")
        for entry in _step_begins(history):
            axes.axvline(entry["at_s"], color=QUIET, linestyle=":", linewidth=0.8)
        axes.set_xlim(0, 1.01 * max(1.0, history[-1]["at_s"] if history else 0.0))
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return f'<div class="plot">{text[text.index("<svg") :]}</div>'


def _step_begins(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first poll of each step but the first."""
    return [after for before, after in pairwise(history) if after["step"] != before["step"]]


def _draw_share(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    """The weight as a step, and the share of delivered frames between polls that are some seconds apart."""
    times = [entry["at_s"] for entry in history]
    axes.step(times, [entry["weight"] for entry in history], where="post", color=QUIET, label="weight")
    if history:
        candidate = history[-1]["candidate"]
        axes.plot(*_shares(history, candidate), color=CANDIDATE, linewidth=1.4, label=f"share of {candidate}")
    axes.set_ylim(-3, 103)
    axes.set_ylabel("%", color=QUIET)
    axes.legend(loc="upper left", frameon=False)


def _shares(
    history: Sequence[dict[str, Any]], version: str, apart_s: float = 1.5
) -> tuple[list[float], list[float]]:
    """In percent, of the frames delivered within `apart_s`."""
    at_s: list[float] = []
    share: list[float] = []
    first = 0
    for entry in history:
        while entry["at_s"] - history[first]["at_s"] > apart_s:
            first += 1
        before = history[first]["delivered"]
        grown = {name: n - before.get(name, 0) for name, n in entry["delivered"].items()}
        total = sum(grown.values())
        if total > 0 and min(grown.values()) >= 0:
            at_s.append(entry["at_s"])
            share.append(100 * grown.get(version, 0) / total)
    return at_s, share


def gate_plot(history: Sequence[dict[str, Any]], name: str) -> str:
    """One gate's estimates, intervals and limit over time."""

    def draw(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
        points = [
            (entry["at_s"], check) for entry in entries for check in entry["checks"] if check["name"] == name
        ]
        known = [(at_s, check) for at_s, check in points if check["low"] is not None]
        times = [at_s for at_s, _ in known]
        # A step begins with few frames and wide intervals: a gap there, not a line across.
        axes.vlines(
            times, [c["low"] for _, c in known], [c["high"] for _, c in known], color="#cfd5dc", linewidth=2
        )
        colours = [COLOURS[check["verdict"]] for _, check in known]
        axes.scatter(times, [check["value"] for _, check in known], s=6, c=colours, zorder=3)
        axes.axhline(known[-1][1]["limit"], color=STABLE, linestyle="--", linewidth=1)
        shown = [known[-1][1]["limit"], *(check["value"] for _, check in known)]
        margin = 0.2 * (max(shown) - min(shown)) or 0.01
        axes.set_ylim(
            min(shown) - margin, max(shown) + margin
        )  # the first intervals of a step would dwarf the rest
        axes.set_title(f"{name}: {WHAT.get(name, '')}", loc="left", fontsize=9)

    return _plot(history, draw, height=1.5)
