"""tensorflow.ProfilerService: what `tf.profiler.experimental.client.trace` and TensorBoard ask a server for.

A profile is written by the server, to the folder that the client names, as TF Serving does.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from tensorflow.python.framework import errors
from tensorflow.python.lib.io import file_io
from tensorflow.python.platform import gfile
from tensorflow.python.profiler.internal import _pywrap_profiler

from serving import profiler_pb2
from serving.errors import Code, ServingError, invalid
from serving.servicer import parse

SERVICE = "tensorflow.ProfilerService"
MAX_DURATION_MS = 60_000  # events are kept in memory until the end
_TICK_S = 0.02  # how soon the end of a call, or Terminate, is noticed


class Profiler:
    """The service's methods: request bytes in, messages out (or ServingError)."""

    def __init__(self) -> None:
        self._running: dict[str, threading.Event] = {}

    def profile(self, data: bytes, context: Any) -> Any:
        """Profile: collect for duration_ms, write `<root>/<session>/<host>.xplane.pb`."""
        request = parse(profiler_pb2.ProfileRequest, data)
        if not request.repository_root or not request.session_id:
            raise invalid("A profile needs repository_root and session_id, which say where to write it.")
        if not 0 < request.duration_ms <= MAX_DURATION_MS:
            raise invalid(f"A profile takes 1 to {MAX_DURATION_MS} ms; got {request.duration_ms}.")
        collected = self._collect(request, context)
        folder = f"{request.repository_root}/{request.session_id}"
        try:
            file_io.recursive_create_dir_v2(folder)
            with gfile.GFile(f"{folder}/{request.host_name.replace(':', '_')}.xplane.pb", "wb") as file:
                file.write(collected)
        except errors.OpError as error:
            raise ServingError(Code(error.error_code), error.message) from None
        return profiler_pb2.ProfileResponse(empty_trace=not collected)

    def _collect(self, request: Any, context: Any) -> bytes:
        """The XSpace of what this process does until the time is over, or Terminate is called."""
        session = _pywrap_profiler.ProfilerSession()
        levels = {field.name: value for field, value in request.opts.ListFields()}
        try:
            session.start("", levels)
        except errors.OpError as error:  # another one is running
            raise ServingError(Code.INTERNAL, error.message) from None
        stop = self._running.setdefault(request.session_id, threading.Event())
        try:
            end = time.monotonic() + request.duration_ms / 1000
            while context.is_active() and time.monotonic() < end and not stop.wait(_TICK_S):
                pass
        finally:
            self._running.pop(request.session_id, None)
            collected: bytes = session.stop()
        if not context.is_active():
            raise ServingError(Code.CANCELLED, "The client cancelled the call.")
        return collected

    def terminate(self, data: bytes, _: Any) -> Any:
        """Terminate: end the profile of this session_id now."""
        stop = self._running.get(parse(profiler_pb2.TerminateRequest, data).session_id)
        if stop is not None:
            stop.set()
        return profiler_pb2.TerminateResponse()

    def monitor(self, _: bytes, __: Any) -> Any:
        """Monitor, which open-source TensorFlow has no answer for either."""
        raise ServingError(Code.UNIMPLEMENTED, "unimplemented.")
