from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.profile import Profile, load_profile, ours, parse_profile
from loadtest.switch import edges
from mesh.stack import component_folder, istio_folder

SMALL = {"description": "x", "users": {"camera": {"fps": 5}}, "stages": [{"users": 2, "for_s": 10}]}
EVENT = {"name": "e", "component": "mirror", "at_s": 2, "until_s": 4}
MESH = {"stack": {"mesh": True}}


@pytest.mark.parametrize("name", ours())
def test_ours_are_valid_and_have_goals(name: str) -> None:
    profile = load_profile(name)
    assert profile.slo
    assert profile.description.endswith(".")
    assert Profile.of_dict(profile.to_dict()) == profile  # as it travels to the workers


@pytest.mark.parametrize("name", ours())
def test_a_fault_does_not_break_its_own_goal(name: str) -> None:
    """What the mesh aborts stays aborted (docs/mesh-run.md), and half as much again may be chance."""
    profile = load_profile(name)
    for event in profile.events:
        patch_file = component_folder(event.component, istio_folder()) / "patch.yaml"
        patches = yaml.safe_load(patch_file.read_text())
        fault: dict[str, Any] = next(
            (patch["value"] for patch in patches if patch["path"].endswith("/fault")), {}
        )
        if "abort" in fault:
            percent = fault["abort"]["percentage"]["value"]
            goals = [g for g in profile.slo if g.metric == "errored_percent" and g.during in ("", event.name)]
            assert goals
            assert all(goal.allows(1.5 * percent) for goal in goals)


def test_all_kinds_that_are_promised_are_there() -> None:
    assert {"steady", "ramp", "spike", "soak", "canary", "chaos"} <= set(ours())


def test_a_ramp_is_many_stages() -> None:
    profile = parse_profile("x", SMALL | {"stages": [{"users": {"from": 2, "to": 7, "step": 2}, "for_s": 3}]})
    assert [stage.users for stage in profile.stages] == [2, 4, 6]
    assert profile.duration_s == 9


def test_long_runs_have_wide_slots() -> None:
    assert load_profile("steady").step_s == 1
    assert load_profile("soak").step_s == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"users": {}}, "users: expected one or more of camera, predict, rest, got none"),
        ({"users": {"camera": {"fps": 0}}}, "users: camera: fps: expected more than 0, got 0"),
        ({"users": {"camara": {}}}, "users: expected one of camera, predict, rest, got 'camara'"),
        ({"stages": []}, "stages: expected a list of one or more, got none"),
        ({"stages": [{"users": 0, "for_s": 5}]}, "stages: 0: users: expected 1 or more, got 0"),
        ({"stages": [{"users": {"from": 5, "to": 2}, "for_s": 5}]}, "expected to >= from, got 5 to 2"),
        ({"stages": [{"users": "two", "for_s": 5}]}, "expected a whole number or a mapping {from, to}, got 'two'"),
        ({"stages": [{"users": {"from": 1}, "for_s": 5}]}, "users: expected a mapping {from, to}, got no to"),
        ({"stages": [{"users": 2, "for_s": 5, "name": "A!"}]}, "name: expected 1 to 41 small letters.*, got 'A!'"),
        ({"users": {"camera": None}}, "users: camera: expected a mapping {fps, .*}, got nothing"),
        ({"users": {"camera": {"fps": "x" * 99}}}, "users: camera: fps: expected a number, got 'x{59} [.]{3}$"),
        ({"description": ""}, "description: expected some text, got ''"),
        ({"stack": {"mesh": 1}}, "stack: mesh: expected true or false, got 1"),
        ({"warmup_s": -1}, "warmup_s: expected 0 or more, got -1"),
        ({"warmup_s": 10}, "warmup_s: expected less than the stages' 10 s"),
        ({"slo": [{"metric": "age_ms"}]}, "slo: 0: expected max or min, got "),
        ({"slo": [{"metric": "speed", "max": 1}]}, "slo: 0: metric: expected one of age_ms, .*, got 'speed'"),
        ({"slo": [{"metric": "age_ms", "max": 1, "during": "nothing"}]}, "no stage or event has that name"),
        ({"slo": [{"metric": "recovery_s", "max": 1}]}, "name it with `during`"),
        ({"slo": [{"metric": "age_ms", "max": 1, "user": "rest"}]}, "has no rest users"),
        ({"events": [EVENT]}, "add `stack: {mesh: true}`"),
        (MESH | {"events": [EVENT | {"at_s": 9, "until_s": 8}]}, "at_s < until_s"),
        (MESH | {"events": [EVENT, EVENT]}, "the name 'e' is used twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=r"^profile bad: ") as caught:
        parse_profile("bad", SMALL | change)
    assert re.search(says, str(caught.value))
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are calls, canary"):
        load_profile("nonesuch")
    for text in ("a: [", "\x00", "- 1"):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"^profile "):
            load_profile(str(tmp_path / "x.yaml"))
    (tmp_path / "x.yaml").write_text("")
    with pytest.raises(
        ValueError, match=r"^profile x: expected a mapping {description, users, stages}, got nothing$"
    ):
        load_profile(str(tmp_path / "x.yaml"))
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(SMALL))
    assert load_profile(str(tmp_path / "x.yaml")).name == "x"


def test_events_that_follow_each_other_are_one_change_of_the_mesh() -> None:
    canary = [(at, [event.name for event in on]) for at, on in edges(load_profile("canary"))]
    assert canary == [(0, ["five"]), (20, ["fifty"]), (40, ["all"])]
    chaos = [(at, [event.name for event in on]) for at, on in edges(load_profile("chaos"))]
    assert chaos == [(15, ["delay"]), (30, []), (45, ["abort"]), (60, [])]
