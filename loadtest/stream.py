"""A camera that sends at a fixed rate, whatever comes back (an open model), and notes what became of each frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from client.wire import relay_pb2 as pb
from mesh.run import Mesh
from mesh.stack import GATEWAY_PORT

DETECT = "/sightline.v1.Relay/Detect"
DRAIN_S = 5.0


@dataclass(slots=True)
class Seen:
    """One frame: captured at `captured_s` (monotonic); `outcome` delivered, dropped, error, or "" for no result."""

    captured_s: float
    outcome: str = ""
    age_ms: float = 0.0
    version: int = 0


class PacedCamera:
    """One stream through the mesh's gateway, with a token of its own, `fps` frames of `frame_bytes` a second."""

    def __init__(self, mesh: Mesh, name: str, fps: float, frame_bytes: int, max_age_ms: int) -> None:
        assert mesh.topology.gateway is not None
        self._name, self._fps, self._max_age_ms = name, fps, max_age_ms
        self._image = b"\xff\xd8" + bytes(frame_bytes - 2)
        self._frames: list[Seen] = []
        self._stop = threading.Event()
        credentials = grpc.ssl_channel_credentials(mesh.ca_file.read_bytes())
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.secure_channel(
            str(mesh.topology.gateway.listen[GATEWAY_PORT]), credentials, options
        )
        self._token = mesh.issuer.token(name)
        self._thread = threading.Thread(target=self._receive, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> list[Seen]:
        """Send no more, wait for what is still out, and give all frames. A frame without a result keeps "" ."""
        self._stop.set()
        self._thread.join(DRAIN_S)
        self._channel.close()
        self._thread.join()
        return self._frames

    def _send(self) -> Iterator[bytes]:
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            seen = Seen(time.monotonic())
            self._frames.append(seen)
            yield pb.Frame(
                camera_id=self._name,
                frame_id=len(self._frames) - 1,
                capture_time_unix_ns=time.time_ns(),
                max_age_ms=self._max_age_ms,
                image=self._image,
            ).SerializeToString()
            due_s += 1 / self._fps

    def _receive(self) -> None:
        metadata = (("authorization", f"Bearer {self._token}"),)
        call = self._channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        try:
            for result in call(self._send(), metadata=metadata):
                seen = self._frames[result.frame_id]
                seen.outcome = str(result.WhichOneof("outcome"))
                seen.age_ms = (time.monotonic() - seen.captured_s) * 1e3
                seen.version = result.delivered.model_version
        except grpc.RpcError:
            return  # the frames without a result say so
