"""k8s/debug: what it asks the cluster for, and what it runs there, tried on a real relay without any privilege."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client.relay.health import LIVENESS
from tests.k8s.admission import admitted, by_cel, by_rego
from tests.k8s.rendered import K8S, REGISTRY, break_, one, render

DEBUG = K8S / "debug"
IMAGE = f"{REGISTRY}/debug@sha256:{'a' * 64}"
PY_SPY = shutil.which("py-spy", path=str(Path(sys.executable).parent))
FAKE_KUBECTL = """#!/bin/sh
echo "$@" >> "$CALLS"
case $1 in
  get) printf 0 ;;
  logs) echo "main;run 12" ;;
esac
"""


def profile(
    folder: Path, *arguments: str, image: str = IMAGE
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run profile.sh with a kubectl that notes what it is asked."""
    fake = folder / "kubectl"
    fake.write_text(FAKE_KUBECTL)
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(folder / "calls")}
    environment |= {"DEBUG_IMAGE": image} if image else {}
    command = [str(DEBUG / "profile.sh"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    calls = folder / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_it_attaches_to_the_program_under_the_restricted_profile(tmp_path: Path) -> None:
    done, calls = profile(tmp_path, "relay", "object-detection-client-abc", "5")
    assert (done.returncode, done.stdout) == (0, "main;run 12\n")
    debug, *_, logs = calls
    assert debug.startswith("debug -n object-detection object-detection-client-abc --profile=restricted ")
    assert "--target=relay --container=profile-" in debug
    assert f"--image={IMAGE} " in debug
    assert debug.endswith("-- /usr/local/bin/sample relay 5")
    assert logs.startswith("logs -n object-detection object-detection-client-abc -c profile-")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_it_names_the_pods_own_containers() -> None:
    script = (DEBUG / "profile.sh").read_text()
    for what, workload in {"relay": "object-detection-client", "server": "tf-serving-v1"}.items():
        spec = one(render("production"), "Deployment", workload).spec["template"]["spec"]
        assert f"{what}) container={spec['containers'][0]['name']} ;;" in script


@pytest.mark.parametrize(
    ("arguments", "image", "says"),
    [((), IMAGE, "usage"), (("gpu", "x"), IMAGE, "usage"), (("relay",), IMAGE, "a pod's name"),
     (("relay", "x"), "", "DEBUG_IMAGE")],
)  # fmt: skip
def test_a_wrong_call_is_one_line(tmp_path: Path, arguments: tuple[str, ...], image: str, says: str) -> None:
    done, calls = profile(tmp_path, *arguments, image=image)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not calls


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
@pytest.mark.parametrize("workload", ["tf-serving-v1", "object-detection-client"])
def test_the_namespace_s_policies_let_it_in(workload: str) -> None:
    """The container of container.yaml, in each pod; it mounts a volume that the pod has."""
    container = yaml.safe_load((DEBUG / "container.yaml").read_text()) | {"name": "profile", "image": IMAGE}
    rules, objects = render("rollout-50"), render("rollout-50")
    patch = [{"op": "add", "path": "/spec/template/spec/ephemeralContainers", "value": [container]}]
    break_(objects, {"target": f"Deployment {workload}", "patch": patch})
    pods = [
        body for body in admitted(objects) if (body["kind"], body["metadata"]["name"]) == ("Pod", workload)
    ]
    assert [m for body in pods for m in (*by_cel(rules, body), *by_rego(rules, body))] == []
    (mount,) = container["volumeMounts"]
    assert mount["name"] in {volume["name"] for volume in pods[0]["spec"]["volumes"]}
    # Pod Security's `restricted`, whose words the schema does not know.
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["runAsUser"] == pods[0]["spec"]["securityContext"]["runAsUser"]


@pytest.mark.skipif(PY_SPY is None, reason="py-spy is not installed")
def test_it_samples_a_relay_without_a_capability(tmp_path: Path) -> None:
    """As in the pod: the program's own user, no capability, no new privileges (dropped where we are root)."""
    dropped = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--reuid=65532", "--regid=65532",
               "--clear-groups"]  # fmt: skip
    unprivileged = dropped if os.getuid() == 0 and shutil.which("setpriv") else []
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    config = f"RelayConfig(listen='127.0.0.1:{port}', http_port=None)"
    run = f"from client.relay import RelayConfig, run; run({config})"
    relay = subprocess.Popen(
        [*unprivileged, sys.executable, "-c", run], stderr=subprocess.DEVNULL, cwd=K8S.parent
    )
    try:
        _wait_for(port)
        assert PY_SPY is not None
        environment = os.environ | {"PATH": f"{Path(PY_SPY).parent}:{os.environ['PATH']}"}
        said, problems = tmp_path / "stacks", tmp_path / "problems"
        with said.open("w") as stdout, problems.open("w") as stderr:
            sampling = subprocess.Popen(
                [*unprivileged, "sh", str(DEBUG / "sample.sh"), "relay", "2", str(relay.pid)],
                stdout=stdout, stderr=stderr, env=environment, cwd="/",
            )  # fmt: skip
            _keep_busy(port, sampling)
    finally:
        relay.terminate()
        relay.wait(15)
    if "Permission" in problems.read_text():
        pytest.skip("this machine forbids ptrace of one's own processes (kernel.yama.ptrace_scope)")
    assert sampling.returncode == 0, problems.read_text()
    stacks = said.read_text().splitlines()
    assert stacks
    assert all(line.rpartition(" ")[2].isdecimal() for line in stacks)
    assert any("run_forever" in line for line in stacks), stacks


def _keep_busy(port: int, sampling: subprocess.Popen[bytes]) -> None:
    """Ask for the relay's health until the sampling ends: of an idle relay there are no stacks."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while sampling.poll() is None:
            check(health_pb2.HealthCheckRequest(service=LIVENESS), timeout=30)


def _wait_for(port: int) -> None:
    """Until the relay listens: it then runs its event loop."""
    deadline_s = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline_s, "the relay did not start"
            time.sleep(0.1)
