"""TLS contexts: mutual TLS between sidecars under SPIFFE identities, and the gateway's own certificates.

Keys come by SDS from files, so that a renewed certificate needs no new listener. The names of the secrets say
whose they are; `mesh.run` writes a file for each.
"""

from __future__ import annotations

from mesh.render.context import Json

ROOT = "ROOTCA"
PLACEHOLDER = "@CONFIG@"  # stands for the folder of the configuration files until it is known
LOGS = "@LOGS@"  # the same for the folder of access logs


def secret_file(name: str) -> str:
    """The file of a secret in the folder `secrets`."""
    return name.replace("://", "_").replace("/", "_").replace("|", "_") + ".json"


def path_source(path: str) -> Json:
    """A config source that watches for files moved into the folder of `path`."""
    folder, _, _ = path.rpartition("/")
    return {
        "path_config_source": {"path": path, "watched_directory": {"path": folder}},
        "resource_api_version": "V3",
    }


def sds(name: str) -> Json:
    """A secret by its name."""
    return {"name": name, "sds_config": path_source(f"{PLACEHOLDER}/secrets/{secret_file(name)}")}


def _parameters(minimum: str = "TLSv1_2", maximum: str = "") -> Json:
    return {
        "tls_minimum_protocol_version": minimum,
        **({"tls_maximum_protocol_version": maximum} if maximum else {}),
    }


def _validation(matchers: list[Json], root: str = ROOT) -> Json:
    return {
        "default_validation_context": {"match_typed_subject_alt_names": matchers} if matchers else {},
        "validation_context_sds_secret_config": sds(root),
    }


def upstream_tls(identity: str, server_identities: list[str], sni: str) -> Json:
    """The client's side of mutual TLS: our identity, and the server's names we accept."""
    names = [{"san_type": "URI", "matcher": {"exact": name}} for name in server_identities]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": sni,
            "common_tls_context": {
                "tls_params": _parameters(),
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [sds(identity)],
                "combined_validation_context": _validation(names),
            },
        },
    }


def inbound_tls(identity: str, domain: str) -> Json:
    """The server's side of mutual TLS: a client certificate of the trust domain is required."""
    anyone = [{"san_type": "URI", "matcher": {"prefix": f"spiffe://{domain}/"}}]
    return _downstream(identity, _validation(anyone), _parameters())


def gateway_tls(secret: str, client_root: str, client_names: list[str], minimum: str, maximum: str) -> Json:
    """The gateway's TLS; with `client_root` (a secret) a client certificate under it is required."""
    matchers = [
        {"san_type": kind, "matcher": {"exact": name}} for name in client_names for kind in ("DNS", "URI")
    ]
    validation = _validation(matchers, client_root) if client_root else None
    return _downstream(secret, validation, _parameters(minimum, maximum))


def _downstream(secret: str, validation: Json | None, parameters: Json) -> Json:
    common: Json = {
        "tls_params": parameters,
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [sds(secret)],
    }
    if validation is not None:
        common["combined_validation_context"] = validation
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": validation is not None,
            "common_tls_context": common,
        },
    }
