"""The whole in a cluster of kind: Istio, k8s/overlays/local, a camera in a pod, 1,000 frames, a canary. `make e2e`.

Needs docker, kind, kubectl, helm, skopeo, and the images relay, server-v1, server-v2 and loadtest in build/images. It
makes a cluster `sightline-e2e` and deletes it at the end (not with KEEP=1).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mesh.certificates import Authority
from mesh.tokens import TokenIssuer

ROOT = Path(__file__).parents[2]
CLUSTER = "sightline-e2e"
NODE = "kindest/node:v1.35.8@sha256:07b2536e30b803ed61d1677a79df6115f798ce64c80f9e22f6ed45afd09323c0"
CHARTS, ISTIO = "https://istio-release.storage.googleapis.com/charts", "1.29.0"
IMAGES = ("relay", "server-v1", "server-v2", "loadtest")
HOST = "detect.example.com"  # istio/base/ingress
CAMERA = "synthetic-3"  # what `detect synthetic` calls it
FPS, SECONDS = 10, 105  # 1,050 frames, at a rate that both servers on a runner's four cores can take
TOOLS = ("docker", "kind", "kubectl", "helm", "skopeo")


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and return what it printed; it ends the script if it fails."""
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, input=stdin, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"e2e: {command[0]} failed with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def apply(*objects: dict[str, Any]) -> None:
    run(
        "kubectl",
        "apply",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )


def load_images(folder: Path) -> None:
    for image in IMAGES:
        archive = folder / f"{image}.tar"
        layout = f"oci:build/images/{image}"
        run("skopeo", "copy", "-q", layout, f"docker-archive:{archive}:docker.io/sightline/{image}:dev")
        run("kind", "load", "image-archive", "--name", CLUSTER, str(archive))
        archive.unlink()


def install_istio() -> None:
    for chart, release, namespace, options in (
        ("base", "istio-base", "istio-system", ()),
        ("cni", "istio-cni", "istio-system", ()),
        ("istiod", "istiod", "istio-system", ("-f", "istio/install/istiod-values.yaml")),
        ("gateway", "istio-ingress", "istio-ingress",
         ("-f", "istio/install/ingress-values.yaml", "--set", "service.type=ClusterIP,autoscaling.minReplicas=1")),
    ):  # fmt: skip
        run(
            "helm", "upgrade", "--install", release, chart, "--repo", CHARTS, "--version", ISTIO,
            "--namespace", namespace, "--create-namespace", "--wait", "--timeout", "5m", *options,
        )  # fmt: skip


def secrets(ca: Authority, issuer: TokenIssuer) -> list[dict[str, Any]]:
    """The gateway's certificate, and what a camera has: the authority and a token."""
    pair = ca.issue(names=[HOST])
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cameras"}},
        _secret(
            "detect-tls",
            "istio-ingress",
            {"tls.crt": pair.certificate, "tls.key": pair.key},
            "kubernetes.io/tls",
        ),
        _secret("camera", "cameras", {"ca.pem": ca.certificate, "token.jwt": issuer.token(CAMERA)}, "Opaque"),
    ]


def _secret(name: str, namespace: str, data: dict[str, str], kind: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": kind,
        "stringData": data,
    }


def deploy(issuer: TokenIssuer) -> None:
    run("kubectl", "apply", "-k", "k8s/overlays/local")
    # The key that signed the camera's token, in place of an issuer's address.
    rule = "/spec/jwtRules/0"
    patch = [
        {"op": "remove", "path": f"{rule}/jwksUri"},
        {"op": "add", "path": f"{rule}/jwks", "value": issuer.jwks},
    ]
    _patch("requestauthentication/cameras", "istio-ingress", patch)
    for name in ("tf-serving-v1", "tf-serving-v2", "object-detection-client"):
        run("kubectl", "-n", "object-detection", "rollout", "status", f"deployment/{name}", "--timeout=5m")


