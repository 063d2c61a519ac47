"""--platform_config_file in place of flags."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from serving import build, flags
from serving.errors import ServingError

TYPE = "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"


def write(path: Path, bundle: str, platform: str = "tensorflow") -> Path:
    path.write_text(
        f'platform_configs {{ key: "{platform}" value {{ source_adapter_config {{\n'
        f"  [{TYPE}] {{ legacy_config {{ {bundle} }} }}\n}} }} }}"
    )
    return path


def test_it_replaces_the_flags(tmp_path: Path) -> None:
    path = write(
        tmp_path / "platform",
        'saved_model_tags: "serve" saved_model_tags: "tpu" session_config { intra_op_parallelism_threads: 3 }'
        " enable_model_warmup: true model_warmup_options { num_request_iterations { value: 4 } }"
        " prefer_tflite_model: true num_tflite_pools: 5 batching_parameters { max_batch_size { value: 16 } }",
    )
    arguments = [f"--platform_config_file={path}", "--enable_model_warmup=false", "--isolate_batch_failures"]
    load, batching = build.load_options(flags.parse([*arguments, "--tensorflow_session_parallelism=7"]))
    assert (load.tags, load.warmup, load.warmup_iterations, load.lite_interpreters) == (
        ("serve", "tpu"),
        True,
        4,
        5,
    )
    assert tf.compat.v1.ConfigProto.FromString(load.session.config).intra_op_parallelism_threads == 3
    assert not load.session.by_load
    assert batching is not None
    assert (batching.max_batch_size, batching.isolate_failures) == (16, True)


def test_what_it_leaves_out_is_off(tmp_path: Path) -> None:
    path = write(tmp_path / "platform", "")
    load, batching = build.load_options(flags.parse([f"--platform_config_file={path}", "--enable_batching"]))
    assert (load.tags, load.warmup, load.lite_interpreters, load.session.by_load) == (
        ("serve",),
        False,
        0,
        True,
    )
    assert batching is None


@pytest.mark.parametrize(
    ("bundle", "platform", "text"),
    [
        ("", "other", "expected platform_configs for the platform tensorflow, got ['other']"),
        ("experimental_fixed_input_tensors {}", "tensorflow", "are not supported by this server"),
        ("no_such_field: 1", "tensorflow", "Invalid protobuf file"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, bundle: str, platform: str, text: str) -> None:
    path = write(tmp_path / "platform", bundle, platform)
    with pytest.raises(ServingError) as caught:
        build.load_options(flags.parse([f"--platform_config_file={path}"]))
    assert text in caught.value.message


def test_an_adapter_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "platform"
    path.write_text('platform_configs { key: "tensorflow" value {} }')
    with pytest.raises(ServingError, match="got none"):
        build.load_options(flags.parse([f"--platform_config_file={path}"]))
