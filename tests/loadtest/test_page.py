"""What a run's page and its timeline show, and what they do not."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtest import picture, report
from loadtest.compare import compare
from loadtest.figures import milliseconds, tail
from loadtest.percentiles import histogram
from loadtest.plan import REPORT, RESULT, TIMELINE
from loadtest.plots import STEPS, around, mark
from loadtest.profile import CallLoad, Goal
from loadtest.record import DELIVERED, DROPPED, Recorder, fate
from loadtest.results import Run, Span
from loadtest.shape import Plateau
from tests.loadtest.runs import BEGAN_S, PROFILE, made_run

DARK_PAGE = "#0d1117"


def pictures(page: str, title: str) -> list[str]:
    """The SVGs of a section, wide and narrow; none if the page has no such section, or no picture in it."""
    section = page.partition(f"<h2>{title}</h2>")[2].partition("<h2>")[0]
    found = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", section)
    return [base64.b64decode(text).decode() for text in reversed(found)]  # the narrow one comes first


def words(svg: str) -> list[str]:
    """The texts of a picture."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def written(run: Run, folder: Path) -> str:
    """The run's page."""
    report.write(run, folder)
    return (folder / REPORT).read_text()


def with_rest(run: Run, versions: Callable[[int], str]) -> Run:
    """The run with REST calls, which do not tell their version, and cameras' frames of the versions given."""
    recorder = Recorder()
    for frame in range(600):
        due_s = BEGAN_S + frame / 10
        recorder.offered("rest", due_s)
        recorder.add(fate("rest", DELIVERED), due_s, 0.05)
        recorder.offered("camera", due_s)
        recorder.add(fate("camera", DELIVERED, versions(frame)), due_s, 0.05)
    run.store.add(recorder.flush())
    run.profile, run.target = (
        replace(run.profile, rest=CallLoad(10)),
        {**run.target, "rest": "http://nowhere:2"},
    )
    return run


def test_what_tells_no_version_is_named_so(tmp_path: Path) -> None:
    (wide, _) = pictures(
        written(with_rest(made_run(), lambda frame: f"v{1 + frame % 2}"), tmp_path), "Versions served"
    )
    assert [word for word in words(wide) if word.startswith("v")] == ["v1", "v2", "version not told"]


def test_one_version_and_calls_that_tell_none_are_no_two_versions(tmp_path: Path) -> None:
    assert "Versions served" not in written(with_rest(made_run(), lambda _: "v1"), tmp_path)


def test_the_timeline_has_versions_and_reasons_that_add_up(tmp_path: Path) -> None:
    run, recorder = with_rest(made_run(), lambda frame: f"v{1 + frame % 2}"), Recorder()
    for second in range(60):
        recorder.offered("camera", BEGAN_S + second)
        recorder.add(fate("camera", DROPPED, "mailbox" if second < 30 else "stale"), BEGAN_S + second, 0.01)
    run.store.add(recorder.flush())
    report.write(run, tmp_path)
    lines = list(csv.DictReader((tmp_path / TIMELINE).read_text().splitlines()))
    for second, line in enumerate(lines):
        at = {name: int(line[name]) for name in line if name.startswith(("delivered", "dropped", "camera/"))}
        assert at == {
            "delivered": 30, "delivered v1": 15, "delivered v2": 5, "delivered version not told": 10, "dropped": 1,
            "camera/dropped mailbox": int(second < 30), "camera/dropped stale": int(second >= 30),
        }  # fmt: skip


def test_a_percentile_of_too_few_frames_is_told_nowhere(tmp_path: Path) -> None:
    """p99 takes 100 frames; a second here has ten, the run 580."""
    page = written(made_run(), tmp_path)
    age, generator = (pictures(page, title)[0] for title in ("Age over time", "The generator itself"))
    assert [word for word in words(age) if re.match("p[0-9]|max", word)] == ["p50", "p90", "max"]
    assert "max, ms" in words(generator)
    (line, *_) = csv.DictReader((tmp_path / TIMELINE).read_text().splitlines())
    assert line["p90_ms"] != line["p99_ms"] == line["p99.9_ms"] == ""
    (point,) = made_run(9).points()
    assert math.isfinite(point.p50_ms)
    assert math.isnan(point.p99_ms)
    assert "nan" not in (tmp_path / REPORT).read_text().lower()


def test_the_web_pages_tab_keeps_to_that_rule() -> None:
    code = """
        import loadtest.webui, json
        from tests.loadtest.runs import made_run
        print(json.dumps([loadtest.webui.rows(made_run(seconds).store)[0] for seconds in (9, 60)]))
    """
    # Locust patches the standard library of the process that imports it.
    command = [sys.executable, "-c", textwrap.dedent(code)]
    tab = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert [row["count"] for row in tab] == ["90", "600"]
    assert [{name for name, cell in row.items() if not cell} for row in tab] == [{"p99", "p999"}, {"p999"}]


def test_the_tail_is_p99_where_all_have_enough_for_it() -> None:
    none, few, many = histogram(), histogram(), histogram()
    for count, values in ((99, few), (100, many)):
        for value in range(count):
            values.record_value(1000 * (value + 1))
    assert [tail(of) for of in ([many], [many, few], [many, none], [few], [])] == [99, 100, 99, 100, 99]
    assert milliseconds(none) == {}


