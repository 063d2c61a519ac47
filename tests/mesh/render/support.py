"""Small YAML to Envoy's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.render import Rendered, assemble
from mesh.render.topology import Address
from mesh.resources import load_text
from mesh.stack import stack_topology

HOST = "tf-serving.object-detection.svc.cluster.local"
FILE = Path("rules.yaml")
APP = Address("127.0.0.1", 9)
ISTIO_API = {
    "VirtualService": "networking.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
    "Gateway": "networking.istio.io/v1",
    "Sidecar": "networking.istio.io/v1",
    "EnvoyFilter": "networking.istio.io/v1alpha3",
    "PeerAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "Telemetry": "telemetry.istio.io/v1",
}
SUBSETS = (
    "host: tf-serving\nsubsets:\n- {name: v1, labels: {version: v1}}\n- {name: v2, labels: {version: v2}}\n"
)


def resource(kind: str, spec: str, name: str = "a", namespace: str = "object-detection") -> str:
    """One object with a spec, as YAML; the spec begins on line 6."""
    body = "".join(f"  {line}\n" for line in spec.strip("\n").splitlines())
    metadata = f"metadata:\n  {{name: {name}, namespace: {namespace}}}\n"
    return f"apiVersion: {ISTIO_API[kind]}\nkind: {kind}\n{metadata}spec:\n{body}"


def rendered(*objects: str) -> Rendered:
    """The stack's configuration from some objects."""
    text = "---\n".join(objects)
    where = stack_topology({"v1": [APP, APP], "v2": [APP]}, APP)
    return assemble(load_text(text, FILE), where)


def routes(*objects: str) -> list[dict[str, Any]]:
    """The routes for calls to tf-serving."""
    config = next(route for route in rendered(*objects).routes if route["name"] == "8500")
    found: list[dict[str, Any]] = config["virtual_hosts"][0]["routes"]
    return found


def route_of(http: str, *objects: str) -> dict[str, Any]:
    """The only route of a VirtualService with one `http` entry."""
    indented = "\n".join(f"  {line}" for line in http.strip("\n").splitlines())
    spec = f"hosts: [tf-serving]\nhttp:\n-{indented[1:]}"
    (found,) = routes(resource("VirtualService", spec), *(objects or [resource("DestinationRule", SUBSETS)]))
    return found


def cluster(name: str, *objects: str) -> dict[str, Any]:
    """A cluster by its subset."""
    wanted = f"outbound|8500|{name}|{HOST}"
    found: dict[str, Any] = next(one for one in rendered(*objects).clusters if one["name"] == wanted)
    return found


def manager(result: Rendered, listener: str) -> dict[str, Any]:
    """A listener's HttpConnectionManager."""
    one = next(one for one in result.listeners if one["name"] == listener)
    found: dict[str, Any] = one["filter_chains"][0]["filters"][0]["typed_config"]
    return found
