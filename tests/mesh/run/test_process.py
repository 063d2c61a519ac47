"""Envoy as a process: no orphan, clear words when a port is taken or the configuration is bad."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mesh.render.topology import Address
from mesh.resources import MeshError
from mesh.run import Mesh, MeshConfig, run, status_line
from mesh.run.folders import PREFIX, sweep
from mesh.run.stats import MeshStats
from mesh.stack import istio_folder, stack_topology

APP = Address("127.0.0.1", 9)  # nobody has to listen there

CHILD = """
import sys
from pathlib import Path
from mesh.run import MeshConfig, run
from mesh.render.topology import Address
from mesh.stack import istio_folder, stack_topology
app = Address("127.0.0.1", 9)
config = MeshConfig((istio_folder() / "base",), stack_topology({"v1": [app], "v2": [app]}, app),
                    state=Path(sys.argv[1]), log=lambda line: print(line, flush=True))
sys.exit(run(config))
"""


def children(pid: int) -> list[int]:
    text = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return [int(line) for line in text.split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_envoy_ends_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=istio_folder().parent)
    assert parent.stdout is not None
    assert parent.stdout.readline().startswith("gateway port 443 at 127.0.0.1:")
    (envoy,) = children(parent.pid)
    parent.send_signal(how)
    assert parent.wait(10) == (-how if how is signal.SIGKILL else 0)
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while alive(envoy):
        assert time.monotonic() < deadline, "an orphan"
        time.sleep(0.02)


def test_folders_of_killed_runs_are_removed() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead, own = (Path(tempfile.mkdtemp(prefix=f"{PREFIX}{pid}-")) for pid in (child.pid, os.getpid()))
    sweep()
    assert not dead.exists()
    assert own.exists()
    own.rmdir()


def config(tmp_path: Path, **more: object) -> MeshConfig:
    where = stack_topology({"v1": [APP], "v2": [APP]}, APP)
    return MeshConfig((istio_folder() / "base",), **{"topology": where, "state": tmp_path, **more})  # type: ignore[arg-type]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        where = stack_topology({"v1": [APP], "v2": [APP]}, APP, gateway=address)
        with pytest.raises(
            MeshError,
            match=rf"{address} \(gateway port 443\) can't be listened on: Address already in use; give",
        ):
            Mesh(config(tmp_path, topology=where)).__enter__()


def test_logs_in_the_place_of_a_file_are_left_to_the_command_to_tell(tmp_path: Path) -> None:
    """Which says them as all others: without the number of the error."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileExistsError):
        run(config(tmp_path, logs=file))


def test_nothing_is_left_when_the_start_fails(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "kustomization.yaml").write_text(
        "kind: Component\npatches:\n- target: {kind: EnvoyFilter, name: message-size}\n"
        "  patch: '[{op: replace, path: /spec/configPatches/0/patch/value/name, value: \"\"}]'\n"
        "- target: {kind: EnvoyFilter, name: message-size}\n"
        "  patch: '[{op: replace, path: /spec/configPatches/0/patch/value/typed_config, value: {x: 1}}]'\n"
    )
    mesh = Mesh(config(tmp_path, components=(bad,)))
    with pytest.raises(MeshError, match="Envoy refuses the configuration"), mesh:
        pass
    assert mesh.envoy is not None
    assert not alive(mesh.envoy.process.pid)
    with pytest.raises(MeshError, match="not running"):
        _ = mesh.folder


def test_what_envoy_reads_is_the_owners_only(tmp_path: Path) -> None:
    with Mesh(config(tmp_path, watch=False)) as mesh:
        modes = {path: path.stat().st_mode & 0o077 for path in [mesh.folder, *mesh.folder.rglob("*")]}
        assert [path.name for path, mode in modes.items() if mode and path.is_dir()] == []
        secret = [path for path in modes if path.parent.name == "secrets" or path.name == "admin.sock"]
        assert len(secret) > 3
        assert all(modes[path] == 0 for path in secret)
        folder = mesh.folder
    assert not folder.exists()


def test_a_dead_envoy_is_reported(tmp_path: Path) -> None:
    with Mesh(config(tmp_path, watch=False)) as mesh:
        assert mesh.envoy is not None
        os.kill(mesh.envoy.process.pid, signal.SIGKILL)
        mesh.envoy.process.wait()
        with pytest.raises(MeshError, match="Envoy ended with code -9"):
            mesh.envoy.check_alive()
        with pytest.raises(MeshError, match="Envoy ended with code -9"):
            mesh.stats()


def test_status_line() -> None:
    assert status_line(MeshStats()) == "no requests yet"
    host = "tf-serving.object-detection.svc.cluster.local"
    clusters = {
        f"outbound|8500|v1|{host}": {"completed": 80, "requests": 81, "retries": 1},
        f"outbound|8500|v2|{host}": {"completed": 20, "requests": 20, "retries": 0},
        f"outbound|8500||{host}": {"completed": 0},
    }
    line = status_line(MeshStats(clusters, {"aborts": 3, "delays": 0}, rate_limited=2))
    assert line == "v1 80 % (80) · v2 20 % (20) · retries 1 · aborts 3 · rate limited 2"
