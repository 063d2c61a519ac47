"""Each thing that an image must not be is found in an image that is it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from images import report
from images.check import LIMITS, problems
from images.oci import read_layout
from tests.images.layouts import CONFIG, FILES, LABELS, Layer, write_layout


def found(tmp_path: Path, files: Layer, config: dict[str, Any], name: str = "relay") -> list[str]:
    (image,) = read_layout(write_layout(tmp_path / name, [files], config))
    return problems(image)


def test_good_image(tmp_path: Path) -> None:
    assert found(tmp_path, FILES, CONFIG) == []


@pytest.mark.parametrize(
    ("path", "mode", "problem"),
    [
        ("bin/sh", 0o755, "/bin/sh is a shell"),
        ("usr/bin/bash", 0o755, "/usr/bin/bash is a shell"),
        ("busybox/busybox", 0o755, "/busybox/busybox is a shell"),
        ("usr/bin/apt-get", 0o755, "/usr/bin/apt-get installs software"),
        ("app/bin/pip", 0o755, "/app/bin/pip installs software"),
        ("usr/bin/su", 0o4755, "/usr/bin/su is setuid or setgid"),
        ("usr/bin/wall", 0o2755, "/usr/bin/wall is setuid or setgid"),
        ("app/config", 0o666, "/app/config can be written by everyone"),
    ],
)
def test_bad_file(tmp_path: Path, path: str, mode: int, problem: str) -> None:
    assert found(tmp_path, FILES | {path: (b"", mode)}, CONFIG) == [problem]


def test_the_image_with_tools_may_have_them(tmp_path: Path) -> None:
    tools = FILES | {"bin/sh": (b"", 0o755), "usr/bin/apt-get": (b"", 0o755), "usr/bin/su": (b"", 0o4755)}
    assert found(tmp_path, tools, CONFIG, name="debug") == ["/usr/bin/su is setuid or setgid"]


@pytest.mark.parametrize("name", ["relay", "relay-rollout"])
def test_too_big_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(LIMITS, name, 1_000_000)
    big = FILES | {"app/cv2.so": (bytes(1_100_000), 0o644)}
    assert found(tmp_path / "1", big, CONFIG, name=name) == ["1 MB unpacked, more than 1 MB"]
    assert found(tmp_path / "2", big, CONFIG, name="export") == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"User": ""}, "runs as user 'root'; expected 65532"),
        ({"User": "0"}, "runs as user '0'; expected 65532"),
        ({"User": "nonroot"}, "runs as user 'nonroot'; expected 65532"),
        ({"Entrypoint": None}, "has no entrypoint"),
        ({"Entrypoint": ["sightline"]}, "entrypoint 'sightline' is no absolute path"),
        ({"Entrypoint": ["/usr/bin/tensorflow_model_server"]},
         "entrypoint /usr/bin/tensorflow_model_server is not in the image"),
        ({"Labels": {k: v for k, v in LABELS.items() if not k.endswith("revision")}},
         "no label org.opencontainers.image.revision"),
    ],
)  # fmt: skip
def test_bad_config(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    assert found(tmp_path, FILES, CONFIG | change) == [problem]


def test_model_image_runs_nothing(tmp_path: Path) -> None:
    assert (
        found(tmp_path, {"yolov8/1/saved_model.pb": (b"", 0o644)}, {"Labels": LABELS}, name="model-v1") == []
    )


def test_report_ends_with_1_for_a_bad_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_layout(tmp_path / "export", [FILES])
    bad = write_layout(tmp_path / "relay", [FILES | {"bin/sh": (b"", 0o755)}])
    assert report.main([good]) == 0
    assert report.main([good, bad]) == 1
    printed = capsys.readouterr().out
    assert "relay: /bin/sh is a shell" in printed
    assert "COPY . /app" in printed
    assert (tmp_path / "relay.linux-amd64.cdx.json").is_file()
