"""What mesh check reads: hostile files, folders, kustomizations; and what it prints."""

from __future__ import annotations

import io
import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from mesh.check import UsageError, check, run
from mesh.check.findings import Finding
from mesh.kustomize import load

GOOD = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: od}
spec: {mtls: {mode: STRICT}}
"""
BAD = GOOD.replace("STRICT", "STRIKT")
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)


def _check(path: Path) -> tuple[Finding, ...]:
    return check([path]).findings


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00", "not UTF-8 text, at byte 0"),
        (b"a: [1, 2", "not YAML"),
        (b"a:\n\t- b", "not YAML"),
        (b"apiVersion: v1\nkind: Service\nkind: Pod\n", "kind stands here twice"),
        (b"? [a]\n: b\n", "a key must be a plain string"),
        (b"<<: [1]\n", "<< takes a mapping"),
        (b"a: " + b"[" * 400_000 + b"]" * 400_000, "nested too deep"),
        (b"a: " + b"{a: " * 300_000 + b"}" * 300_000, "nested too deep"),
        (b"- " * 200_000 + b"a", "nested too deep"),
        ("".join("  " * i + "a:\n" for i in range(1500)).encode(), "nested too deep"),
        (b"a: &x [*x]\n", "nested too deep"),
        (b"# " + b"x" * 5_000_001, "5000000"),
        (BOMB.encode(), "more than 200000"),
        (GOOD.encode() + b"---\nfoo: bar\n", "a document without apiVersion and kind"),
        (GOOD.encode() + b"---\n- 1\n", "a document without apiVersion and kind"),
        (
            b"a: !!python/name:os.system x\napiVersion: v1\nkind: x\n",
            "could not determine a constructor",
        ),
    ],
)
def test_a_hostile_file_is_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    started = time.monotonic()
    (found,) = _check(file)
    assert time.monotonic() - started < 5
    assert found.code.id == "SL-M001"
    assert says in found.what
    assert "\n" not in found.what


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_device_without_end_is_read_no_further_than_a_file(tmp_path: Path) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 200_000_000, _))
    try:
        (found,) = _check(Path("/dev/zero"))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (limit, _))
    assert found.what == "a YAML file has at most 5000000 bytes, this one has more"


@pytest.mark.parametrize("metadata", ["metadata: {nmae: a}\n", "metadata: a\n", ""])
def test_an_object_without_a_name(metadata: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n{metadata}spec: {{mtls: {{mode: STRICT}}}}\n"
    )
    (found,) = _check(tmp_path)
    assert (found.code.id, found.what) == ("SL-M003", "PeerAuthentication: metadata.name is missing")


def test_no_line_of_the_text_ends_in_blanks(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    out = io.StringIO()
    run([tmp_path], console=Console(file=out, width=60))
    assert "      why " in out.getvalue()
    assert not [line for line in out.getvalue().splitlines() if line != line.rstrip()]


def test_a_folder_that_may_not_be_read_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "bad.yaml").write_text(BAD)
    inside = Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:
        if self.name == "shut":  # whoever runs this may be root, who may read everything
            raise PermissionError(13, "Permission denied", str(self))
        return inside(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    bad, shut = _check(tmp_path)
    assert (bad.code.id, shut.code.id, shut.what) == ("SL-M003", "SL-M001", "Permission denied")


@pytest.mark.parametrize(
    "content", ["", "---\n---\n", "# nothing\n", "image:\n  tag: v1\n", "- 1\n- 2\n", "5\n"]
)
def test_a_file_without_objects_is_skipped(content: str, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(content)
    outcome = check([tmp_path])
    assert (outcome.findings, outcome.skipped) == ((), 1)


def test_positions_are_those_of_the_source(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(GOOD + "---\n" + BAD.replace("default", "other"))
    (found,) = _check(file)
    assert (found.code.id, found.at.path, found.at.line, found.at.column) == ("SL-M003", file, 9, 15)
    assert "STRICT" in found.what
    assert '"STRIKT"' in found.what


def test_merge_keys_and_lists_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: security.istio.io/v1\n  kind: PeerAuthentication\n  metadata: &m {name: a}\n"
        "  spec: {mtls: &tls {mode: STRIKT}}\n"
        "- apiVersion: security.istio.io/v1\n  kind: PeerAuthentication\n  metadata: {<<: *m, name: b}\n"
        "  spec: {mtls: {<<: *tls}}\n"
    )
    assert [f.code.id for f in _check(file)] == ["SL-M003"]  # one place, said once


def test_helm_templates_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("name: x\n")
    (tmp_path / "templates" / "x.yaml").write_text("{{ if .Values.x }}\n{{ end }}\n")
    assert check([tmp_path]).findings == ()


def _kustomization(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(text)


def test_a_component_is_checked_on_its_base_and_placed_in_its_own_file(tmp_path: Path) -> None:
    _kustomization(tmp_path / "base", "resources: [peer.yaml]\n")
    (tmp_path / "base" / "peer.yaml").write_text(GOOD)
    _kustomization(
        tmp_path / "components" / "lax",
        "kind: Component\npatches: [{target: {kind: PeerAuthentication}, path: patch.yaml}]\n",
    )
    patch = tmp_path / "components" / "lax" / "patch.yaml"
    patch.write_text("- op: replace\n  path: /spec/mtls/mode\n  value: PERMISSIVE\n")
    outcome = check([tmp_path])
    (found,) = outcome.findings
    assert (found.code.id, found.at.path, outcome.configurations) == ("SL-M506", patch, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resources: [missing.yaml]\n", "missing.yaml is not there"),
        ("resources: [peer.yaml]\npatches: [{path: patch.yaml}]\n", "patch.yaml is not there"),
        ("kind: Component\n", "give its base too"),
        ("resources: [\n", "not YAML"),
        ("resources: [.]\n", "deeper"),
    ],
)
def test_a_kustomization_that_can_not_be_built(text: str, says: str, tmp_path: Path) -> None:
    _kustomization(tmp_path, text)
    (tmp_path / "peer.yaml").write_text(GOOD)
    (found,) = _check(tmp_path)
    assert found.code.id == "SL-M006"
    assert says in found.what


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_what_kubectl_refuses_is_named_to_its_end(tmp_path: Path) -> None:
    _kustomization(tmp_path, "resorces: [peer.yaml]\n")
    (found,) = _check(tmp_path)
    assert found.what == 'kubectl kustomize: invalid Kustomization: json: unknown field "resorces"'


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_what_the_built_in_kustomize_lacks_goes_to_kubectl(tmp_path: Path) -> None:
    _kustomization(tmp_path, "namePrefix: my-\nresources: [peer.yaml]\n")
    (tmp_path / "peer.yaml").write_text("# a comment moves the lines\n\n" + BAD)
    (found,) = _check(tmp_path)
    assert (found.code.id, found.at.path.name, found.at.line) == ("SL-M003", "peer.yaml", 6)


def test_kubectl_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kustomization(tmp_path, "namePrefix: my-\nresources: [peer.yaml]\n")
    (tmp_path / "peer.yaml").write_text(GOOD)
    monkeypatch.setenv("PATH", "")
    (found,) = _check(tmp_path)
    assert found.code.id == "SL-M006"
    assert "needs kubectl" in found.what


def test_services_given_beside_are_looked_up(tmp_path: Path) -> None:
    mesh, cluster = tmp_path / "mesh.yaml", tmp_path / "cluster"
    mesh.write_text(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        "metadata: {name: x, namespace: od}\nspec: {host: tfserving}\n"
    )
    _kustomization(cluster, "resources: [service.yaml]\n")
    (cluster / "service.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: tf-serving, namespace: od}\n"
        "spec: {ports: [{name: grpc, port: 8500}]}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: od}\n"
    )
    assert _check(mesh) == ()
    (found,) = check([mesh, cluster]).findings
    assert found.code.id == "SL-M101"
    assert "did you mean tf-serving.od.svc.cluster.local?" in found.what


def _run(*paths: Path, as_json: bool = False) -> tuple[int, str]:
    out = io.StringIO()
    code = run(paths, json=as_json, console=Console(file=out, width=100))
    return code, out.getvalue()


def test_exit_codes_and_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, warn = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "warn.yaml"
    good.write_text(GOOD)
    bad.write_text(BAD)
    warn.write_text(GOOD.replace("STRICT", "PERMISSIVE"))
    assert _run(good) == (0, "\nno findings in 1 file, 1 configuration\n")
    assert _run(warn)[0] == 0
    code, text = _run(bad)
    assert code == 1
    assert "4:15 error SL-M003" in text
    assert "1 error in 1 file" in text
    assert _run(tmp_path / "none.yaml") == (2, "")
    assert "no such file or folder" in capsys.readouterr().err


def test_json(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    code, text = _run(bad, as_json=True)
    document = json.loads(text)
    assert code == 1
    assert document["counts"] == {"error": 1, "warning": 0, "note": 0}
    (found,) = document["findings"]
    assert set(found) == {"code", "severity", "file", "line", "column", "what", "why", "fix"}
    assert (found["code"], found["line"], found["column"]) == ("SL-M003", 4, 15)


def test_an_empty_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no YAML file"):
        check([tmp_path])


# Junk in the place of any part of a real configuration.
ISTIO = Path(__file__).parents[2] / "istio"
REAL = [resource.body for resource in load([ISTIO / "overlays" / "gateway-api"])]
REAL += [resource.body for resource in load([ISTIO / "base"], [ISTIO / "components" / "faults" / "abort"])]
JUNK: list[object] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "*",
    "/",
    "x" * 300,
    "1s",
    [],
    {},
    [None],
    [[]],
    {"a": None},
    ["x"],
]


def _paths(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _paths(value, (*path, key))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), resource=st.sampled_from(REAL), junk=st.sampled_from(JUNK))
def test_no_shape_makes_it_fall_over(
    data: st.DataObject, resource: object, junk: object, tmp_path: Path
) -> None:
    body = json.loads(json.dumps(resource))
    path = data.draw(st.sampled_from([p for p in _paths(body) if p]))
    node = body
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = junk
    others = [json.dumps(r) for r in REAL if r is not resource]
    file = tmp_path / "fuzz.yaml"
    file.write_text("\n---\n".join([json.dumps(body), *others]))
    _check(file)
