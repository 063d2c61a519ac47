"""PeerAuthentication: whether a workload's port takes mutual TLS, plain text, or both."""

from __future__ import annotations

from mesh.render.context import Context, selector
from mesh.render.topology import Workload
from mesh.resources import Resource

MODES = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")


def peer_mode(ctx: Context, workload: Workload, port: int) -> str:
    """STRICT, PERMISSIVE or DISABLE for a port: the most specific policy that sets it, else PERMISSIVE."""
    candidates = [
        resource
        for resource in ctx.of("PeerAuthentication")
        if ctx.selects(resource, workload.labels, workload.namespace)
        and not (resource.namespace != workload.namespace and selector(resource))
    ]
    # Workload over namespace over mesh.
    candidates.sort(key=lambda r: (not selector(r), r.namespace != workload.namespace))
    for resource in candidates:
        mode = _mode(ctx, resource, port)
        if mode != "UNSET":
            return mode
    return "PERMISSIVE"


def _mode(ctx: Context, resource: Resource, port: int) -> str:
    with ctx.spec(resource) as spec:
        spec.take("selector")
        with spec.fields("mtls") as mtls:
            mode = mtls.text("mode", "UNSET", choices=MODES)
        with spec.fields("portLevelMtls") as ports:
            for key in ports.node:
                with ports.fields(key) as one:
                    of_port = one.text("mode", "UNSET", choices=MODES)
                if key == str(port) and of_port != "UNSET":
                    mode = of_port
    return mode
