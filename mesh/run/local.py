"""The local mesh: Istio's YAML in one Envoy on this machine, kept up to date with the files."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from mesh.certificates import LEAF_LIFETIME, Authority
from mesh.kustomize import Loaded, load
from mesh.render.assemble import Rendered, assemble
from mesh.render.fields import Report
from mesh.render.mesh_config import MeshDefaults, read_mesh_config
from mesh.render.topology import Address, Topology
from mesh.resources import MeshError, Resource
from mesh.run.bootstrap import ADMIN_SOCKET
from mesh.run.envoy import Envoy, wait_until
from mesh.run.files import ConfigFolder, secrets_for
from mesh.run.folders import own_folder, sweep
from mesh.run.ports import assign, check_free, release
from mesh.run.stats import MeshStats, read_stats
from mesh.run.update import apply, refused
from mesh.run.watched import Times, changed, times_of
from mesh.tokens import ISSUER, TokenIssuer, default_state

POLL_S = 0.2  # how often the files' times are looked at: a change is live well within a second


@dataclass(frozen=True)
class MeshConfig:
    """What to run.

    `paths` are YAML files and folders with Istio's resources, `components` kustomize components on top of them,
    `mesh_config` istiod's Helm values or MeshConfig. A port 0 in the topology's proxies becomes a free one, which is
    the mesh's until it stops.
    `stats` is where Prometheus may ask Envoy for its counters. `state` keeps the token key and the gateway's
    authority between runs. `log` gets a line for each event.
    """

    paths: tuple[Path, ...]
    topology: Topology
    components: tuple[Path, ...] = ()
    mesh_config: Path | None = None
    stats: Address | None = None
    state: Path = field(default_factory=default_state)
    concurrency: int = 1
    watch: bool = True
    logs: Path | None = None  # folder of access logs and Envoy's own; None: they go when the mesh ends
    log: Callable[[str], None] = print
    authority: Authority | None = None  # of the workloads' identities; a new one for each run unless given


class Mesh:
    """A running mesh, as a context manager. Start it from a thread that lives as long as it should."""

    def __init__(self, config: MeshConfig) -> None:
        self.config = config
        self.issuer = TokenIssuer(config.state)
        jwks = {ISSUER: self.issuer.jwks, **config.topology.jwks}
        self._ports = contextlib.ExitStack()
        self.topology = dataclasses.replace(assign(config.topology, self._ports), jwks=jwks)
        self.authority = config.authority or Authority.create("sightline mesh")
        self.gateway_authority = Authority.stored("sightline gateway", config.state)
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self._folder: Path | None = None
        self.envoy: Envoy | None = None

    @property
    def ca_file(self) -> Path:
        """The certificate that cameras check the gateway with."""
        return self.config.state / "ca.pem"

    @property
    def folder(self) -> Path:
        """Envoy's configuration and logs while it runs; owner-only, and removed at the end."""
        if self._folder is None:
            raise MeshError("the mesh is not running")
        return self._folder

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout_s: float = 15.0) -> None:
        """Render, start Envoy and wait until every listener is ready. Raises MeshError."""
        loaded = Loaded()
        rendered, hosts = self.render(loaded)
        check_free(self.config.topology)
        sweep()
        self._folder = own_folder()
        self._files = ConfigFolder(self._folder)
        self._logs = self.config.logs or self._folder
        self._logs.mkdir(parents=True, exist_ok=True)
        self._placed = rendered.placed(str(self._folder), str(self._logs.resolve()))
        self._write_secrets(hosts)
        self._files.write("cds", self._placed.clusters)
        for route in self._placed.routes:
            self._files.write_route(route)
        version, _ = self._files.write("lds", self._placed.listeners)
        bootstrap = self._files.write_bootstrap(self.config.stats)
        release(self._ports)
        self.envoy = Envoy(
            bootstrap, self._folder / ADMIN_SOCKET, self._logs / "envoy.log", self.config.concurrency
        )
        wait_until(lambda: self._ready(version), timeout_s, "Envoy did not get ready")
        if self.config.watch:
            self._watcher = threading.Thread(
                target=self._watch, args=(loaded, times_of(loaded.files)), name="mesh-watch", daemon=True
            )
            self._watcher.start()

    def stop(self) -> None:
        """End Envoy and remove its folder. May be called twice."""
        self._stop.set()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        if self.envoy is not None:
            self.envoy.stop()
        self._ports.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def render(self, loaded: Loaded) -> tuple[Rendered, list[str]]:
        """The configuration of the files as they are now, and the gateways' host names."""
        resources = load(self.config.paths, self.config.components, loaded)
        defaults, report = MeshDefaults(), Report()
        if self.config.mesh_config is not None:
            loaded.files.add(self.config.mesh_config)
            defaults = read_mesh_config(self.config.mesh_config, report)
        return assemble(resources, self.topology, defaults), gateway_hosts(resources)

    def stats(self) -> MeshStats:
        """Counts since the start. Raises MeshError when Envoy is gone."""
        if self.envoy is None:
            raise MeshError("the mesh is not running")
        try:
            return read_stats(self.envoy)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.envoy.check_alive()
            raise MeshError(f"Envoy's administration does not answer: {error}") from None

    def use(self, *components: Path) -> None:
        """Put these components in the place of the present ones while calls go on, and wait until Envoy has them.

        Raises MeshError, and leaves all as it was, when they are wrong. Call it with `watch=False` in the config:
        files are followed for the components that the mesh began with.
        """
        before = self.config
        self.config = dataclasses.replace(before, components=components)
        try:
            rendered, hosts = self.render(Loaded())
            self._swap(rendered, hosts)
        except MeshError:
            self.config = before
            raise

    def _ready(self, version: str) -> bool:
        """Whether the first listeners are all there. Raises MeshError when Envoy refuses them."""
        assert self.envoy is not None
        self.envoy.check_alive()
        try:
            stats = self.envoy.stats(r"^listener_manager\.|^server\.state$|^cluster_manager\.cds\.update_")
        except (OSError, ValueError):
            return False
        if refused(stats) or stats.get("listener_manager.listener_create_failure", 0):
            raise MeshError(f"Envoy refuses the configuration: {self.envoy.why_refused()}")
        static = self.config.stats is not None  # a listener of the bootstrap
        return (
            stats.get("listener_manager.lds.version_text") == version
            and stats.get("listener_manager.total_listeners_warming") == 0
            and stats.get("listener_manager.total_listeners_active") == len(self._placed.listeners) + static
            and stats.get("server.state") == 0
        )

    def _write_secrets(self, hosts: list[str]) -> None:
        secrets = secrets_for(self._placed.secrets, self.authority, self.gateway_authority, hosts)
        for secret in secrets.values():
            self._files.write_secret(secret)
        self._renew_at = time.monotonic() + LEAF_LIFETIME.total_seconds() / 2
        self._hosts = hosts

    def _swap(self, rendered: Rendered, hosts: list[str]) -> None:
        assert self.envoy is not None
        placed, before = rendered.placed(str(self.folder), str(self._logs.resolve())), self._placed
        if placed.secrets - before.secrets or hosts != self._hosts:
            self._placed = placed
            self._write_secrets(hosts)
            self._placed = before
        apply(self.envoy, self._files, before, placed)
        self._placed = placed

    def _watch(self, loaded: Loaded, times: Times) -> None:
        now = times
        while not self._stop.wait(POLL_S):
            if time.monotonic() > self._renew_at:
                self._write_secrets(self._hosts)
            last, now = now, times_of(loaded.files)
            if now == times or now != last:  # who writes a file may not be done with it
                continue
            fresh = Loaded()
            try:
                rendered, hosts = self.render(fresh)
                self._swap(rendered, hosts)
                self.config.log(f"mesh: took over {changed(times, now)}")
            except MeshError as error:
                first, *more = str(error).splitlines()
                rest = f" (and {len(more)} more)" if more else ""
                named = any(first.startswith(str(path)) for path in fresh.files)
                where = "" if named else f"{changed(times, now)}: "  # Envoy and kustomize know no files
                self.config.log(f"mesh: the last good configuration stays: {where}{first}{rest}")
            except OSError as error:
                if self._stop.is_set():
                    return
                self.config.log(f"mesh: the last good configuration stays: {error}")
            loaded.files |= fresh.files
            times = {**now, **{path: seen for path, seen in times_of(fresh.files).items() if path not in now}}


def gateway_hosts(resources: list[Resource]) -> list[str]:
    """The host names of all Gateway resources, for the gateway's certificate."""
    hosts: set[str] = set()
    for resource in resources:
        if resource.kind == "Gateway" and resource.group == "networking.istio.io":
            for server in resource.spec.get("servers") or []:
                hosts |= {str(host).rpartition("/")[2] for host in server.get("hosts") or []}
    return sorted(hosts - {"*"})
