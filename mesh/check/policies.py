"""Timeouts, retries and faults of VirtualServices, and durations anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.check.findings import Finding, finding
from mesh.check.nodes import at, child, duration_s, has, maps, number, text, walk
from mesh.check.world import World, full_host, is_grpc_path
from mesh.resources import Map, Resource

# What Istio's validation takes: Envoy's own words for HTTP and gRPC.
HTTP_CONDITIONS = {
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
}
GRPC_CONDITIONS = {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
GRPC_CODES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
# Methods known to be streams that live as long as their client; a prefix counts when one of them starts with it.
STREAMS = (
    "/sightline.v1.Relay/Detect",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
)
STREAM_SERVICES = ("object-detection-client",)  # the relay
DURATIONS = (
    "timeout",
    "perTryTimeout",
    "fixedDelay",
    "connectTimeout",
    "idleTimeout",
    "maxConnectionDuration",
    "baseEjectionTime",
    "interval",
)


def check(world: World) -> Iterator[Finding]:
    for service in world.of("VirtualService"):
        for rule in maps(service.spec, "http"):
            yield from _stream(service, rule)
            yield from _retries(service, rule, world)
            yield from _faults(rule)
    for kind in ("VirtualService", "DestinationRule"):
        for resource in world.of(kind):
            yield from _durations(resource)


def _durations(resource: Resource) -> Iterator[Finding]:
    for node in walk(resource.spec):
        for key in DURATIONS:
            value = node.get(key)
            if not isinstance(value, str):
                continue
            seconds = duration_s(value)
            if seconds is None or (0 < seconds < 0.001) or (seconds == 0 and key == "fixedDelay"):
                yield finding("SL-M309", at(node, key), f"{key}: {value!r} is no duration of 1 ms or more")


def _stream(service: Resource, rule: Map) -> Iterator[Finding]:
    if not has(rule, "timeout") or duration_s(text(rule, "timeout")) == 0:
        return
    found = next((s for m in maps(rule, "match") for s in STREAMS if _matches_path(child(m, "uri"), s)), "")
    if not found and not any(has(m, "uri") for m in maps(rule, "match")):
        hosts = [text(e, "destination", "host").partition(".")[0] for e in maps(rule, "route")]
        found = next((h for h in hosts if h in STREAM_SERVICES), "")
    if found:
        yield finding(
            "SL-M304", at(rule, "timeout"), f"timeout {text(rule, 'timeout')} on {found}, a bidi stream"
        )


def _matches_path(uri: Map, path: str) -> bool:
    prefix = text(uri, "prefix")
    return text(uri, "exact") == path or (len(prefix) > 1 and path.startswith(prefix))


def _retries(service: Resource, rule: Map, world: World) -> Iterator[Finding]:
    retries = child(rule, "retries")
    conditions = text(retries, "retryOn").split(",") if text(retries, "retryOn") else []
    for condition in conditions:
        known = condition in HTTP_CONDITIONS or condition in GRPC_CONDITIONS or condition.isdigit()
        if not known:
            trimmed = condition.strip()
            why = "has a space" if trimmed in HTTP_CONDITIONS | GRPC_CONDITIONS else "is no condition"
            yield finding("SL-M301", at(retries, "retryOn"), f"{condition!r} {why}")
    if number(retries, "attempts") == 0 and (has(retries, "retryOn") or has(retries, "perTryTimeout")):
        others = " and ".join(key for key in ("retryOn", "perTryTimeout") if has(retries, key))
        yield finding("SL-M302", at(retries, "attempts"), f"attempts: 0 together with {others}")
    total, each = duration_s(text(rule, "timeout")), duration_s(text(retries, "perTryTimeout"))
    if total and each and each >= total and (number(retries, "attempts") or 0) > 0:
        what = f"perTryTimeout {text(retries, 'perTryTimeout')} in a timeout of {text(rule, 'timeout')}"
        yield finding("SL-M306", at(retries, "perTryTimeout"), what)
    words = {c.strip() for c in conditions}
    blind = words and words <= {"5xx", "gateway-error", "retriable-4xx", "retriable-status-codes"}
    if blind and _is_grpc(service, rule, world):
        yield finding("SL-M307", at(retries, "retryOn"), f"{text(retries, 'retryOn')} on a gRPC route")


def _is_grpc(service: Resource, rule: Map, world: World) -> bool:
    for match in maps(rule, "match"):
        uri = child(match, "uri")
        if is_grpc_path(text(uri, "exact")) or is_grpc_path(text(uri, "prefix").rstrip("/") + "/X"):
            return True
    for entry in maps(rule, "route"):
        node = child(entry, "destination")
        found = world.service(full_host(text(node, "host"), service.namespace))
        wanted = number(node, "port", "number")
        ports = [p for p in found.ports if wanted in (None, p.number)] if found else []
        if ports and all(p.protocol.startswith("grpc") for p in ports):
            return True
    return False


def _faults(rule: Map) -> Iterator[Finding]:
    fault = child(rule, "fault")
    for kind in ("delay", "abort"):
        node = child(fault, kind)
        old_percent = number(node, "percent")  # deprecated, still read
        if has(fault, kind) and number(node, "percentage", "value") is None and not old_percent:
            yield finding("SL-M303", at(fault, kind), f"{kind} without percentage.value")
    status = text(fault, "abort", "grpcStatus")
    if status and status not in GRPC_CODES:
        yield finding("SL-M308", at(child(fault, "abort"), "grpcStatus"), f"{status} is no gRPC code")
    http = number(fault, "abort", "httpStatus")
    if http is not None and not 200 <= http <= 599:
        yield finding("SL-M308", at(child(fault, "abort"), "httpStatus"), f"{http:g} is no HTTP status")
    delay, limit = duration_s(text(fault, "delay", "fixedDelay")), duration_s(text(rule, "timeout"))
    if delay and limit and delay > limit:
        what = f"delay {text(fault, 'delay', 'fixedDelay')} is not cut by the timeout {text(rule, 'timeout')}"
        yield finding("SL-M305", at(child(fault, "delay"), "fixedDelay"), what)
