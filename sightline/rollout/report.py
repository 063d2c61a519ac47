"""What a rollout leaves for people and for programs: report.html and report.json."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mesh.run.rollout import replace
from sightline.rollout.config import RolloutConfig
from sightline.rollout.report_plots import gate_names, gate_plot, share_plot
from sightline.rollout.state import Phase, State, read_history

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #14181f; --dim: #5d6775; --line: #dfe3e8; --box: #f3f4f6;
  --pass: #12804a; --wait: #9a6400; --fail: #c22630; }
body { max-width: 900px; margin: 32px auto; padding: 0 16px; color: var(--text); background: var(--page);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 16px; margin: 28px 0 8px; }
p { margin: 6px 0; } .quiet { color: var(--dim); font-size: 13px; }
.verdict { padding: 10px 14px; border-left: 5px solid; background: var(--box); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--dim); }
.plot { overflow-x: auto; } .plot svg { display: block; width: 100%; min-width: 640px; height: auto; }
td.pass { color: var(--pass); } td.wait { color: var(--wait); } td.fail { color: var(--fail); font-weight: 600; }
p.pass { border-color: var(--pass); } p.wait { border-color: var(--wait); } p.fail { border-color: var(--fail); }
@media (prefers-color-scheme: dark) {
  :root { --page: #0d1117; --text: #e6edf3; --dim: #8d96a0; --line: #30363d; --box: #161b22;
    --pass: #3fb950; --wait: #d29922; --fail: #f85149; }
  .plot svg { filter: invert(.9) hue-rotate(180deg); }  /* the plots have no background of their own */
}
"""


def write_report(state: State, config: RolloutConfig) -> Path:
    """Write both files into the rollout's folder; returns the HTML's path."""
    folder = Path(state.report)
    history = read_history(folder)
    last = history[-1] if history else {}
    found = {
        "phase": state.phase,
        "reason": state.reason,
        "to": config.to,
        "steps": list(config.steps),
        "hold_s": config.hold_s,
        "gates": dict(config.gates.texts),
        "started_unix_s": state.started_unix_s,
        "took_s": last.get("at_s", 0.0),
        "frames": _since(history, "frames"),
        "delivered": _since(history, "delivered"),
        "passed": [_told(entry) for entry in _step_ends(history)],
        "last_checks": last.get("checks", []),
        "agreement": _newest_agreement(history, config),
    }
    replace(folder / "report.json", json.dumps(found, indent=1) + "\n")
    path = folder / "report.html"
    replace(path, _page(state, config, history, found))
    return path


def _told(entry: dict[str, Any]) -> dict[str, Any]:
    """What the report says of a step's last poll."""
    return {key: entry[key] for key in ("weight", "held_s", "verdict", "checks")}


def _step_ends(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last poll of each step."""
    ends: dict[int, dict[str, Any]] = {entry["step"]: entry for entry in history}
    return [ends[step] for step in sorted(ends)]


def _newest_agreement(history: Sequence[dict[str, Any]], config: RolloutConfig) -> dict[str, Any] | None:
    """The last report that has frames enough to judge, else any: at 100 % none are left to compare."""
    gates = config.gates.agreement
    found = [e["agreement"] for e in reversed(history) if (e.get("agreement") or {}).get("frames")]
    enough = (report for report in found if gates and report["frames"] >= gates.min_frames)
    return next(enough, found[0] if found else None)


def _since(history: Sequence[dict[str, Any]], key: str) -> dict[str, int]:
    """How much the counts grew in the rollout; parts that were started again count from there."""
    total: dict[str, int] = {}
    for before, after in pairwise(history):
        for name, value in after[key].items():
            total[name] = total.get(name, 0) + max(0, value - before[key].get(name, 0))
    return total


def _page(
    state: State, config: RolloutConfig, history: Sequence[dict[str, Any]], found: dict[str, Any]
) -> str:
    title = f"Rollout to {config.to}: {state.phase}"
    kind = "pass" if state.phase is Phase.PROMOTED else "fail" if state.phase.over else "wait"
    frames, delivered = found["frames"], found["delivered"]
    cameras = ", ".join(f"{n} {name}" for name, n in sorted(frames.items())) or "no frames"
    shares = ", ".join(f"{n} by {name}" for name, n in sorted(delivered.items())) or "none"
    steps = " → ".join(f"{step} %" for step in config.steps)
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="quiet">steps {steps}, each held {config.hold_s:g} s or longer; {found["took_s"]:.0f} s in all</p>',
        f'<p class="verdict {kind}">{_text(state.reason)}</p>',
        f"<p>The cameras' frames meanwhile: {_text(cameras)}; delivered {_text(shares)}.</p>",
        "<h2>Weight and share</h2>",
        share_plot(history),
        "<h2>Gates</h2>",
        '<p class="quiet">Poll by poll: the estimate (green passes, amber waits, red fails), its interval (grey), and '
        "the limit (dashed). A new step (dotted) begins with few frames.</p>",
        *(gate_plot(history, name) for name in gate_names(history)),
        "<h2>Each step's last judgement</h2>",
        _checks_table(_step_ends(history)),
        "<h2>What the candidate sees otherwise</h2>",
        _differences(found["agreement"]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _checks_table(ends: Sequence[dict[str, Any]]) -> str:
    rows = [
        f'<tr><td>{entry["weight"]} %</td><td class="{check["verdict"]}">{check["verdict"]}</td>'
        f"<td>{_text(check['text'])}</td></tr>"
        for entry in ends
        for check in entry["checks"]
    ]
    return (
        "<table><tr><th>weight</th><th></th><th>gate</th></tr>" + "".join(rows) + "</table>"
        if rows
        else "<p>None: no numbers ever came.</p>"
    )


def _differences(report: dict[str, Any] | None) -> str:
    """Class by class: same, flipped, missed, extra."""
    if not report or not report.get("frames"):
        return "<p>Nothing was compared.</p>"
    labels: dict[str, dict[str, int]] = {}

    def count(label: str, kind: str, n: int) -> None:
        of_label = labels.setdefault(label, {"same": 0, "flip": 0, "missed": 0, "extra": 0})
        of_label[kind] += n

    for label, n in report["same"].items():
        count(label, "same", n)
    for stable, _, n in report["flips"]:
        count(stable, "flip", n)
    for kind in ("missed", "extra"):
        for label, _, n in report[kind]:
            count(label, kind, n)
    rows = "".join(
        f"<tr><td>{_text(label)}</td>" + "".join(f"<td>{n}</td>" for n in of_label.values()) + "</tr>"
        for label, of_label in sorted(labels.items(), key=lambda item: -sum(item[1].values()))
    )
    flips = ", ".join(f"{a} → {b} {n}" for a, b, n in report["flips"][:8])
    numbers = (
        f"{report['frames']} frames of the last step that had enough of them: agreement {report['agreement']:.3f}, "
        f"mean IoU {_number(report['mean_iou'])}, score drift {_number(report['score_drift'])}, "
        f"latency ratio {_number(report['latency_ratio'])}."
    )
    return (
        f"<p>{numbers}</p>"
        "<table><tr><th>class</th><th>same</th><th>another class</th><th>missed</th><th>extra</th></tr>"
        f"{rows}</table>" + (f"<p>Flips: {_text(flips)}</p>" if flips else "")
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _text(value: object) -> str:
    return html.escape(str(value))
