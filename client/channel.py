"""gRPC channel settings that every client of ours shares."""

from __future__ import annotations

import grpc

MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # a Frame or Result; gRPC's own default of 4 MiB refuses large frames

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Come back soon after the other end does: gRPC's defaults would wait up to 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),  # this is how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Notice an other end that is black-holed (packets dropped, nothing refused) in 15 s while nothing is sent, and in
    # 5 s while data is not acknowledged, for gRPC makes the second number TCP_USER_TIMEOUT too. While data is on its
    # way and something between acknowledges it, no pings are sent (grpc#14717, #15871): client/sender.py sees to that.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A channel of our own: no back-off inherited from another channel to the same target.
    ("grpc.use_local_subchannel_pool", 1),
]


def status_line(error: grpc.RpcError) -> str:
    """`CODE: details` of a failed call, in one line."""
    return f"{error.code().name}: {' '.join((error.details() or 'no details').split())}"


def split_address(address: str, option: str) -> tuple[str, int]:
    """host:port apart; an IPv6 host stands in brackets. Raises ValueError naming the option."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65535):
        raise ValueError(f"--{option}: expected host:port, got {address!r}")
    return host.strip("[]"), int(port)
