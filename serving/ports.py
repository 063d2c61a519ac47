"""Listening sockets, and a clear error when a port is taken."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

from serving.errors import Code, ServingError, invalid


def bind(host: str, port: int, flag: str) -> socket.socket:
    """A bound TCP socket (not yet listening); raises ServingError that names the port and the flag."""
    if not 0 < port < 65536:
        raise invalid(f"--{flag}={port} is not a port: expected 1 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise invalid(f"--host={host} is not an address: {error.strerror}") from None
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Two sockets may be bound to one port with SO_REUSEADDR as long as none listens: so look that far.
        listener.listen()
    except OSError as error:
        listener.close()
        text = f"port {port} on {host} is not free ({error.strerror}); choose another with --{flag}"
        raise ServingError(Code.UNAVAILABLE, text) from None
    return listener


def check_free(host: str, port: int, flag: str) -> None:
    """Raise ServingError if the port cannot be listened on now."""
    bind(host, port, flag).close()


def check_socket(path: str) -> None:
    """Raise ServingError if a UNIX socket cannot be made at `path`: gRPC would take another server's away silently."""
    taken = ServingError(
        Code.UNAVAILABLE,
        f"{path} is not free (a server listens there); choose another with --grpc_socket_path",
    )
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.settimeout(1)
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):  # not there, or left by one that is gone
            folder = os.path.dirname(path) or "."
            if not os.access(folder, os.W_OK | os.X_OK):
                raise invalid(f"--grpc_socket_path={path}: {folder} is no folder to write in") from None
            if os.path.exists(path) and not Path(path).is_socket():
                raise invalid(f"--grpc_socket_path={path}: expected a socket or nothing there") from None
        except TimeoutError:
            raise taken from None
        except OSError as error:  # too long a path, which has no strerror
            raise invalid(f"--grpc_socket_path={path}: {error.strerror or error}") from None
        else:
            raise taken


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(host, None))
    except OSError:
        return False


def address(host: str, port: int) -> str:
    """`host:port`, with IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
