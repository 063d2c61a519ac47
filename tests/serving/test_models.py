from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow.python.framework import errors
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.config import model_server_config_pb2

from serving import build, config, flags, versions
from serving.config import ModelConfig
from serving.errors import Code, ServingError
from serving.metrics import Metrics
from serving.models import ModelManager
from serving.servable import LoadOptions, State
from tests.serving import models


def publish(source: Path, target: Path) -> None:
    """A version folder that appears whole, as an export makes it."""
    staged = target.with_name(f"tmp-{target.name}")
    target.parent.mkdir(exist_ok=True)
    shutil.copytree(source, staged)
    os.rename(staged, target)


def until(condition: Callable[[], Any], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def make() -> Iterator[Callable[..., ModelManager]]:
    managers: list[ModelManager] = []

    def maker(**options: Any) -> ModelManager:
        defaults = {"poll_s": 0.05, "max_retries": 0, "retry_interval_s": 0.01}
        managers.append(ModelManager(LoadOptions(**{**defaults, **options}), None, Metrics()))
        return managers[-1]

    yield maker
    for manager in managers:
        manager.stop()


def latest(manager: ModelManager, name: str = "m") -> int:
    return manager.find(ModelSpec(name=name))[0]


def states(manager: ModelManager, name: str = "m") -> dict[int, State]:
    return {number: state for number, state, _ in manager.states(name)}


@pytest.fixture
def base(tmp_path: Path, model_dir: Path) -> Path:
    (tmp_path / "m").mkdir()
    publish(model_dir / "affine" / "1", tmp_path / "m" / "1")
    return tmp_path / "m"


def test_a_new_version_is_loaded_then_the_old_one_goes(make: Any, base: Path, tmp_path: Path) -> None:
    manager = make()
    manager.configure([ModelConfig("m", str(base))])
    assert latest(manager) == 1
    answers: list[float] = []
    stop = threading.Event()

    def keep_calling() -> None:
        while not stop.is_set():
            _, model = manager.find(ModelSpec(name="m"))
            answers.append(model.run("serving_default", {"x": np.array([2.0], np.float32)})["y"][0])

    caller = threading.Thread(target=keep_calling)
    caller.start()
    publish(models.affine(tmp_path / "new", scale=10.0), base / "2")
    until(lambda: states(manager) == {2: State.AVAILABLE, 1: State.END})
    stop.set()
    caller.join()
    assert latest(manager) == 2
    assert set(answers) <= {3.0, 22.0}  # not one call failed, and each came from a whole model
    assert answers[0] == 3.0
    with pytest.raises(ServingError, match="Servable not found for request"):
        manager.find(text_format.Parse('name: "m" version { value: 1 }', ModelSpec()))


def test_a_new_version_that_fails_leaves_the_old_one_serving(make: Any, base: Path, model_dir: Path) -> None:
    manager = make(max_retries=2)
    manager.configure([ModelConfig("m", str(base))])
    (base / "2").mkdir()
    until(lambda: states(manager).get(2) == State.END)
    assert states(manager)[1] == State.AVAILABLE
    assert latest(manager) == 1
    error = manager.states("m")[0][2]
    assert error is not None
    assert error.code == Code.NOT_FOUND
    shutil.rmtree(base / "2")
    until(lambda: not manager._models["m"].versions[2].aspired)
    publish(model_dir / "affine" / "1", base / "2")  # put right: it is tried again
    until(lambda: states(manager) == {2: State.AVAILABLE, 1: State.END})


def test_an_empty_base_unloads_and_a_missing_one_does_not(make: Any, base: Path, model_dir: Path) -> None:
    manager = make()
    manager.configure([ModelConfig("m", str(base))])
    hidden = base.with_name("hidden")
    os.rename(base, hidden)
    until(lambda: manager._poll_error)
    assert "Could not find base path" in manager._poll_error
    assert latest(manager) == 1
    os.rename(hidden, base)
    shutil.rmtree(base / "1")
    until(lambda: states(manager) == {1: State.END})
    publish(model_dir / "affine" / "1", base / "1")
    until(lambda: states(manager) == {1: State.AVAILABLE})


@pytest.mark.parametrize("retries", [2, -1])  # a negative number of retries: tried once
def test_a_bad_model_at_start_is_an_error_after_its_retries(make: Any, base: Path, retries: int) -> None:
    (base / "7").mkdir()
    shutil.rmtree(base / "1")
    with pytest.raises(ServingError) as caught:
        make(max_retries=retries).configure([ModelConfig("m", str(base))])
    text = caught.value.message
    assert text.startswith(
        "1 servable(s) did not become available: {{{name: m version: 7} due to error: NOT_FOUND: Specified file"
    )
    assert text.endswith("}, }")


def test_a_server_without_models_gets_its_first_list(make: Any, base: Path) -> None:
    manager = make()
    manager.configure(None)  # an empty config: no action, and the next one is the first
    assert manager.configured() is None
    manager.configure([])
    assert manager.configured() == set()
    manager.configure([ModelConfig("m", str(base))])
    assert latest(manager) == 1
    manager.configure(None)
    assert latest(manager) == 1


def test_a_first_list_that_fails_may_be_followed_by_another(make: Any, base: Path) -> None:
    manager = make()
    bad = base.with_name("bad")
    (bad / "1").mkdir(parents=True)
    with pytest.raises(ServingError, match="bad version: 1"):
        manager.configure([ModelConfig("bad", str(bad))])
    manager.configure([ModelConfig("m", str(base))])
    assert latest(manager) == 1


def test_the_watcher_outlives_what_goes_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Manager:
        calls = 0

        def configured(self) -> None:
            return None

        def configure(self, configs: object) -> None:
            self.calls += 1
            raise RuntimeError("a bug")

    file, manager, stop = tmp_path / "models", Manager(), threading.Event()
    file.write_text("")
    options = flags.parse([f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1"])
    build.watch_config_file(options, manager, stop)  # type: ignore[arg-type]
    until(lambda: manager.calls == 2)
    stop.set()
    assert "Reloading" in caplog.text
    assert "a bug" in caplog.text


def test_a_model_is_taken_away_while_anothers_folder_is_missing(
    make: Any, base: Path, model_dir: Path
) -> None:
    manager = make()
    other = ModelConfig("other", str(model_dir / "tf1"))
    manager.configure([ModelConfig("m", str(base)), other])
    os.rename(base, base.with_name("hidden"))
    manager.configure([ModelConfig("m", str(base))])
    until(lambda: states(manager, "other") == {123: State.END})
    assert latest(manager) == 1


@pytest.mark.parametrize("at_start", [True, False])
def test_the_highest_version_that_ends_decides(
    make: Any, base: Path, model_dir: Path, at_start: bool
) -> None:
    """A low version that serves does not make up for a higher one that failed by then, as in TF Serving."""
    (base / "2").mkdir()
    manager = make()
    if not at_start:
        manager.configure([ModelConfig("other", str(model_dir / "tf1"))])
    with pytest.raises(ServingError) as caught:
        manager.configure([ModelConfig("m", str(base), policy="all")])
    kind = "servable" if at_start else "model"
    assert caught.value.message.startswith(
        f"1 {kind}(s) did not become available: {{{{{{name: m version: 2}} due to error: NOT_FOUND: "
    )
    assert caught.value.message.count("due to error") == 1
    until(lambda: states(manager) == {2: State.END, 1: State.AVAILABLE})


def test_versions_that_ended_are_remembered(make: Any, base: Path, model_dir: Path) -> None:
    manager = make()
    manager.configure([ModelConfig("m", str(base))])
    manager.configure([])
    until(lambda: states(manager) == {1: State.END})
    publish(model_dir / "affine" / "1", base.with_name("second") / "5")
    manager.configure([ModelConfig("m", str(base.with_name("second")))])
    assert states(manager) == {5: State.AVAILABLE, 1: State.END}
    manager.configure([])
    manager.configure([ModelConfig("m", str(base))])  # a version that ended is loaded again
    assert latest(manager) == 1


def test_policies(make: Any, base: Path, model_dir: Path) -> None:
    publish(model_dir / "affine" / "1", base / "5")
    publish(model_dir / "affine" / "1", base / "00000006")
    manager = make()
    manager.configure([ModelConfig("m", str(base), policy="specific", specific=(1, 5, 99))])
    until(lambda: states(manager) == {5: State.AVAILABLE, 1: State.AVAILABLE})
    manager.configure([ModelConfig("m", str(base), latest=2)])
    until(lambda: states(manager) == {6: State.AVAILABLE, 5: State.AVAILABLE, 1: State.END})
    manager.configure([ModelConfig("m", str(base), policy="all")])
    until(lambda: set(states(manager).values()) == {State.AVAILABLE})


def test_a_base_path_that_is_there_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match="file; Not a directory"):
        versions.aspired_versions(ModelConfig("m", str(tmp_path / "file")))

    def refuse(path: str) -> list[str]:
        raise errors.PermissionDeniedError(None, None, f"{path}; Permission denied")

    monkeypatch.setattr("serving.versions.file_io.list_directory_v2", refuse)
    with pytest.raises(ServingError, match="m; Permission denied") as caught:
        versions.aspired_versions(ModelConfig("m", str(tmp_path / "m")))
    assert caught.value.code == Code.PERMISSION_DENIED


def test_no_version_of_those_asked_for_is_said(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert versions.aspired_versions(ModelConfig("m", str(base), policy="specific", specific=(7,))) == {}
    assert "Version 7 of servable m, which was requested" in caplog.text
    assert f"No versions of servable m found under base path {base}." in caplog.text


def test_reload_replaces_the_list(make: Any, base: Path, model_dir: Path) -> None:
    manager = make()
    manager.configure([ModelConfig("m", str(base))])
    manager.configure([ModelConfig("other", str(model_dir / "tf1"))])
    assert latest(manager, "other") == 123
    until(lambda: states(manager) == {1: State.END})


def test_labels_need_a_version_that_serves(make: Any, base: Path) -> None:
    manager = make()
    manager.configure([ModelConfig("m", str(base))])
    manager.configure([ModelConfig("m", str(base), labels={"stable": 1})])
    spec = ModelSpec(name="m", version_label="stable")
    assert manager.find(spec)[0] == 1
    with pytest.raises(ServingError) as caught:
        manager.configure([ModelConfig("m", str(base), labels={"stable": 2})])
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert caught.value.message == (
        "Request to assign label to version 2 of model m, which is not currently available for inference"
    )
    assert manager.find(spec)[0] == 1
    manager.configure([])
    with pytest.raises(ServingError, match="Unrecognized servable version label: stable"):
        manager.find(spec)
    with pytest.raises(ServingError, match="assign label"):
        make().configure([ModelConfig("m", str(base), labels={"stable": 1})])


def test_labels_for_versions_that_do_not_serve_yet(make: Any, base: Path) -> None:
    manager = make(labels_for_unavailable=True)
    for labels in ({"stable": 1}, {"stable": 1, "next": 2}):  # the second time `stable` is in use, but stays
        manager.configure([ModelConfig("m", str(base), labels=labels)])
    assert manager.find(ModelSpec(name="m", version_label="stable"))[0] == 1
    with pytest.raises(ServingError, match="assign label to version 3"):
        manager.configure([ModelConfig("m", str(base), labels={"stable": 3})])


def test_unloading_frees_the_sessions(make: Any, base: Path) -> None:
    manager = make()
    manager.configure([ModelConfig("m", str(base))])
    import weakref

    model = weakref.ref(manager.find(ModelSpec(name="m"))[1])
    shutil.rmtree(base / "1")
    until(lambda: model() is None)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("00000123", 123),
        ("-1", -1),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("1a", None),
        ("", None),
        (".export-x", None),
        ("1.5", None),
        ("9" * 5000, None),
    ],
)
def test_version_folders(name: str, number: int | None) -> None:
    assert versions.version_number(name) == number


LIST = "model_config_list {{ config {{ {} }} }}"
GOOD = 'name: "m" base_path: "/x" model_platform: "tensorflow"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIST.format(f"{GOOD} }} config {{ {GOOD}"), "Illegal to list model m multiple times in config list"),
        (
            LIST.format('name: "m" base_path: "x" model_platform: "tensorflow"'),
            "Expected model m to have an absolute path or URI; got base_path()=x",
        ),
        (
            LIST.format('name: "m" base_path: "/x" model_platform: "p"'),
            "Model m requests unsupported platform p",
        ),
        (
            LIST.format('name: "m" base_path: "/x"'),
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (LIST.format(f"{GOOD} logging_config {{ }}"), "No request-logger-creator provided."),
    ],
)
def test_configs_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ServingError) as caught:
        config.from_proto(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", Code.FAILED_PRECONDITION, "Cannot transition to requested config."),  # a file that is cut short
        (
            LIST.format('name: "m" base_path: "/x" model_platform: "p"'),
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested "
            "is p",
        ),
    ],
)
def test_reloads_that_are_refused(text: str, code: Code, message: str) -> None:
    proto = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    with pytest.raises(ServingError) as caught:
        config.from_proto(proto, served={"m"})
    assert caught.value.code == code
    assert caught.value.message.startswith(message)


