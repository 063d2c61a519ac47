"""A change of configuration without a lost request: make before break, one discovery service after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mesh.render.assemble import Rendered
from mesh.render.context import Json
from mesh.resources import MeshError
from mesh.run.envoy import Envoy, wait_until
from mesh.run.files import ConfigFolder

TIMEOUT_S = 5.0
CDS = "cluster_manager.cds"
LDS = "listener_manager.lds"


def apply(envoy: Envoy, files: ConfigFolder, before: Rendered, after: Rendered) -> None:
    """Bring a running Envoy from one configuration to another.

    Clusters come first and those that are not needed any more go last, so that no route names one that is not
    there. Raises MeshError with Envoy's words where it refuses a step; then what changed already is taken back.
    """
    kept = {cluster["name"] for cluster in after.clusters}
    leaving = [cluster for cluster in before.clusters if cluster["name"] not in kept]
    try:
        _clusters(envoy, files, [*after.clusters, *leaving])
        for route in after.routes:
            _route(envoy, files, route)
        _listeners(envoy, files, after.listeners)
        if leaving:
            _clusters(envoy, files, after.clusters)
    except MeshError:
        _clusters(envoy, files, [*before.clusters, *_new(before.clusters, after.clusters)], checked=False)
        for route in before.routes:
            files.write_route(route)
        files.write("lds", before.listeners)
        _clusters(envoy, files, before.clusters, checked=False)
        raise


def _new(before: list[Json], after: list[Json]) -> list[Json]:
    names = {cluster["name"] for cluster in before}
    return [cluster for cluster in after if cluster["name"] not in names]


def _clusters(envoy: Envoy, files: ConfigFolder, clusters: list[Json], checked: bool = True) -> None:
    def write() -> tuple[str, bool]:
        return files.write("cds", clusters)

    if checked:
        _step(envoy, CDS, write)
        wait_until(
            lambda: (
                envoy.stats(r"^cluster_manager\.warming_clusters$").get("cluster_manager.warming_clusters")
                == 0
            ),
            TIMEOUT_S,
            "Envoy did not finish the change of clusters",
        )
    else:
        write()


def _listeners(envoy: Envoy, files: ConfigFolder, listeners: list[Json]) -> None:
    _step(envoy, LDS, lambda: files.write("lds", listeners))
    name = "listener_manager.total_listeners_warming"
    wait_until(
        lambda: envoy.stats(r"^listener_manager\.total_listeners_warming$").get(name) == 0,
        TIMEOUT_S,
        "Envoy did not finish the change of listeners",
    )


def _route(envoy: Envoy, files: ConfigFolder, route: Json) -> None:
    """Routes count under each connection manager that uses them; one that does not exist yet has no counter."""
    name = route["name"]
    _step(envoy, f".rds.{name}", lambda: files.write_route(route), optional=True)


def _step(envoy: Envoy, scope: str, write: Callable[[], tuple[str, bool]], optional: bool = False) -> None:
    """Write one file and wait until Envoy took it over. Raises MeshError where it refuses."""
    pattern = _pattern(scope)
    before = refused(envoy.stats(pattern))
    version, new = write()
    if not new:
        return

    def done() -> bool:
        stats = envoy.stats(pattern)
        if refused(stats) > before:
            raise MeshError(f"Envoy refuses the change: {envoy.why_refused()}")
        versions = [value for name, value in stats.items() if name.endswith(".version_text")]
        return all(value == version for value in versions) if versions else optional

    wait_until(done, TIMEOUT_S, f"Envoy did not take over the change of {scope.strip('.')}")


def refused(stats: Mapping[str, Any]) -> int:
    """How many files Envoy refused: rejected by content, or not even parsed."""
    return sum(
        value for name, value in stats.items() if name.endswith((".update_rejected", ".update_failure"))
    )


def _pattern(scope: str) -> str:
    escaped = scope.replace(".", r"\.").replace("|", r"\|")
    return escaped + r"\.(update_rejected|update_failure|version_text)$"
