"""What imports what, what a camera box has to install, and how fast it starts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("client", "model", "serving", "mesh", "loadtest", "sightline")
# Which of our packages or modules each may import; those of model/ here need numpy and OpenCV only.
MAY_IMPORT = {
    "model": (),
    "client": ("model.child", "model.contract", "model.counts", "model.matching", "model.street"),
    "serving": ("model.contract", "model.counts", "model.kernels"),
    "mesh": ("model.child", "model.contract", "model.extras"),
    "loadtest": (
        "client",
        "mesh",
        "model.child",
        "model.contract",
        "model.street",
    ),  # cameras, and the mesh under them
    "sightline": ("client", "loadtest", "mesh", "model", "serving"),
}
# What needs an extra, and says so in one line where that is missing.
OF_EXTRAS = {
    ("client/relay/shadow_compare.py", "scipy"),
    ("client/relay/shadow_statistics.py", "scipy"),
    ("client/sinks/mqtt.py", "paho"),
    ("client/sinks/traces.py", "opentelemetry"),
    ("client/track.py", "supervision"),
    ("client/sinks/counts.py", "supervision"),
}
BASE_LIMIT_BYTES = 300e6
HEAVY = ("tensorflow", "torch", "ultralytics", "onnxruntime", "openvino")


@cache
def imports_of(package: str) -> tuple[tuple[str, str], ...]:
    """All (file, imported module) of a package, lazy ones too; `from a import b` is `a.b`."""
    return tuple(
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        for name in names_of(node)
    )


def names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(f"{allowed}.")


@pytest.mark.parametrize("package", PACKAGES)
def test_dependencies_go_one_way(package: str) -> None:
    assert imports_of(package)
    for file, name in imports_of(package):
        top = name.partition(".")[0]
        if top in PACKAGES and top != package:
            assert any(within(name, allowed) for allowed in MAY_IMPORT[package]), (file, name)


@pytest.mark.parametrize("folder", ["client", "model/street", "model/child.py", "model/contract.py"])
def test_what_a_camera_runs_needs_the_base_only(folder: str) -> None:
    """Lazy imports too: nothing in it may turn out to be missing later."""
    found = [(file, name) for file, name in imports_of(folder.partition("/")[0]) if file.startswith(folder)]
    assert found
    owners_of = metadata.packages_distributions()
    base = set(base_distributions())
    names = {name for name, owners in owners_of.items() if base & set(map(canonical, owners))}
    for file, name in found:
        top = name.partition(".")[0]
        assert (file, top) in OF_EXTRAS or top in sys.stdlib_module_names | names | {"client", "model"}, (
            file,
            name,
        )


@pytest.mark.parametrize(
    "code",
    [
        "import client; [getattr(client, name) for name in client.__all__]",
        "import client.detect, client.relay.main, client.direct",
        "import model.contract, model.street",
        "import sightline.cli",
        "import mesh.check",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    check = f"import sys; {code}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_client_imports_fast() -> None:
    code = "import time; start = time.perf_counter(); import client; print(time.perf_counter() - start)"
    times_s = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times_s) < 0.5


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def base_distributions() -> dict[str, metadata.Distribution]:
    """What `pip install sightline` brings, by name, with what that needs in turn."""
    waiting: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonical(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = metadata.distribution(name)
        waiting += found[name].requires or []
    return found


def size_bytes(distribution: metadata.Distribution) -> int:
    paths = (Path(str(distribution.locate_file(file))) for file in distribution.files or [])
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_the_base_is_small() -> None:
    distributions = base_distributions()
    assert {"grpcio", "numpy", "opencv-python-headless"} <= set(distributions)
    assert not {"tensorflow", "torch"} & set(distributions)
    installed = sum(map(size_bytes, distributions.values()))
    # What pip compiles of the dependencies counts (25 MB); of our own modules it is not there in a checkout.
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    own = sum(path.stat().st_size for path in files if "__pycache__" not in path.parts)
    assert 50e6 < installed + own < BASE_LIMIT_BYTES
