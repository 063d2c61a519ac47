from __future__ import annotations

import socket
from pathlib import Path

import pytest

from serving import app, flags
from serving.errors import Code, ServingError


def test_defaults_are_tf_servings() -> None:
    options = flags.parse([])
    assert options.number("port") == 8500
    assert options.number("rest_api_port") == 0
    assert options.text("model_name") == "default"
    assert options.number("grpc_max_threads") == 4 * flags.CPUS
    assert options.on("enable_model_warmup")
    assert not options.given


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--enable_batching", True),
        ("--enable_batching=true", True),
        ("--enable_batching=True", True),
        ("--enable_batching=1", True),
        ("--enable_batching=false", False),
        ("--enable_batching=FALSE", False),
        ("--enable_batching=0", False),
    ],
)
def test_bools(argument: str, expected: bool) -> None:
    assert flags.parse([argument]).on("enable_batching") is expected


def test_the_last_one_wins() -> None:
    assert flags.parse(["--port=1", "--port=2"]).number("port") == 2


@pytest.mark.parametrize(
    "argument", ["--nonsense=1", "positional", "--port", "-port=1", "--versions", "--noversion"]
)
def test_unknown_arguments_are_kept_apart(argument: str) -> None:
    options = flags.parse([argument, "--port=7", "--help"])
    assert options.unknown == (argument, "--help")  # --help is one only where it comes first
    assert options.number("port") == 7


def test_nothing_after_two_dashes_is_a_flag() -> None:
    options = flags.parse(["--port=7", "--", "--port=8"])
    assert options.unknown == ("--", "--port=8")
    assert options.number("port") == 7


@pytest.mark.parametrize(
    "argument",
    [
        "--port=x",
        "--port=",
        "--port=1_0",
        "--port=2147483648",
        "--load_retry_interval_micros=9223372036854775808",
        "--enable_batching=yes",
        "--enable_batching=",
        "--model_name=\udcff",  # a byte that is no UTF-8
        "--help",
    ],
)
def test_what_does_not_parse_is_a_usage_error(argument: str) -> None:
    with pytest.raises(flags.UsageError):
        flags.parse([argument])


def test_numbers_of_64_bits() -> None:
    arguments = ["--load_retry_interval_micros=9223372036854775807", "--port= +7 "]
    options = flags.parse(arguments)
    assert (options.number("load_retry_interval_micros"), options.number("port")) == (2**63 - 1, 7)
    assert "--load_retry_interval_micros=60000000           \tint64" in flags.usage("x")


def test_usage_names_every_flag_and_what_has_no_effect() -> None:
    text = flags.usage("x")
    assert all(f"--{flag.name}=" in text for flag in flags.FLAGS)
    assert '--ssl_config_file=""' in text
    assert "(not supported here)" in text


def test_the_docs_name_what_does_not_work() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    missing = [flag.name for flag in flags.FLAGS if flag.effect != "works" and f"--{flag.name}" not in docs]
    assert missing == []


def check(*arguments: str) -> None:
    """What a start checks before it loads TensorFlow."""
    options = flags.parse(arguments)
    app.check(options)
    app.check_files(options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--port=0"],
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.",
        ),
        ([], "Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (
            ["--model_base_path=/x", "--batching_parameters_file=f"],
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        ),
        (
            ["--model_base_path=/x", "--use_alts_credentials"],
            "--use_alts_credentials is not supported by this server",
        ),
        (
            ["--model_base_path=/x", "--thread_pool_factory_config_file=f"],
            "--thread_pool_factory_config_file is not supported by this server",
        ),
        (
            [
                "--model_base_path=/x",
                *(f"--tensorflow_{name}_parallelism=2" for name in ("session", "intra_op", "inter_op")),
            ],
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all.",
        ),
        (["--model_base_path=/x", "--grpc_max_threads=0"], "--grpc_max_threads=0: expected at least 1"),
        (
            ["--model_base_path=/x", "--tensorflow_intra_op_parallelism=-1"],
            "--tensorflow_intra_op_parallelism=-1: expected at least 0",
        ),
        (
            ["--model_base_path=x"],
            "Expected model default to have an absolute path or URI; got base_path()=x",
        ),
        (
            ["--model_base_path=/x", "--grpc_socket_path=/no/such/folder/s"],
            "--grpc_socket_path=/no/such/folder/s: /no/such/folder is no folder to write in",
        ),
        (["--model_base_path=/x", "--grpc_socket_path=/" + "s" * 108], "path too long"),
        (["--model_base_path=/x", f"--grpc_socket_path={__file__}"], "expected a socket or nothing there"),
        (["--model_base_path=/x", "--port=70000"], "--port=70000 is not a port"),
        (["--model_base_path=/x", "--host=no.such.host.invalid"], "is not an address"),
    ],
)
def test_flags_that_cannot_work(arguments: list[str], message: str) -> None:
    with pytest.raises(ServingError, match=None) as caught:
        check(*arguments)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batching_parameters_file={bad}"], "Both server_options.model_base_path and"),
        (["--model_config_file={bad}", "--batching_parameters_file={bad}"], "Invalid protobuf file: '{bad}'"),
        (["--model_config_file={relative}", "--batching_parameters_file={bad}"], "without setting"),
        (["--model_config_file={relative}"], "absolute path or URI"),
    ],
)
def test_which_error_comes_first(tmp_path: Path, arguments: list[str], message: str) -> None:
    names = {name: tmp_path / name for name in ("bad", "relative")}
    names["bad"].write_text("no protobuf")
    names["relative"].write_text(
        'model_config_list { config { name: "m" base_path: "x" model_platform: "tensorflow" } }'
    )
    with pytest.raises(ServingError) as caught:
        check(*[argument.format(**names) for argument in arguments])
    assert message.format(**names) in caught.value.message


def test_a_socket_where_a_server_listens(tmp_path: Path) -> None:
    """gRPC would take the path away from that server, which would go on and be reached by nobody."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(ServingError, match="is not free") as caught:
            check("--model_base_path=/x", "--port=0", f"--grpc_socket_path={path}")
    assert caught.value.code == Code.UNAVAILABLE
    check("--model_base_path=/x", "--port=0", f"--grpc_socket_path={path}")  # left behind: nobody's


def test_a_platform_config_file_stands_for_the_flags_on_batching(tmp_path: Path) -> None:
    flag = f"--batching_parameters_file={tmp_path / 'none'}"
    app.check_files(flags.parse([flag, f"--platform_config_file={tmp_path / 'none'}"]))


def test_a_flag_without_effect_is_said(caplog: pytest.LogCaptureFixture) -> None:
    app.check(
        flags.parse(
            ["--model_base_path=/x", "--port=0", "--grpc_socket_path=s", "--flush_filesystem_caches=false"]
        )
    )
    assert "--flush_filesystem_caches has no effect here" in caplog.text
