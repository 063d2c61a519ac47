"""The local stack's ports: which option each has, and whether it can be had."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
UNCLAIMED = (20000, 32768)


class PortTaken(OSError):
    """A port of the stack is in use; the message names it and the option that changes it."""


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the stack; each field is the option of that name.

    `port`, `rest_api_port`: the model server's (version v1's). `relay_port`: where the relay itself listens.
    `http_port`: its live page. `gateway_port`: where cameras enter the mesh; None without one.
    """

    port: int = 8500
    rest_api_port: int = 8501
    relay_port: int = 8600
    http_port: int = 8601
    gateway_port: int | None = 8443

    def __post_init__(self) -> None:
        for option, number in self._options():
            if not 1 <= number <= 65535:
                raise ValueError(f"{option}: expected 1 to 65535, got {number}")

    def check_free(self) -> None:
        """Raise PortTaken for the first that cannot be listened on, ValueError for two that are the same."""
        taken: dict[int, str] = {}
        for option, number in self._options():
            if number in taken:
                raise ValueError(f"{option} and {taken[number]} are both {number}: give each its own")
            taken[number] = option
            check_free(number, option)

    def _options(self) -> list[tuple[str, int]]:
        return [("--" + name.replace("_", "-"), n) for name, n in vars(self).items() if n is not None]


def check_free(number: int, option: str) -> None:
    """Raise PortTaken, naming the option, if a loopback port cannot be listened on."""
    try:
        _bind(number)
    except OSError as error:
        raise PortTaken(f"port {number}: {error.strerror}; choose another with {option}") from None


def is_free(number: int) -> bool:
    """Whether a loopback port can be listened on."""
    try:
        _bind(number)
    except OSError:
        return False
    return True


def _bind(number: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, number))


def free_port() -> int:
    """A port that nobody listens on now.

    From below those that the kernel gives to connections and to who asks for any (32768 and up): on a busy machine
    one of these is soon somebody else's.
    """
    while True:
        number = random.randrange(*UNCLAIMED)
        if is_free(number):
            return number
