"""What `sightline load` refuses before it starts anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import typer

from client.errors import ClientError
from loadtest.launch import LaunchConfig, command
from sightline.cli import app


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonesuch"], "no profile 'nonesuch'"),
        (["steady", "--relay", "nonsense"], "--relay: expected host:port"),
        (["steady", "--relay", "127.0.0.1:1"], "nobody answers there"),
        (["steady", "--rest", "ftp://x"], "--rest: expected http"),
        (["steady", "--ca", "/nonesuch"], "--ca: no file /nonesuch"),
        (["steady", "--tokens", "/nonesuch"], "--tokens: no folder"),
        (["steady", "--stack", "cloud"], "--stack: expected plain or mesh"),
        (["chaos", "--out", "."], "expected an empty or a new folder"),
        (["compare", "nonesuch", "nonesuch"], "name the folder of a run"),
        (["capacity", "--relay", "127.0.0.1:1"], "nobody answers there"),
        (["capacity", "--stack", "plain", "--images", "nonesuch"], "nonesuch"),
        (["chaos", "--", "--worker"], "--worker: chaos starts a stack of its own"),
        (["chaos", "--", "--master"], "--master: chaos starts a stack of its own"),
        (["capacity", "--stack", "plain", "--", "--worker"], "--worker: capacity starts a stack of its own"),
        (["steady", "--tokens", "."], "goes over TLS only"),
        (["steady", "--ca", "x"], "--ca x: expected a PEM file with a certificate"),
        (["rest.yaml", "--rest", "http://127.0.0.1:1"], "--rest http://127.0.0.1:1: nobody answers there"),
        (["unknown.yaml"], "profile unknown: event 'on': no component nonesuch; there are .*faults/abort"),
        (["rest.yaml", "--stack", "plain", "--web", "--web-port", "PORT"], "choose another with --web-port"),
    ],
)
def test_errors_of_the_command_are_a_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "rest.yaml").write_text(
        "description: A.\nusers: {rest: {}}\nstages: [{users: 1, for_s: 1}]\n"
    )
    (tmp_path / "unknown.yaml").write_text(
        "description: A.\nusers: {camera: {}}\nstages: [{users: 1, for_s: 2}]\nstack: {mesh: true, server_ms: 5}\n"
        "events: [{name: 'on', component: nonesuch, at_s: 0}]\n"
    )
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [str(taken.getsockname()[1]) if word == "PORT" else word for word in arguments]
        with pytest.raises((ValueError, RuntimeError, OSError, ClientError), match=says) as caught:
            app(["load", *words], standalone_mode=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()  # told before anything was started


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--fps", "0"), ("--fps", "nan"), ("--fps", "inf"), ("--age", "-5"), ("--at", "0"), ("--at", "200"),
        ("--delivered", "101"), ("--most", "0"), ("--measure", "1"), ("--measure", "inf"),
    ],
)  # fmt: skip
def test_bounds_of_a_search_are_told(option: str, value: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        app(["load", "capacity", option, value], standalone_mode=False)
    assert caught.value.param is not None
    assert option in caught.value.param.opts


def test_two_loads_on_one_machine_have_a_master_each() -> None:
    """But who joins or leads a distributed load finds the other end at Locust's own port."""
    words = command(LaunchConfig(processes=2))
    port = words[words.index("--master-bind-port") + 1]
    assert words[words.index("--master-port") + 1] == port
    assert port != "5557"
    for role in ("--master", "--worker"):
        assert "--master-port" not in command(LaunchConfig(processes=2, locust=(role,)))
