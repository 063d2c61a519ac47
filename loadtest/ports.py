"""Free ports for what is started on purpose."""

from __future__ import annotations

import socket

from mesh.render.topology import Address


def free_address() -> Address:
    """A loopback address that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return Address("127.0.0.1", held.getsockname()[1])
