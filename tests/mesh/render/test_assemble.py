"""The whole: policies, filters, roles, what Envoy itself says, what only a cluster has."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest
import typer

from mesh.certificates import Authority
from mesh.kustomize import load
from mesh.render import ROLES, assemble, run, static_bootstrap
from mesh.render.topology import read_topology
from mesh.resources import MeshError
from mesh.run.envoy import envoy_binary
from mesh.run.files import ConfigFolder, secrets_for
from mesh.stack import ENDPOINTS, component_folder, istio_folder
from mesh.tokens import ISSUER, TokenIssuer
from sightline.commands.mesh import render as render_command
from tests.mesh.render.support import manager, rendered, resource

ISTIO = istio_folder()
COMPONENTS = sorted(file.parent for file in (ISTIO / "components").rglob("kustomization.yaml"))
KEYS = '{"keys": []}'


def render_files(*components: Path, role: str = "", jwks: str = KEYS) -> tuple[int, str, str]:
    output, notes = io.StringIO(), io.StringIO()
    code = run(
        [ISTIO / "base"],
        ENDPOINTS,
        components=components,
        mesh_config=ISTIO / "install" / "istiod-values.yaml",
        role=role,
        as_json=True,
        jwks=jwks,
        issuer=ISSUER,
        output=output,
        notes=notes,
    )
    return code, output.getvalue(), notes.getvalue()


@pytest.mark.parametrize("component", [None, *COMPONENTS], ids=lambda c: c and str(c.relative_to(ISTIO)))
def test_envoy_accepts_base_with_every_component(tmp_path: Path, component: Path | None) -> None:
    code, text, notes = render_files(*([component] if component else []), jwks=TokenIssuer(tmp_path).jwks)
    assert code == 0, notes
    placed = json.loads(text.replace("@CONFIG@", str(tmp_path)).replace("@LOGS@", str(tmp_path)))
    folder, authority = ConfigFolder(tmp_path), Authority.create("test")
    for secret in secrets_for(set(_secret_names(placed)), authority, authority, []).values():
        folder.write_secret(secret)
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(placed))
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(file), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def _secret_names(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["name"]] if "sds_config" in node else []
        return own + [name for value in node.values() for name in _secret_names(value)]
    return [name for value in node for name in _secret_names(value)] if isinstance(node, list) else []


@pytest.mark.parametrize(("role", "listeners"), [("ingress", 1), ("outbound", 1), ("inbound", 3), ("", 5)])
def test_a_role_by_itself(role: str, listeners: int) -> None:
    _, text, _ = render_files(role=role)
    static = json.loads(text)["static_resources"]
    assert len(static["listeners"]) == listeners
    names = {cluster["name"].split("|")[0] for cluster in static["clusters"]}
    assert names == (
        {"outbound", "inbound"} if not role else {"inbound"} if role == "inbound" else {"outbound"}
    )


def test_notes_name_what_only_a_cluster_has() -> None:
    _, _, notes = render_files(component_folder("egress/model-bucket", ISTIO))
    for part in ("jwksUri", "spec.metrics", "spec.tracing", "ServiceEntry object-detection/model-bucket"):
        assert part in notes
    assert all(line.startswith("only in a cluster: ") and ".yaml:" in line for line in notes.splitlines())


def test_the_command_prints_what_mesh_run_would_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `sightline mesh render` without arguments: with the key that this machine's tokens are signed with."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(typer.Exit) as end:
        render_command()
    assert end.value.exit_code == 0
    key = json.loads(TokenIssuer().jwks)["keys"][0]["x"]
    assert key in capsys.readouterr().out


def test_a_wrong_role_or_component_is_one_line() -> None:
    assert render_files(role="egress")[0] == 1
    assert render_files(role="egress")[2] == "--role egress: expected one of ingress, outbound, inbound\n"
    with pytest.raises(MeshError, match=r"no component faults/none; there are .*faults/abort"):
        component_folder("faults/none", ISTIO)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            "selector: {matchLabels: [a]}\naccessLogging: []",
            "labels that Telemetry .* selects by must be a mapping",
        ),
        ("accessLogging: 3", "accessLogging: expected a list, got 3"),
        ("accessLogging: {}", "accessLogging: expected a list, got a mapping"),
        ("accessLogging: [~]", r"accessLogging\[0\]: expected a mapping, got nothing"),
    ],
)
def test_a_wrong_type_is_said_in_yamls_words(spec: str, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        rendered(resource("Telemetry", spec))


def test_a_priority_that_is_no_number() -> None:
    filters = [
        resource("EnvoyFilter", f"priority: {p}\nconfigPatches: []", name=n)
        for p, n in (("x", "a"), (1, "b"))
    ]
    with pytest.raises(MeshError, match="priority: expected a whole number"):
        rendered(*filters)


@pytest.mark.parametrize(
    ("target", "patch", "says"),
    [
        ("HTTP_FILTER", "{operation: INSERT_FIRST}", "patch.value: expected a mapping to INSERT_FIRST"),
        (
            "HTTP_FILTER",
            "{operation: INSERT_FIRST, value: {}}",
            "expected a filter with a name to INSERT_FIRST",
        ),
        ("HTTP_FILTER", "{operation: MERGE, value: x}", "patch.value: expected a mapping to MERGE"),
        ("NETWORK_FILTER", "{operation: MERGE, value: {typed_config: x}}", "typed_config must be a mapping"),
    ],
)
def test_a_patch_that_is_none(target: str, patch: str, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        rendered(resource("EnvoyFilter", f"configPatches: [{{applyTo: {target}, patch: {patch}}}]"))


def test_every_problem_is_listed_not_only_the_first() -> None:
    spec = "hosts: [tf-serving]\nhttp:\n- corsPolicy: {}\n  delegate: {}\n  route: [{destination: {host: tf-serving}}]"
    with pytest.raises(MeshError) as error:
        rendered(resource("VirtualService", spec))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: a}\n",
            "this kind is not transl",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: a}\n",
            "Gateway API is not tr",
        ),
    ],
)
def test_an_unknown_kind_of_istio_is_an_error(text: str, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        rendered(text)


def test_other_kinds_and_resources_for_nobody_are_noted() -> None:
    other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"
    nobody = resource("EnvoyFilter", "workloadSelector: {labels: {app: nobody}}\nconfigPatches: [{x: y}]")
    report = rendered(other, nobody).report
    assert [note.why for note in report.cluster_only] == [
        "not part of the mesh's configuration",
        "selects nothing that runs here; its fields were not translated",
    ]


def test_deny_comes_before_allow_and_deny_all_allows_nothing() -> None:
    result = rendered(
        resource("AuthorizationPolicy", "{}", "none"),
        resource(
            "AuthorizationPolicy", "action: DENY\nrules: [{to: [{operation: {ports: ['8500']}}]}]", "deny"
        ),
    )
    filters = manager(result, "virtualInbound_tf-serving-v1_8500")["http_filters"]
    rules = [one["typed_config"]["rules"] for one in filters if one["name"] == "envoy.filters.http.rbac"]
    assert [one["action"] for one in rules] == ["DENY", "ALLOW"]
    assert rules[1]["policies"] == {}
    assert list(rules[0]["policies"]) == ["ns[object-detection]-policy[deny]-rule[0]"]


def test_peer_authentication_of_a_workload_goes_over_the_namespaces() -> None:
    result = rendered(
        resource("PeerAuthentication", "mtls: {mode: STRICT}", "all"),
        resource(
            "PeerAuthentication", "selector: {matchLabels: {version: v2}}\nmtls: {mode: PERMISSIVE}", "two"
        ),
        resource("PeerAuthentication", "mtls: {mode: DISABLE}", "mesh", "istio-system"),
    )
    chains = {one["name"]: one["filter_chains"] for one in result.listeners}
    assert [len(chains[f"virtualInbound_tf-serving-{v}_8500"]) for v in ("v1", "v2")] == [1, 2]
    assert "transport_socket" in chains["virtualInbound_tf-serving-v1_8500"][0]


@pytest.mark.parametrize(
    ("operation", "names"),
    [
        ("INSERT_FIRST", ["inserted", "grpc_stats", "router"]),
        ("INSERT_BEFORE", ["grpc_stats", "inserted", "router"]),
        ("INSERT_AFTER", ["grpc_stats", "router", "inserted"]),
    ],
)
def test_envoy_filter_order(operation: str, names: list[str]) -> None:
    spec = f"""
