"""gRPC channel settings that every client of ours shares."""

from __future__ import annotations

import re

import grpc

from client.errors import TransportError
from client.grpc_words import unwrapped

MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # a Frame or Result; gRPC's own default of 4 MiB refuses large frames
MOST_IMAGE_BYTES = MAX_MESSAGE_BYTES - (1 << 16)  # the rest of a message is far smaller

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Come back soon after the other end does: gRPC's defaults would wait up to 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),  # this is how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Notice an other end that is black-holed (packets dropped, nothing refused) in 15 s while nothing is sent, and in
    # 5 s while data is not acknowledged, for gRPC makes the second number TCP_USER_TIMEOUT too. Where something between
    # acknowledges all that is sent it is the third number, 60 s by default, that ends the wait for a ping's answer.
    # While data is on its way no pings are sent (grpc#14717, #15871): client/sender.py sees to that.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # A channel of our own: no back-off inherited from another channel to the same target.
    ("grpc.use_local_subchannel_pool", 1),
]

# Codes that gRPC makes up itself where nobody answered.
_NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
_CODES = frozenset(code.name for code in grpc.StatusCode)
# Where an HTTP/1 server answers, as a relay's --http-port.
_NO_GRPC = re.compile(r"^Failed parsing HTTP/2 .*")
_HANDSHAKE = "handshake failed"  # gRPC's: somebody answered, and does not prove to be who it should be


def status_line(error: grpc.RpcError) -> str:
    """`CODE: details` of a failed call, in one line."""
    return f"{error.code().name}: {' '.join((error.details() or 'no details').split())}"


def explained(message: str) -> tuple[bool, str]:
    """Why a connection failed, from its `CODE: details`: whether somebody answered, and the reason without what gRPC
    wraps around it."""
    reason = _NO_GRPC.sub("no gRPC is spoken there; is that a port for HTTP?", unwrapped(message)[2])
    code = message.partition(":")[0]
    return _HANDSHAKE in reason or (code in _CODES and code not in _NO_ANSWER), reason


def split_address(address: str, option: str) -> tuple[str, int]:
    """host:port apart; an IPv6 host stands in brackets. Raises ValueError naming the option."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65535) or "@" in host:
        raise ValueError(f"--{option}: expected host:port, got {_shown(address)!r}")
    return host.strip("[]"), int(port)


def check_target(target: str) -> None:
    """Raise TransportError if nothing can be there: gRPC would look for it, for long. UNIX sockets are left to gRPC."""
    if target.startswith(("unix:", "unix-abstract:")):
        return
    try:
        split_address(target, "target")
    except ValueError:
        shown = _shown(target) or "''"
        raise TransportError(shown, "expected host:port, such as 127.0.0.1:8600") from None


def _shown(address: str) -> str:
    """An address as it may be shown: there may be a password in it."""
    return f"***@{address.rpartition('@')[2]}" if "@" in address else address