def test_where_nothing_was_delivered_there_is_a_sentence_and_no_empty_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slo = (Goal("age_ms", max=200), Goal("delivered_percent", min=99))
    run = made_run(profile=replace(PROFILE, slo=slo), status=lambda _: DROPPED)
    run.plateaus = [Plateau(1, BEGAN_S, BEGAN_S + 30), Plateau(1, BEGAN_S + 30, BEGAN_S + 60)]
    page, said = written(run, tmp_path), capsys.readouterr().out
    assert "Nothing was delivered." in page
    assert "MISSED    Nothing was delivered: " in said
    assert "MISSED    age_ms p99 <= 200: no value" in said
    for title in ("Age over time", "Percentiles"):
        assert not pictures(page, title)
    assert "age, ms" not in words(pictures(page, "Load and knee")[0])
    json.loads(
        (tmp_path / RESULT).read_text().partition('"histograms"')[0].rstrip(" ,\n") + "}", parse_constant=int
    )
    for text in (page, said):
        assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE)
    for found in (compare(made_run(), run, 0.1), compare(run, run, 0.1)):
        assert "no frames" in found[0].cells
        assert not re.search(r"\b(nan|inf)\b", " ".join(cell for item in found for cell in item.cells))


@pytest.mark.parametrize("low", [0.03, 1, 8, 99.9, 100, 185, 700])
@pytest.mark.parametrize("ratio", [1, 1.1, 2, 3, 9.9, 100, 1e4])
def test_an_axis_of_ages_has_a_few_round_numbers_around_them(low: float, ratio: float) -> None:
    choices = [around(low, low * ratio, steps) for steps in STEPS]
    assert all(marks[0] < low <= low * ratio < marks[-1] for marks in choices)
    assert any(2 + (ratio >= 2) <= len(marks) <= 8 for marks in choices)


def test_the_axis_of_ages_says_that_it_is_logarithmic(tmp_path: Path) -> None:
    run = made_run(age_ms=lambda _, rng: float(rng.uniform(185, 320)))
    for svg in pictures(written(run, tmp_path), "Age over time"):
        assert "age, ms (log)" in words(svg)
        assert {"200", "300", "400"} <= set(words(svg))


def test_events_lie_above_the_areas_and_are_named() -> None:
    """Shaded over the areas, they changed the colours that tell versions apart."""
    run = made_run()
    run.events = [Span(f"e{begin}", BEGAN_S + begin, BEGAN_S + begin + 20, "mirror") for begin in (0, 10, 30)]
    with picture.picture(picture.WIDE) as made:
        (axes,) = made.axes
        mark(axes, run)
    spans = [strip.get_paths()[0].get_extents() for strip in axes.collections]
    assert [(span.x0, span.x1) for span in spans] == [(0, 20), (10, 30), (30, 50)]
    assert [round(span.y0, 2) for span in spans] == [1.02, 1.12, 1.02]  # side by side where they overlap
    assert [text.get_text().strip() for text in axes.texts] == ["e0", "e10", "e30"]
    assert {patch.get_zorder() for patch in axes.patches} == {0}  # the warm-up


def test_what_was_offered_is_dashed_over_what_was_delivered(tmp_path: Path) -> None:
    (wide, _) = pictures(written(made_run(), tmp_path), "Throughput")
    assert 0 < wide.index(f"stroke: {picture.BLUE}") < wide.index("stroke-dasharray")


def test_pictures_are_drawn_for_narrow_windows_too(tmp_path: Path) -> None:
    page = written(made_run(), tmp_path)
    assert page.count("<source media=") == page.count("<img ") >= 4
    for wide, narrow in (pictures(page, title) for title in ("Age over time", "Throughput")):
        widths = [float(re.findall(r'<svg [^>]*width="([\d.]+)pt"', svg)[0]) for svg in (wide, narrow)]
        assert widths == [691.2, 316.8]  # 9.6 and 4.4 inches
        assert set(words(narrow)) >= {"seconds", "warm-up"}


def luminance(rgb: np.ndarray) -> float:
    """WCAG's, of red, green and blue from 0 to 1."""
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    least, most = sorted((luminance(one), luminance(other)))
    return (most + 0.05) / (least + 0.05)


@pytest.mark.parametrize("colour", picture.COLOURS)
def test_each_colour_stands_out_in_both_schemes(colour: str) -> None:
    """3:1 at least, as WCAG asks of what is drawn; in the dark scheme through the page's filter."""
    red_green_blue = np.array([0.2126, 0.7152, 0.0722])
    white, dark, rgb = (
        np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        for text in ("#ffffff", DARK_PAGE, colour)
    )
    style = (Path(report.__file__).with_name("report.html.j2")).read_text()
    assert "filter: invert(.9) hue-rotate(180deg)" in style
    assert f"--page: {DARK_PAGE}" in style
    inverted = 0.9 - 0.8 * rgb
    turned = np.clip(2 * inverted @ red_green_blue - inverted, 0, 1)  # half a turn of the hue keeps the luma
    assert contrast(rgb, white) >= 3
    assert contrast(turned, dark) >= 3