configPatches:
- applyTo: HTTP_FILTER
  match:
    context: SIDECAR_INBOUND
    listener:
      portNumber: 8500
      filterChain:
        filter:
          name: envoy.filters.network.http_connection_manager
          subFilter: {{name: envoy.filters.http.router}}
  patch: {{operation: {operation}, value: {{name: inserted}}}}
"""
    result = rendered(resource("EnvoyFilter", spec))
    filters = [
        one["name"].rpartition(".")[2]
        for one in manager(result, "virtualInbound_tf-serving-v1_8500")["http_filters"]
    ]
    assert filters == names
    assert "inserted" not in str(manager(result, "virtualInbound_relay_8600")["http_filters"])


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ("{applyTo: BOOTSTRAP, patch: {operation: MERGE}}", "BOOTSTRAP is not translated"),
        ("{applyTo: CLUSTER, patch: {operation: REMOVE}}", "only MERGE is translated"),
        ("{applyTo: HTTP_FILTER, patch: {operation: REPLACE}}", "REPLACE is not translated"),
        (
            "{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {name: x}}}",
            "no HTTP filter ''",
        ),
    ],
)
def test_envoy_filter_beyond_its_part_is_an_error(patch: str, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        rendered(resource("EnvoyFilter", f"configPatches: [{patch}]"))


def test_sidecar_prunes_what_the_relay_may_call() -> None:
    hidden = rendered(resource("Sidecar", "egress: [{hosts: ['istio-system/*']}]"))
    (config,) = [route for route in hidden.routes if route["name"] == "8500"]
    assert [host["name"] for host in config["virtual_hosts"]] == ["block_all"]
    shown = rendered(
        resource("Sidecar", "egress: [{hosts: ['./tf-serving.object-detection.svc.cluster.local']}]")
    )
    (config,) = [route for route in shown.routes if route["name"] == "8500"]
    assert len(config["virtual_hosts"]) == 2


def test_every_cluster_a_route_names_is_there() -> None:
    topology = read_topology(ENDPOINTS)
    policies = {"RequestAuthentication"}
    for component in [None, *COMPONENTS]:
        resources = [
            r for r in load([ISTIO / "base"], [component] if component else []) if r.kind not in policies
        ]
        result = assemble(resources, topology, roles=ROLES)
        text = json.dumps(static_bootstrap(result)["static_resources"]["listeners"])
        named = {part.split('"')[0] for part in text.split('"outbound|')[1:]}
        assert {f"outbound|{name}" for name in named} <= {cluster["name"] for cluster in result.clusters}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a mapping"),
        ("a: b", "endpoints.a is used here but not translated"),
        ("workloads: [{name: x}]", "no service x"),
        ('workloads: [{name: x, app: {8500: "10.0.0.1:1"}}]', "expected a loopback address"),
        ('workloads: [{name: x, app: {8500: "127.0.0.1"}}]', "expected port: loopback-ip:port"),
        ('workloads: [{name: x, app: {8500: "127.0.0.1:70000"}}]', "a port in 1..65535"),
    ],
)
def test_a_bad_endpoints_file(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text(text)
    with pytest.raises(MeshError, match=says):
        read_topology(file)