def test_a_server_may_start_with_no_models_and_lose_all_of_them() -> None:
    assert config.from_proto(model_server_config_pb2.ModelServerConfig()) is None
    empty = text_format.Parse("model_config_list {}", model_server_config_pb2.ModelServerConfig())
    assert config.from_proto(empty, served={"m"}) == ()


def test_a_config_file(tmp_path: Path) -> None:
    file = tmp_path / "models"
    policy = 'model_version_policy { specific { versions: [3, 4] } } version_labels { key: "a" value: 3 }'
    file.write_text(LIST.format(f"{GOOD} {policy}"))
    assert config.read_model_config_file(str(file)) == (
        ModelConfig("m", "/x", policy="specific", specific=(3, 4), labels={"a": 3}),
    )
    file.write_text("nonsense")
    with pytest.raises(ServingError, match=None) as caught:
        config.read_model_config_file(str(file))
    assert caught.value.message == f"Invalid protobuf file: '{file}'"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config: {\n  enable: true, # yes\n  path: "/metrics"\n}', "/metrics"),
        ("prometheus_config { enable: false }", None),
        ("", None),
    ],
)
def test_monitoring_config(tmp_path: Path, text: str, path: str | None) -> None:
    file = tmp_path / "monitoring"
    file.write_text(text)
    assert config.read_monitoring_config(str(file)) == path


def test_a_bad_monitoring_config(tmp_path: Path) -> None:
    file = tmp_path / "monitoring"
    for text in (
        "prometheus_config { enabled: true }",
        "prometheus_config {",
        "x",
        "prometheus_config { enable }",
    ):
        file.write_text(text)
        with pytest.raises(ServingError):
            config.read_monitoring_config(str(file))
    with pytest.raises(ServingError):
        config.read_monitoring_config(str(tmp_path / "none"))
