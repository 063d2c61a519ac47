"""What a route does beside choosing a destination: timeout, retries, faults, header operations."""

from __future__ import annotations

from typing import Any

from mesh.render.context import Json, any_of
from mesh.render.fields import Fields

RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
RETRY_POLICIES = {  # Envoy's; it passes over any other name in silence
    *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited"),
    *("retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers"),
    *("http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted"),
    "unavailable",
}
GRPC_CODES = (  # by number
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)


def timeout(timeout: str | None) -> Json:
    """istiod's pair: unset leaves the client's grpc-timeout alone; set, it bounds that too."""
    return {"timeout": timeout or "0s", "max_grpc_timeout": timeout or "0s"}


def fraction(percent: float | None) -> Json:
    """A percentage as FractionalPercent."""
    return {"numerator": round((percent or 0.0) * 10_000), "denominator": "MILLION"}


def retries(fields: Fields | None) -> Json | None:
    """RetryPolicy; without `retries` istiod's own: 2, and only where a gRPC call may be repeated."""
    found: Json = {
        "num_retries": 2,
        "retry_on": RETRY_ON,
        "host_selection_retry_max_attempts": "5",
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": any_of("retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
    }
    if fields is None:
        return found
    with fields:
        attempts = fields.integer("attempts", 2, high=1000)
        retry_on = fields.text("retryOn")
        per_try, backoff = fields.duration("perTryTimeout"), fields.duration("backoff")
        if fields.boolean("retryIgnorePreviousHosts", default=True) is False:
            del found["retry_host_predicate"]
        fields.only_in_cluster("one machine has one locality", "retryRemoteLocalities")
        if attempts == 0:
            if retry_on:
                raise fields.fail("retryOn", "istiod refuses retryOn together with attempts: 0")
            return None
        found["num_retries"] = attempts
        if retry_on:
            found.update(_retry_on(retry_on, fields))
        if per_try:
            found["per_try_timeout"] = per_try
        if backoff:
            found["retry_back_off"] = {"base_interval": backoff}
    return found


def _retry_on(text: str, fields: Fields) -> Json:
    """Names stay, integers become retriable_status_codes. istiod trims no space, so a space is an error."""
    parts = text.split(",")
    if any(part != part.strip() or not part for part in parts):
        raise fields.fail("retryOn", f"{text!r}: no spaces and no empty entries; istiod does not trim them")
    codes = [int(part) for part in parts if part.isdigit()]
    names = [part for part in parts if not part.isdigit()]
    if unknown := set(names) - RETRY_POLICIES:
        raise fields.fail("retryOn", f"{', '.join(sorted(unknown))}: Envoy has no such retry policy")
    if codes and "retriable-status-codes" not in names:
        names.append("retriable-status-codes")
    return {"retry_on": ",".join(names), **({"retriable_status_codes": codes} if codes else {})}


def fault(fields: Fields) -> Json:
    """HTTPFault; a delay or abort without a percentage happens to nobody, as in Istio."""
    found: dict[str, Any] = any_of("filters.http.fault.v3.HTTPFault")
    with fields:
        if "delay" in fields:
            with fields.fields("delay") as delay:
                fixed = delay.duration("fixedDelay")
                if fixed is None:
                    raise delay.fail("fixedDelay", "expected a duration")
                found["delay"] = {
                    "fixed_delay": fixed,
                    "percentage": fraction(delay.percent("percentage", 0.0)),
                }
        if "abort" in fields:
            with fields.fields("abort") as abort:
                found["abort"] = {"percentage": fraction(abort.percent("percentage", 0.0))}
                if "grpcStatus" in abort:
                    status = abort.text("grpcStatus", choices=GRPC_CODES)
                    found["abort"]["grpc_status"] = GRPC_CODES.index(status)
                else:
                    found["abort"]["http_status"] = abort.integer("httpStatus", low=200, high=599)
                    if found["abort"]["http_status"] is None:
                        raise abort.fail("httpStatus", "expected grpcStatus or httpStatus")
    return found


def headers(fields: Fields) -> Json:
    """`headers.request` and `headers.response`: set, add and remove."""
    found: Json = {}
    with fields:
        for side in ("request", "response"):
            with fields.fields(side) as operations:
                added = [
                    {"header": {"key": key, "value": value}, "append_action": action}
                    for name, action in (
                        ("set", "OVERWRITE_IF_EXISTS_OR_ADD"),
                        ("add", "APPEND_IF_EXISTS_OR_ADD"),
                    )
                    for key, value in operations.mapping(name).items()
                ]
                removed = operations.texts("remove")
            if added:
                found[f"{side}_headers_to_add"] = added
            if removed:
                found[f"{side}_headers_to_remove"] = removed
    return found
