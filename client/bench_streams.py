"""Many cameras in one process, at a rate or at full speed, with a connection each or sharing some, as a gateway does.

`python -m client.bench_streams RELAY --streams 1000 --fps 2` prints what came back as a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import cast

from client import http2
from client.channel import split_address
from client.http2_client import Connection
from client.relayed import DETECT
from client.tally import AgeHistogram
from client.wire import relay_pb2 as pb

CAMERAS_AT_ONCE = 50  # that connect; a thousand handshakes at once would be another measurement
WARM_UP_S = 2.0  # at least so long, and until each camera has sent a frame, results do not count
CONNECTED, WARM, OVER = "connected", "warm", "over"


@dataclass
class Outcome:
    """Results of the measured time. Ages in ms, from before a frame is encoded into a message to its result."""

    sent: int = 0
    delivered: int = 0
    dropped: int = 0
    errored: int = 0
    age_p50_ms: float = 0.0
    age_p99_ms: float = 0.0


class _Connection(asyncio.Protocol):
    """One connection to the relay, with the streams of some cameras."""

    def __init__(self, target: str) -> None:
        self._calls = Connection(target, DETECT, "http")
        self._cameras: dict[int, _Camera] = {}  # by stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        self._transport = cast(asyncio.Transport, transport)
        self._write()

    def data_received(self, data: bytes) -> None:
        """Tell the cameras what has come."""
        for kind, stream, payload in self._calls.take_in(data):
            self._cameras[stream].take_in(kind, payload)
        self._write()

    def open(self, camera: _Camera) -> int:
        """A stream of this camera."""
        stream = self._calls.open()
        self._cameras[stream] = camera
        self._write()
        return stream

    def send(self, stream: int, message: bytes, *, last: bool = False) -> None:
        """Send a Frame, framed as gRPC's message; or nothing, but that none follows."""
        self._calls.send(stream, message, last=last)
        self._write()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _write(self) -> None:
        if self._calls.out:
            out, self._calls.out = self._calls.out, []
            self._transport.writelines(out)


class _Camera:
    """A camera that sends frames, at its rate or as results of the ones before come, and counts what comes back."""

    def __init__(self, number: int, load: Load) -> None:
        self.connected, self.over = asyncio.Event(), asyncio.Event()
        self._load = load
        self._frame = pb.Frame(camera_id=f"camera{number}", image=load.image, wait=bool(load.ahead))
        self._sent_s: dict[int, float] = {}  # by frame_id, of frames without a result

    async def connect(self, connection: _Connection) -> None:
        """Return once the relay has taken the stream."""
        self._connection, self._stream = connection, connection.open(self)
        await self.connected.wait()

    def start(self, due_s: float) -> None:
        """Send the first frame at `due_s`, by the event loop's clock; at full speed the first ones at once."""
        if self._load.ahead:
            for _ in range(self._load.ahead):
                self._send()
        else:
            asyncio.get_running_loop().call_at(due_s, self._send_due, due_s)

    def _send_due(self, due_s: float) -> None:
        if due_s >= self._load.until_s:
            self._end()
        else:
            self._send()
            self.start(due_s + 1 / self._load.fps)

    def _end(self) -> None:
        self._connection.send(self._stream, b"", last=True)

    def _send(self) -> None:
        load, now_s = self._load, time.monotonic()
        self._frame.frame_id += 1
        self._sent_s[self._frame.frame_id] = now_s
        load.outcome.sent += now_s >= load.measured_from_s
        self._connection.send(self._stream, http2.message(self._frame.SerializeToString()))

    def take_in(self, kind: int, payload: bytes) -> None:
        """What the relay sent on this stream."""
        if kind == http2.HEADERS:
            self.connected.set()
        elif kind == http2.RESET:
            self.over.set()
        else:
            self._count(pb.Result.FromString(payload))
            if self._load.ahead:
                self._go_on()

    def _go_on(self) -> None:
        """At full speed each result lets the next frame go."""
        if time.monotonic() < self._load.until_s:
            self._send()
        elif not self._sent_s:
            self._end()

    def _count(self, result: pb.Result) -> None:
        began_s, now_s = self._sent_s.pop(result.frame_id), time.monotonic()
        if began_s < self._load.measured_from_s:
            return
        outcome = self._load.outcome
        outcome.delivered += result.HasField("delivered")
        outcome.dropped += result.HasField("dropped")
        outcome.errored += result.HasField("error")
        if result.HasField("delivered"):
            self._load.ages.add(now_s - began_s)


class Load:
    """`streams` cameras at `fps` frames of `image` each over so many connections; `fps` 0: they are there, silent.

    `ahead`: at full speed in place of a rate, each camera with so many frames under way.

    The cameras cost next to nothing (`client.http2_client`): on a machine of two cores with gRPC's own they, and not
    the relay, would decide how old results are.
    """

    def __init__(
        self, target: str, image: bytes, streams: int, fps: float, connections: int, ahead: int = 0
    ) -> None:
        self.image, self.fps, self.ahead = image, fps, ahead
        self.outcome, self.ages = Outcome(), AgeHistogram()
        self.measured_from_s = self.until_s = 0.0
        self._target, self._streams, self._connections = target, streams, connections

    async def run(self, seconds: float) -> Outcome:
        """Connect all, stream, and count; a word on standard output tells when each part begins, for who measures."""
        cameras = [_Camera(number, self) for number in range(self._streams)]
        connections = await self._connect(cameras)
        # To look for garbage among all these objects would take time from the relay, and there is hardly any.
        gc.freeze()
        gc.disable()
        print(CONNECTED, flush=True)
        warm_up_s = max(WARM_UP_S, 1 / self.fps) if self.fps else WARM_UP_S * bool(self.ahead)
        begin_s = time.monotonic()
        self.measured_from_s = begin_s + warm_up_s
        self.until_s = self.measured_from_s + seconds
        for number, camera in enumerate(cameras):
            camera.start(begin_s + number / self._streams / self.fps if self.fps else self.until_s)
        await asyncio.sleep(warm_up_s)
        print(WARM, flush=True)
        await asyncio.sleep(self.until_s - time.monotonic())
        print(OVER, flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                for camera in cameras:
                    await camera.over.wait()
        for connection in connections:
            connection.close()
        self.outcome.age_p50_ms = self.ages.percentile_s(50) * 1e3
        self.outcome.age_p99_ms = self.ages.percentile_s(99) * 1e3
        return self.outcome

    async def _connect(self, cameras: list[_Camera]) -> list[_Connection]:
        host, port = split_address(self._target, "relay")
        loop, some = asyncio.get_running_loop(), asyncio.Semaphore(CAMERAS_AT_ONCE)
        connections = [
            (await loop.create_connection(lambda: _Connection(self._target), host, port))[1]
            for _ in range(self._connections)
        ]

        async def connect(number: int, camera: _Camera) -> None:
            async with some:
                await camera.connect(connections[number % len(connections)])

        await asyncio.gather(*(connect(number, camera) for number, camera in enumerate(cameras)))
        return connections


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("relay")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--ahead", type=int, default=0)
    parser.add_argument("--image-bytes", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    image, connections = os.urandom(given.image_bytes), given.connections or given.streams
    load = Load(given.relay, image, given.streams, given.fps, connections, given.ahead)
    print(json.dumps(asdict(asyncio.run(load.run(given.seconds)))))
