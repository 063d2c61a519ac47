"""Sidecar: which services a workload's proxy knows, and what it does with calls to others."""

from __future__ import annotations

from mesh.render.context import Context, selector
from mesh.render.topology import Service, Workload

NO_PASS = "the local sidecar gets only calls to the mesh's services: there is nothing to pass through"


def visible_services(ctx: Context, workload: Workload) -> list[Service]:
    """The services that a workload's Sidecar lets it reach; all of them without one."""
    candidates = [
        resource
        for resource in ctx.of("Sidecar")
        if ctx.selects(resource, workload.labels, workload.namespace)
    ]
    candidates.sort(key=lambda r: (not selector(r), r.namespace != workload.namespace))
    services = list(ctx.topology.services)
    for index, resource in enumerate(candidates):
        with ctx.spec(resource) as spec:
            spec.take("workloadSelector")
            hosts: list[str] = []
            for egress in spec.each("egress"):
                with egress:
                    hosts += egress.texts("hosts")
            with spec.fields("outboundTrafficPolicy") as policy:
                policy.only_in_cluster(NO_PASS, "mode")
        if index == 0 and "egress" in spec:
            services = [s for s in services if any(_allows(host, s, workload.namespace) for host in hosts)]
    return services


def _allows(entry: str, service: Service, namespace: str) -> bool:
    """Whether `namespace/host` names a service: `.` is the own namespace, `*` any, `~` none."""
    where, _, host = entry.rpartition("/")
    where = {".": namespace, "": namespace}.get(where, where)
    if where not in {"*", service.namespace}:
        return False
    return host == "*" or host == service.host or (host.startswith("*.") and service.host.endswith(host[1:]))
