"""`sightline bench stack`: the engine in process, through the server, and through relay and server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mesh.bench import MeshCost, measure
from mesh.render.topology import Address
from sightline.bench.engines import Ours, Relay, RelayByPython, Server, cameras
from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.rows import Row, met, row
from sightline.bench.starts import several
from sightline.bench.worker import Factory
from sightline.models import ServedModel
from sightline.ports import LOOPBACK, Ports, free_port
from sightline.processes import Children
from sightline.ready import wait_serving
from sightline.stack import READY_TIMEOUT_S, join, start_relay, start_server

CALLERS, STARTS = 4, 4
RELAY, SIDECARS = "relay, server", "relay, sidecars, server"
THROUGH_ALL = f"gateway, {SIDECARS}"
SHAPE = "16:9 1280x720"
GOAL_ADDED_MS, GOAL_MESH_MS = 3.0, 1.0  # that relay and server add to one caller's frame, and the mesh alone
GOAL_SHARE = 0.9  # of the engine's rate in process that comes through the sidecars


def run(model: ServedModel, logs: Path, rounds: int, frames: int, console: Console) -> list[Row]:
    """Start the stack, STARTS times; measure all ways to its engine in turns, and print."""
    images = jpegs(SIZES_WH[SHAPE])

    @contextmanager
    def services() -> Iterator[dict[str, Factory]]:
        with ways(model, logs) as found:
            last = found[THROUGH_ALL]
            assert isinstance(last, Relay)
            yield {**found, "the same, Python's gRPC client": RelayByPython(last)}

    one, many = several(STARTS, in_process(model), services, (1, CALLERS), images, rounds, frames)
    first = next(iter(one))
    rows = [row(way, (one[way], many[way]), (one[first], many[first])) for way in one]
    console.print(table(rows, len(images[0])))
    cost = measure(frame_bytes=len(images[0]))
    console.print(mesh_alone(cost))
    for line in goals(rows, cost):
        console.print(line)
    return rows


def goals(rows: list[Row], cost: MeshCost) -> list[str]:
    """A line for each goal, and whether it is met."""
    by = {row.way: row for row in rows}
    added_ms, share = by[RELAY].added_ms, by[SIDECARS].share
    return [
        f"relay and server add {added_ms:.2f} ms: goal {GOAL_ADDED_MS:g}, {met(added_ms <= GOAL_ADDED_MS)}",
        f"the mesh adds {cost.added_ms:.2f} ms: goal {GOAL_MESH_MS:g}, {met(cost.added_ms <= GOAL_MESH_MS)}",
        f"{100 * share:.0f} % through the sidecars: goal {100 * GOAL_SHARE:.0f}, {met(share >= GOAL_SHARE)}",
    ]


def in_process(model: ServedModel) -> dict[str, Factory]:
    """The engine by itself."""
    return {"in process": Ours(model.base / str(model.version))}


@contextmanager
def ways(model: ServedModel, logs: Path) -> Iterator[dict[str, Factory]]:
    """The ways to the engine through a server, a relay, and a second relay in the mesh, which a camera reaches straight
    or by the gateway. They run on free ports meanwhile. On the cores that the stack runs on a client's own work would
    count as the stack's: the callers cost next to nothing."""
    with Children(logs) as children, ExitStack() as stack:
        server = free_port()
        start_server(children, "server", model, server)
        wait_serving(f"{LOOPBACK}:{server}", READY_TIMEOUT_S, children.check)
        yield {
            "server": Server(f"{LOOPBACK}:{server}"),
            RELAY: Relay(start_relay(children, f"{LOOPBACK}:{server}", _free_ports())),
            **_meshed(children, stack, server),
        }


def mesh_alone(cost: MeshCost) -> str:
    """What the hops of the mesh cost where no model keeps the cores busy and the caches full."""
    return (
        f"The mesh alone, between servers that do nothing: {cost.added_ms:+.2f} ms at p50 "
        f"(Predict {cost.predict_direct_ms:.2f} -> {cost.predict_mesh_ms:.2f}, "
        f"stream {cost.stream_direct_ms:.2f} -> {cost.stream_mesh_ms:.2f})"
    )


def _meshed(children: Children, stack: ExitStack, server: int) -> dict[str, Relay]:
    """Two ways to a relay in istio/base, with mTLS from it to the server: straight, as from inside the cluster, and
    through the gateway, with TLS and token, and mTLS there too. v1 and v2 are the same server."""
    address = Address(LOOPBACK, server)
    ports = _free_ports()
    with_mesh = join(
        children, {"v1": [address], "v2": [address]}, ports, [], lambda _: None, relay_name="relay-in-mesh"
    )
    entrance = stack.enter_context(with_mesh)
    assert entrance.security.token_of is not None
    tokens = {camera: entrance.security.token_of(camera) for camera in cameras(CALLERS)}
    return {
        SIDECARS: Relay(f"{LOOPBACK}:{ports.relay_port}"),
        THROUGH_ALL: Relay(entrance.address, entrance.security.ca, tokens),
    }


def _free_ports() -> Ports:
    return Ports(*(free_port() for _ in fields(Ports)))


def table(rows: list[Row], image_bytes: int) -> Table:
    """All figures of each way."""
    out = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    out.title = f"JPEG of {image_bytes // 1000} KB, 1280x720, to boxes: one caller, and {CALLERS} callers"
    titles = ("way", "p50 ms", "p99 ms", "added ms", f"{CALLERS} callers/s", "share")
    for title in titles:
        out.add_column(title, justify="left" if title == "way" else "right", no_wrap=True)
    for one in rows:
        out.add_row(
            one.way, f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.added_ms:+.2f}",
            f"{one.many_per_s:.1f}", f"{100 * one.share:.0f} %",
        )  # fmt: skip
    return out
