"""Many cameras in one process at a steady rate, each with a connection of its own or sharing some, as a gateway does.

`python -m client.bench_streams RELAY --streams 1000 --fps 2` prints what came back as a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from dataclasses import asdict, dataclass

import grpc

from client.channel import CHANNEL_OPTIONS
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


class Load:
    """`streams` cameras at `fps` frames of `image` each over so many connections; `fps` 0: they are there, silent."""

    def __init__(self, target: str, image: bytes, streams: int, fps: float, connections: int) -> None:
        self._image, self._fps, self._streams = image, fps, streams
        self._channels = [grpc.aio.insecure_channel(target, CHANNEL_OPTIONS) for _ in range(connections)]
        self._outcome, self._ages = Outcome(), AgeHistogram()
        self._connecting = asyncio.Semaphore(CAMERAS_AT_ONCE)
        self._connected = 0
        self._all_there = asyncio.Event()
        self._measured_from_s = self._until_s = 0.0

    async def run(self, seconds: float) -> Outcome:
        """Connect all, stream, and count; a word on standard output tells when each part begins, for who measures."""
        tasks = [asyncio.ensure_future(self._camera(number)) for number in range(self._streams)]
        await self._all_there.wait()
        # To look for garbage among all these objects would take time from the relay, and there is hardly any.
        gc.freeze()
        gc.disable()
        print(CONNECTED, flush=True)
        warm_up_s = max(WARM_UP_S, 1 / self._fps) if self._fps else 0.0
        self._measured_from_s = time.monotonic() + warm_up_s
        self._until_s = self._measured_from_s + seconds
        await asyncio.sleep(warm_up_s)
        print(WARM, flush=True)
        await asyncio.sleep(self._until_s - time.monotonic())
        print(OVER, flush=True)
        await asyncio.gather(*tasks)
        for channel in self._channels:
            await channel.close()
        self._outcome.age_p50_ms = self._ages.percentile_s(50) * 1e3
        self._outcome.age_p99_ms = self._ages.percentile_s(99) * 1e3
        return self._outcome

    async def _camera(self, number: int) -> None:
        channel = self._channels[number % len(self._channels)]
        async with self._connecting:
            call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)()
            await call.initial_metadata()
        self._connected += 1
        if self._connected == self._streams:
            self._all_there.set()
        await self._all_there.wait()
        sent_s: dict[int, float] = {}
        reader = asyncio.ensure_future(self._read(call, sent_s))
        if self._fps:
            await self._send(call, number, sent_s)
        else:
            await asyncio.sleep(self._until_s - time.monotonic())
        await call.done_writing()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reader, 5)

    async def _send(self, call: grpc.aio.StreamStreamCall, number: int, sent_s: dict[int, float]) -> None:
        period_s = 1 / self._fps
        next_s = time.monotonic() + period_s * number / self._streams
        frame = pb.Frame(camera_id=f"camera{number}", image=self._image)
        while next_s < self._until_s:
            await asyncio.sleep(next_s - time.monotonic())
            frame.frame_id += 1
            sent_s[frame.frame_id] = time.monotonic()
            await call.write(frame.SerializeToString())
            next_s += period_s

    async def _read(self, call: grpc.aio.StreamStreamCall, sent_s: dict[int, float]) -> None:
        outcome = self._outcome
        async for result in call:
            began_s, now_s = sent_s.pop(result.frame_id), time.monotonic()
            if began_s < self._measured_from_s:
                continue
            outcome.sent += 1
            outcome.delivered += result.HasField("delivered")
            outcome.dropped += result.HasField("dropped")
            outcome.errored += result.HasField("error")
            if result.HasField("delivered"):
                self._ages.add(now_s - began_s)


async def _main(
    target: str, streams: int, connections: int, fps: float, image_bytes: int, seconds: float
) -> None:
    load = Load(target, os.urandom(image_bytes), streams, fps, connections or streams)
    print(json.dumps(asdict(await load.run(seconds))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("relay")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--image-bytes", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    asyncio.run(
        _main(given.relay, given.streams, given.connections, given.fps, given.image_bytes, given.seconds)
    )
    sys.stdout.flush()
