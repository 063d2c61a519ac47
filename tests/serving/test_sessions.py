from __future__ import annotations

import functools
import gc
import importlib.util
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving import build, flags, sessions
from serving.errors import Code, ServingError
from serving.lanes import CPUS
from serving.sessions import MAX_FETCH_SETS, SessionOptions


def test_load_and_run_in_process(model_dir: Path) -> None:
    model = sessions.load(str(model_dir / "affine" / "1"))
    results = model.run("serving_default", {"x": np.array([2.0], np.float32)})
    assert results["y"].tolist() == [3.0]
    assert "serving_default" in model.signatures


def test_a_model_that_is_dropped_leaves_no_work_for_the_garbage_collector(model_dir: Path) -> None:
    model = sessions.load(str(model_dir / "affine" / "1"))
    assert model.run("serving_default", {"x": np.array([1.0], np.float32)})["y"] == 2.5
    graph = weakref.ref(model._graph.graph)
    gc.disable()
    try:
        assert graph() is not None
        del model
        assert graph() is None
    finally:
        gc.enable()


@pytest.mark.skipif(CPUS < 2, reason="one core has one lane")
def test_calls_together_run_narrow_and_right(model_dir: Path) -> None:
    model = sessions.load(str(model_dir / "strings" / "1"))
    model.run("slow", {"seconds": np.array(0.0)})
    assert model.runs == {"wide": 1, "narrow": 0}
    threads = [
        threading.Thread(target=model.run, args=("slow", {"seconds": np.array(0.2)})) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(model.runs.values()) == 5
    assert model.runs["narrow"] >= 2


def test_the_operators_threads_and_state_mean_one_session(model_dir: Path) -> None:
    options = SessionOptions(2, 2, by_load=False)
    assert set(sessions.load(str(model_dir / "affine" / "1"), options=options).runs) == {"wide"}
    assert set(sessions.load(str(model_dir / "counter" / "1")).runs) == {"wide"}


def test_string_scalars_keep_zeros_at_the_end(model_dir: Path) -> None:
    model = sessions.load(str(model_dir / "strings" / "1"))
    scalar: Any = np.empty((), object)
    scalar[()] = b"a\0\0"
    assert model.run("serving_default", {"s": scalar})["s"][()] == b"a\0\0"


def test_outputs_are_those_asked_for_and_graphs_are_bounded(model_dir: Path) -> None:
    model = sessions.load(str(model_dir / "tf1" / "00000123"))
    feed = {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.float32)}
    assert list(model.run("add", feed, ["scalar", "rows"])) == ["scalar", "rows"]
    model._fetch_sets.update(("other", frozenset({str(i)})) for i in range(MAX_FETCH_SETS))
    assert list(model.run("add", feed, ["sum"])) == ["sum"]
    assert len(model._fetch_sets) == MAX_FETCH_SETS + 1


def test_an_expired_call_is_not_run(model_dir: Path) -> None:
    model = sessions.load(str(model_dir / "affine" / "1"))
    with pytest.raises(ServingError) as caught:
        model.run("serving_default", {"x": np.array([2.0], np.float32)}, timeout_s=0)
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    assert sum(model.runs.values()) == 0


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (
            None,
            Code.NOT_FOUND,
            "Specified file path does not appear to contain a SavedModel bundle",
        ),
        (b"\xff\xff", Code.OUT_OF_RANGE, "Read less bytes than requested"),
        (b"", Code.NOT_FOUND, "Could not find meta graph def matching supplied tags: { serve }."),
    ],
)
def test_folders_that_are_no_model(tmp_path: Path, content: bytes | None, code: Code, text: str) -> None:
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ServingError) as caught:
        sessions.load(str(tmp_path))
    assert caught.value.code == code
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("cut", "code", "text"),
    [
        (slice(0, -1), Code.OUT_OF_RANGE, "Read less bytes than requested"),
        (slice(1, None), Code.DATA_LOSS, "Can't parse {path} as binary proto"),
    ],
)
def test_a_saved_model_that_is_cut(
    model_dir: Path, tmp_path: Path, cut: slice, code: Code, text: str
) -> None:
    path = tmp_path / "saved_model.pb"
    path.write_bytes((model_dir / "affine" / "1" / "saved_model.pb").read_bytes()[cut])
    with pytest.raises(ServingError) as caught:
        sessions.load(str(tmp_path))
    assert (caught.value.code, caught.value.message) == (code, text.format(path=path))


def test_a_saved_model_in_bad_text(tmp_path: Path) -> None:
    path = tmp_path / "saved_model.pbtxt"
    path.write_text("nonsense")
    with pytest.raises(ServingError) as caught:
        sessions.load(str(tmp_path))
    assert str(caught.value) == f"DATA_LOSS: Can't parse {path} as text proto"


