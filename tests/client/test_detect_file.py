"""The YAML file of a fleet: what it means, and what is said of one that is wrong."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.detect_config import DetectConfig
from client.detect_file import MAX_BYTES, ConfigError, load

EXAMPLE = Path(__file__).parents[2] / "examples" / "cameras.yaml"


def config_of(folder: Path, text: str, **overrides: Any) -> DetectConfig:
    (folder / "fleet.yaml").write_text(text)
    return load(folder / "fleet.yaml", overrides)


def test_options_of_the_run_of_all_cameras_and_of_one(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        """
        relay: relay.example:8600
        max_age: 1
        duration: 2.5
        classes: [person, 2]
        cameras:
          - source: 0
          - source: clip.mp4
            id: door
            max_age: 0.5
            conf: 0.4
            classes: []
            save: true
            lines: {gate: [[0.1, 0.8], [0.9, 0.8]]}
        """,
        duration=7.0,
        jsonl="out.jsonl",
    )
    webcam, door = config.cameras
    assert (config.relay, config.duration_s, config.jsonl) == ("relay.example:8600", 7.0, "out.jsonl")
    assert (webcam.source, webcam.max_age_s, webcam.classes) == ("0", 1.0, ("person", "2"))
    assert (door.max_age_s, door.conf, door.classes, door.save) == (0.5, 0.4, (), True)
    assert door.lines == {"gate": ((0.1, 0.8), (0.9, 0.8))}
    assert door.tracks
    assert not webcam.tracks
    assert config.ids() == ["webcam-0", "door"]


def test_a_password_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "cameras:\n  - source: rtsp://user:${DOOR_PASSWORD}@door/s$1\n"
    with pytest.raises(ConfigError, match=r"fleet\.yaml:2: source: .* environment to hold DOOR_PASSWORD"):
        config_of(tmp_path, text)
    monkeypatch.setenv("DOOR_PASSWORD", "hunter2")
    assert config_of(tmp_path, text).cameras[0].source == "rtsp://user:hunter2@door/s$1"


def test_a_text_is_what_is_written(tmp_path: Path) -> None:
    """YAML takes these for numbers, of base 8 and 60 too, and for a day."""
    texts = ["0123", "12:30", "0x1F", "1_000", "1.50", "2026-01-31", "-0"]
    for text in texts:
        config = config_of(
            tmp_path, f"cameras: [{{source: {text}, id: {text}, classes: [{text}], zones: {{{text}: "
            "[[0, 0], [0.5, 1e-1], [1, +.5]]}}]\n",
        )  # fmt: skip
        (camera,) = config.cameras
        assert (camera.source, camera.id, camera.classes) == (text, text, (text,))
        assert camera.zones == {text: ((0, 0), (0.5, 0.1), (1, 0.5))}


def test_numbers_and_truths(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        "max_age: 1e-1\nduration: 1E+2\nimgsz: 0640\nconf: .5\nloop: Yes\nsave: off\n"
        "cameras:\n  - source: '010'\n    vid_stride: +2\n    fps: 010\n",
    )
    (camera,) = config.cameras
    assert (camera.source, camera.loop, camera.save) == ("010", True, False)
    assert (camera.max_age_s, config.duration_s, camera.imgsz, camera.conf) == (0.1, 100.0, 640, 0.5)
    assert (camera.vid_stride, camera.fps) == (2, 10.0)


def test_the_example_is_whole() -> None:
    config = load(EXAMPLE, {})
    assert config.ids() == ["street", "yard"]
    assert [camera.priority for camera in config.cameras] == [2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: expected options"),
        ("- a\n- b\n", "1: expected options"),
        ("relay: x:1\n", "1: cameras: expected a list"),
        ("relay: x:1\ncameras: 5\n", "2: cameras: expected a list"),
        ("cameras: []\n", "1: cameras: expected a list"),
        ("cameras:\n  - clip.mp4\n", "2: expected options"),
        ("cameras:\n  - id: door\n", "2: source: expected one"),
        ("cameras:\n  - sorce: a\n", "2: unknown option 'sorce': did you mean source?"),
        ("max-age: 1\ncameras:\n  - source: a\n", "1: unknown option 'max-age': did you mean max_age?"),
        ("max_age_s: 1\ncameras:\n  - source: a\n", "1: unknown option 'max_age_s': did you mean max_age?"),
        ("security: 1\ncameras:\n  - source: a\n", "1: unknown option 'security': expected one of"),
        ("cameras:\n  - source: a\n    relay: b\n", "3: unknown option 'relay': expected one of"),
        ("conf: 1\nconf: 1\ncameras:\n  - source: a\n", "2: conf: expected once"),
        ("max_age: fast\ncameras:\n  - source: a\n", "1: max_age: expected a number, got 'fast'"),
        ("max_age: .nan\ncameras:\n  - source: a\n", "1: max_age: expected a number, got .nan"),
        ("loop: 1\ncameras:\n  - source: a\n", "1: loop: expected true or false, got 1"),
        ("imgsz: 1.5\ncameras:\n  - source: a\n", "1: imgsz: expected a whole number, got 1.5"),
        ("imgsz: yes\ncameras:\n  - source: a\n", "1: imgsz: expected a whole number, got yes"),
        ("classes: person\ncameras:\n  - source: a\n", "1: classes: expected a list, as in"),
        ("cameras:\n  - source: [rtsp://u:hunter2@h]\n", "2: source: expected a text, got a list"),
        ("fps: rtsp://u:hunter2@h\ncameras:\n  - source: a\n", r"1: fps: expected a number, got 'rtsp://\*\*\*@h'"),
        ("cameras:\n  - source: a\n    lines: {g: 5}\n", "3: lines: expected points"),
        ("cameras:\n  - source: a\n    lines: {g: [[0, 1]]}\n", "3: lines: expected two different points of g"),
        ("cameras:\n  - source: a\n    zones: [1]\n", "3: zones: expected points by name"),
        ("cameras:\n  - source: a\n    conf: 7\n", "3: conf: expected 0 to 1, got 7"),
        ("conf: 7\ncameras:\n  - source: a\n", "1: conf: expected 0 to 1, got 7"),
        ("\nrelay: here\ncameras:\n  - source: a\n", "2: --relay: expected host:port, got 'here'"),
        ("cameras:\n  - source: a\n    id: x\n  - source: b\n    id: x\n", "id: expected another for each camera"),
        ("a: [1\n", "no YAML: expected ',' or ']'"),
        ("a: 'open\n", "no YAML: found unexpected end of stream"),
        ("relay: x:1\na: !!python/object:os.system {}\n", "2: expected no tags"),
        ("loop: !!bool maybe\ncameras:\n  - source: a\n", "1: expected no tags"),
        ("cameras:\n  - source: a\n    id: !!timestamp x\n", "3: expected no tags"),
        ("priority: !!int ''\ncameras:\n  - source: a\n", "1: expected no tags"),
        (f"max_age: {'9' * 400}\ncameras:\n  - source: a\n", "1: max_age: expected a number, got 9{60}$"),
        (f"imgsz: {'9' * 5000}\ncameras:\n  - source: a\n", "1: imgsz: expected a whole number, got 9{60}$"),
        ("max_age: '1'\ncameras:\n  - source: a\n", "1: max_age: expected a number, got '1'"),
        ("max_age: 12:30\ncameras:\n  - source: a\n", "1: max_age: expected a number, got 12:30"),
        ("jsonl: no\ncameras:\n  - source: a\n", "1: jsonl: expected a text, got no"),
        ("cameras:\n  - source: a\n    id:\n", "3: id: expected a text, got nothing"),
        ("cameras:\n  - source: rtsp://u:hunter2${DOOR-PASSWORD}@h\n", r"2: source: expected the name of a variable"),
        ("classes: ['${A']\ncameras:\n  - source: a\n", r"1: classes: expected the name of a variable"),
        ("cameras:\n  - source: a\n    lines: {g: [12, 34]}\n", "3: lines: expected points, as in .* got a list"),
        ("cameras:\n  - source: a\n    lines: {g: {a: b}}\n", "3: lines: expected points, as in .* got a mapping"),
        ("cameras:\n  - source: a\n    zones: {g: [], g: []}\n", "3: zones: expected g once"),
        ("? [rtsp://u:hunter2@h]\n: 1\n", "1: unknown option 'a list'"),
        ("a: &a [1]\nb: *a\n", "2: expected no aliases"),
        ("\x00", "no YAML"),
        ('a: "\\UFFFFFFFF"', "no YAML"),
        ('a: "\\U00FFFFFF"', "no YAML"),
        ("[" * 9, "1: expected at most 8 lists in each other"),
        (f"cameras:\n  - source: {'[' * 330}{']' * 330}\n", "2: expected at most 8 lists in each other"),
        ("# " + "x" * MAX_BYTES, "expected at most 1048576 bytes"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config_of(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "fleet.yaml"))
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, message in (("binary", "UTF-8"), ("none", "cannot read"), (".", "cannot read")):
        with pytest.raises(ConfigError, match=message):
            load(tmp_path / name, {})


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["relay", "conf", "classes", "lines", "cameras", "loop", "max_age", "mqtt", "id"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_whatever_it_holds_it_is_a_config_or_one_line(tmp_path_factory: Any, content: dict[str, Any]) -> None:
    import yaml

    path = tmp_path_factory.getbasetemp() / "any.yaml"
    content = {"cameras": [{"source": "a", **content}], **content}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with contextlib.suppress(ConfigError):
        assert load(path, {}).cameras
