"""Ports of this machine for a topology: free ones where it says 0, and a clear error for a taken one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
from collections.abc import Mapping

from mesh.render.topology import Address, Topology
from mesh.resources import MeshError


def assign(topology: Topology, held: contextlib.ExitStack) -> Topology:
    """The topology with a free port wherever a proxy's address has port 0. They are kept until `held` closes."""

    def filled(addresses: Mapping[int, Address]) -> dict[int, Address]:
        return {port: _free(address, held) for port, address in addresses.items()}

    workloads = tuple(
        dataclasses.replace(workload, inbound=filled(workload.inbound), outbound=filled(workload.outbound))
        for workload in topology.workloads
    )
    gateway = topology.gateway
    if gateway is not None:
        gateway = dataclasses.replace(gateway, listen=filled(gateway.listen))
    return dataclasses.replace(topology, workloads=workloads, gateway=gateway)


def _free(address: Address, held: contextlib.ExitStack) -> Address:
    """Bound, never listened on: Envoy's listeners have SO_REUSEPORT too, so it may have the port; others may not."""
    if address.port:
        return address
    bound = held.enter_context(socket.socket(_family(address.host)))
    if sys.platform == "linux":  # elsewhere Envoy does not reuse ports; see `release`
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((address.host, 0))
    return Address(address.host, bound.getsockname()[1])


def release(held: contextlib.ExitStack) -> None:
    """Envoy is about to listen: let go of the ports where two programs cannot hold one."""
    if sys.platform != "linux":
        held.close()


def check_free(topology: Topology) -> None:
    """Raises MeshError naming the first address of a proxy that another program holds; port 0 is nobody's."""
    wanted: dict[Address, str] = {}
    if topology.gateway is not None:
        wanted |= {address: f"gateway port {port}" for port, address in topology.gateway.listen.items()}
    for workload in topology.workloads:
        for port, address in workload.outbound.items():
            wanted[address] = f"outbound {port} of {workload.name}"
        for port in workload.app:
            if port in workload.inbound:
                wanted[workload.inbound[port]] = f"inbound {port} of {workload.name}"
    for address, use in wanted.items():
        try:
            socket.create_server((address.host, address.port), family=_family(address.host)).close()
        except OSError as error:
            reason = os.strerror(error.errno or 0)  # create_server's own text has the address once more
            raise MeshError(
                f"{address} ({use}) can't be listened on: {reason}; give it another port in the endpoints file"
            ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
