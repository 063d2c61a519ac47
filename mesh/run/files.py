"""The folder that Envoy reads its configuration from, and watches: one file per discovery service.

    bootstrap.json     what Envoy starts with
    cds.json lds.json  clusters and listeners
    routes/NAME.json   a file per route configuration
    secrets/NAME.json  a file per certificate

Every file is moved into place whole, which is also what Envoy watches for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mesh.certificates import Authority, KeyPair, write_private
from mesh.render.context import Json
from mesh.render.listeners import route_file
from mesh.render.tls import ROOT, secret_file
from mesh.render.topology import Address
from mesh.run.bootstrap import bootstrap

TYPES = {
    "cds": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "lds": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "routes": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "secrets": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}


def response(kind: str, resources: list[Json]) -> tuple[str, str]:
    """A DiscoveryResponse as JSON, and its version (a hash of what it holds)."""
    typed = [{"@type": TYPES[kind], **resource} for resource in resources]
    version = hashlib.sha256(json.dumps(typed, sort_keys=True).encode()).hexdigest()[:16]
    return json.dumps({"version_info": version, "type_url": TYPES[kind], "resources": typed}), version


class ConfigFolder:
    """Writes the files; a file whose content stays the same is left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions: dict[str, str] = {}
        for name in ("routes", "secrets"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)

    def write(self, kind: str, resources: list[Json]) -> tuple[str, bool]:
        """Write cds or lds; returns the version and whether it is new."""
        return self._put(f"{kind}.json", kind, resources)

    def write_route(self, config: Json) -> tuple[str, bool]:
        return self._put(f"routes/{route_file(config['name'])}", "routes", [config])

    def write_secret(self, secret: Json) -> None:
        self._put(f"secrets/{secret_file(secret['name'])}", "secrets", [secret])

    def _put(self, name: str, kind: str, resources: list[Json]) -> tuple[str, bool]:
        text, version = response(kind, resources)
        if self._versions.get(name) == version:
            return version, False
        write_private(self.folder / name, text)
        self._versions[name] = version
        return version, True

    def write_bootstrap(self, stats: Address | None) -> Path:
        """The file to start Envoy with."""
        path = self.folder / "bootstrap.json"
        write_private(path, json.dumps(bootstrap(self.folder, stats)))
        return path


def key_secret(name: str, pair: KeyPair) -> Json:
    """A certificate with its key, inline: the files are readable by their owner only."""
    chain, key = {"inline_string": pair.certificate}, {"inline_string": pair.key}
    return {"name": name, "tls_certificate": {"certificate_chain": chain, "private_key": key}}


def root_secret(name: str, authority: Authority) -> Json:
    return {"name": name, "validation_context": {"trusted_ca": {"inline_string": authority.certificate}}}


def secrets_for(
    names: set[str], mesh: Authority, gateway: Authority, gateway_hosts: list[str]
) -> Mapping[str, Json]:
    """A secret for each name that the configuration asks for: SPIFFE identities, roots, the gateway's own."""
    found: dict[str, Json] = {}
    for name in names:
        if name == ROOT:
            found[name] = root_secret(name, mesh)
        elif name.startswith("spiffe://"):
            found[name] = key_secret(name, mesh.issue(uris=[name]))
        elif name.endswith("-cacert"):
            found[name] = root_secret(name, gateway)
        else:
            found[name] = key_secret(
                name, gateway.issue(names=[*gateway_hosts, "localhost", "127.0.0.1", "::1"])
            )
    return found