def set_canary(v2_percent: int) -> None:
    """v2's share of the frames, as a rollout sets it."""
    route = "/spec/http/1/route"
    weights = {0: 100 - v2_percent, 1: v2_percent}
    patch = [{"op": "replace", "path": f"{route}/{i}/weight", "value": w} for i, w in weights.items()]
    _patch("virtualservice/tf-serving", "object-detection", patch)


def _patch(what: str, namespace: str, patch: list[dict[str, Any]]) -> None:
    run("kubectl", "-n", namespace, "patch", what, "--type=json", f"--patch={json.dumps(patch)}")


def camera_job(name: str, gateway_ip: str) -> dict[str, Any]:
    """A camera outside of the mesh that streams for SECONDS and ends."""
    container = {
        "name": "camera",
        "image": "sightline/loadtest:dev",
        "args": [
            "detect", "synthetic", f"--relay={HOST}:443", "--ca=/etc/camera/ca.pem", "--token=/etc/camera/token.jwt",
            f"--fps={FPS}", f"--duration={SECONDS}", "--max-age=5", "--wait=60",
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "camera", "mountPath": "/etc/camera", "readOnly": True}],
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "hostAliases": [{"ip": gateway_ip, "hostnames": [HOST]}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "camera", "secret": {"secretName": "camera"}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "cameras"},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def stream(name: str) -> str:
    """Run a camera; what it printed."""
    ip = run(
        "kubectl", "-n", "istio-ingress", "get", "service/istio-ingress", "-o=jsonpath={.spec.clusterIP}"
    )
    apply(camera_job(name, ip))
    run(
        "kubectl",
        "-n",
        "cameras",
        "wait",
        f"job/{name}",
        "--for=condition=Complete",
        f"--timeout={SECONDS + 180}s",
    )
    log = run("kubectl", "-n", "cameras", "logs", f"job/{name}")
    print(log)
    return log


def check(log: str, versions: dict[int, tuple[int, int]]) -> None:
    """The summary adds up, 1,000 frames came, 95 % of them answered, and each version's share lies in its range (%).

    Raises ValueError with what does not.
    """
    found = re.search(
        r"^frames\s+(\d+) captured = (\d+) delivered \+ (\d+) errored \+ (\d+) dropped", log, re.MULTILINE
    )
    if found is None:
        raise ValueError("the camera printed no summary")
    captured, delivered, errored, dropped = map(int, found.groups())
    if captured != delivered + errored + dropped:
        raise ValueError(f"{found[0]}: does not add up")
    if captured < 1000 or delivered < 0.95 * captured:
        raise ValueError(f"{found[0]}: expected 1000 frames or more, 95 % of them delivered")
    shares = {int(v): int(share) for v, share in re.findall(r"v(\d+) (\d+) %", log[found.end() :])}
    for version, (low, high) in versions.items():
        if not low <= shares.get(version, 0) <= high:
            raise ValueError(f"v{version} answered {shares.get(version, 0)} %; expected {low} to {high} %")


def main() -> None:
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        sys.exit(f"e2e: not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ca, issuer = Authority.create("e2e"), TokenIssuer(folder)
        run("kind", "create", "cluster", "--name", CLUSTER, "--image", NODE, "--wait", "3m")
        try:
            load_images(folder)
            install_istio()
            apply(*secrets(ca, issuer))
            deploy(issuer)
            check(
                stream("split"), {1: (72, 88), 2: (12, 28)}
            )  # 80 and 20 %, six standard deviations of 1,000
            set_canary(50)
            check(stream("canary"), {1: (40, 60), 2: (40, 60)})
            set_canary(0)
            check(stream("rolled-back"), {1: (99, 100), 2: (0, 1)})
        finally:
            if "KEEP" not in os.environ:
                run("kind", "delete", "cluster", "--name", CLUSTER)
    print("e2e: 3 x 1,000 frames, a canary forth and back: ok")


if __name__ == "__main__":
    try:
        main()
    except ValueError as problem:
        sys.exit(f"e2e: {problem}")
