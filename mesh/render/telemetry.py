"""Telemetry: the access log, to a file of the local run. Metrics and tracing belong to the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.render.context import Context, Json, any_of, selector
from mesh.render.fields import Fields

# Istio's own JSON access log, the fields that mean something here.
FORMAT: Mapping[str, str] = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "authority": "%REQ(:AUTHORITY)%",
    "response_code": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "route_name": "%ROUTE_NAME%",
}


def access_log(
    ctx: Context, labels: Mapping[str, str], namespace: str, file: str, server: bool
) -> list[Json]:
    """The access logs of a proxy by the most specific Telemetry that speaks of them; none by default.

    `file` is where they go. `server` says whether this is the serving side of a call.
    """
    candidates = [r for r in ctx.of("Telemetry") if ctx.selects(r, labels, namespace)]
    candidates.sort(key=lambda r: (not selector(r), r.namespace != namespace))
    found: list[Json] | None = None
    for resource in candidates:
        with ctx.spec(resource) as spec:
            spec.take("selector")
            spec.only_in_cluster("stock Envoy has no istio.stats filter and no tracer", "metrics", "tracing")
            blocks = [_block(block, file, server, ctx) for block in spec.each("accessLogging")]
        if found is None and "accessLogging" in spec:
            found = [log for block in blocks for log in block]
    return found or []


def _block(block: Fields, file: str, server: bool, ctx: Context) -> list[Json]:
    with block:
        with block.fields("match") as match:
            mode = match.text("mode", "CLIENT_AND_SERVER", choices=("CLIENT_AND_SERVER", "CLIENT", "SERVER"))
        disabled = block.boolean("disabled")
        names = []
        for provider in block.each("providers"):
            with provider:
                names.append(provider.text("name"))
        formats = [ctx.defaults.log_formats[name] for name in names if name in ctx.defaults.log_formats]
        if not formats and names and names != ["envoy"]:
            why = "no mesh config given that defines the provider; Istio's own JSON fields are written here"
            block.report.only_in_cluster(block.at("providers"), f"{block.where}.providers", why)
        with block.fields("filter") as condition:
            expression = condition.text("expression")
    if disabled or mode == ("CLIENT" if server else "SERVER"):
        return []
    config = any_of(
        "access_loggers.file.v3.FileAccessLog",
        path=file,
        log_format={"json_format": dict(formats[0] if formats else FORMAT)},
    )
    log: Json = {"name": "envoy.access_loggers.file", "typed_config": config}
    if expression:
        cel = any_of("access_loggers.filters.cel.v3.ExpressionFilter", expression=expression)
        log["filter"] = {
            "extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": cel}
        }
    return [log]