def test_an_error_with_bytes_that_are_no_text(model_dir: Path) -> None:
    model = sessions.load(str(model_dir / "strings" / "1"))
    with pytest.raises(ServingError) as caught:
        model.run("number", {"s": np.array([b"1", b"\xff"], object)})
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.startswith("StringToNumberOp could not correctly convert string: \ufffd")


def test_a_tag_that_the_model_lacks(model_dir: Path) -> None:
    with pytest.raises(ServingError) as caught:
        sessions.load(str(model_dir / "affine" / "1"), ["serve", "tpu"])
    assert "supplied tags: { serve tpu }" in caught.value.message


def test_truncated_variables_are_an_error(model_dir: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "1"
    shutil.copytree(model_dir / "affine" / "1", folder)
    next(folder.glob("variables/variables.data*")).write_bytes(b"")
    with pytest.raises(ServingError):
        sessions.load(str(folder))


def test_a_session_config(model_dir: Path) -> None:
    base = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=2, device_count={"CPU": 1})
    options = SessionOptions(inter_op=3, config=base.SerializeToString(), by_load=False)
    model = sessions.load(str(model_dir / "affine" / "1"), options=options)
    (session,) = model._sessions.values()
    config = session._config
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (2, 3)
    assert config.device_count == {"CPU": 1}


def test_a_session_config_file_turns_the_choice_by_load_off(tmp_path: Path) -> None:
    path = tmp_path / "session"
    path.write_text("inter_op_parallelism_threads: 5")
    found = build.session_options(flags.parse([f"--tensorflow_session_config_file={path}"]))
    assert tf.compat.v1.ConfigProto.FromString(found.config).inter_op_parallelism_threads == 5
    assert not found.by_load
    assert build.session_options(flags.parse([])).by_load


def test_session_flags() -> None:
    def found(*arguments: str) -> tuple[int, int, bool]:
        options = build.session_options(flags.parse(arguments))
        return options.intra_op, options.inter_op, options.by_load

    assert found("--tensorflow_session_parallelism=3") == (3, 3, False)
    assert found("--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=1") == (1, 0, False)
    options = build.session_options(
        flags.parse(["--per_process_gpu_memory_fraction=0.5", "--mixed_precision=bfloat16"])
    )
    config = tf.compat.v1.ConfigProto.FromString(options.config)
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.5
    assert config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == 1  # ON
    assert options.by_load


def test_ops_of_an_installed_library_are_found(tmp_path: Path) -> None:
    """Each in a process of its own: ops cannot be unregistered."""
    if importlib.util.find_spec("tensorflow_text") is None:
        pytest.skip("tensorflow_text is not installed")
    make = (
        "import sys, tensorflow as tf, tensorflow_text as text\n"
        "class Words(tf.Module):\n"
        "    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='s')])\n"
        "    def count(self, s): return {'n': text.WhitespaceTokenizer().tokenize(s).row_lengths()}\n"
        "words = Words()\n"
        "tf.saved_model.save(words, sys.argv[1], signatures=words.count)"
    )
    serve = (
        "import sys, numpy as np\n"
        "from serving import lazy_tensorflow\n"
        "lazy_tensorflow.install()\n"
        "from serving import sessions\n"
        "inputs = {'s': np.array([b'a b c'], object)}\n"
        "print(sessions.load(sys.argv[1]).run('serving_default', inputs)['n'].tolist())"
    )
    run = functools.partial(subprocess.run, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    run([sys.executable, "-c", make, str(tmp_path)])
    # The variable is set where TF Serving's own tests make their models.
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    assert run([sys.executable, "-c", serve, str(tmp_path)], env=environment).stdout == "[3]\n"


def test_a_session_bundle_is_refused_in_tf_servings_words(tmp_path: Path) -> None:
    (tmp_path / "export.meta").write_bytes(b"")
    with pytest.raises(ServingError) as caught:
        sessions.load(str(tmp_path))
    assert str(caught.value) == "UNIMPLEMENTED: Session Bundle is deprecated and removed."


@pytest.mark.parametrize("eager", [False, True])
def test_a_model_that_calls_python_is_refused(tmp_path: Path, eager: bool) -> None:
    wrap = tf.py_function if eager else tf.numpy_function

    class Calls(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": wrap(lambda value: value, [x], tf.float32)}

    module = Calls()
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    with pytest.raises(ServingError) as caught:
        sessions.load(str(tmp_path))
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.endswith("a served model cannot call Python")
