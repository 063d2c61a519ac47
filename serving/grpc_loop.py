"""Unary calls of grpcio's server, each handled on the thread that received it.

grpcio's own way (grpc/_server.py) takes a call from the thread that polls to one of a pool, back for the request's
message, and there again: three changes of thread and 550 lines of Python a call. That is little in a tight loop and
a lot after a frame, which leaves nothing of it in the processor's caches. Here threads take turns at polling, as in
gRPC's C++ server: the one that got a request answers it, and another polls meanwhile.

All else (streams, health, reflection, unknown methods, ports, shutdown) stays grpcio's. Its names used here are not
public; pyproject.toml allows the versions that have been tried.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from grpc import _server
from grpc._cython import cygrpc

from serving.errors import Code, ServingError, truncated

log = logging.getLogger(__name__)

Method = Callable[[bytes, "Call"], bytes]
"""A request's bytes to a response's; raises ServingError."""

_EXHAUSTED = ServingError(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
_NO_FLAGS = 0
_POLL_S = 1.0  # how soon a thread that has nothing to do sees that the server has stopped
_Done = tuple[Any, tuple[()]]  # what grpcio's loop takes: the call if it is over, and callbacks


class Call:
    """One call from its arrival to its end; what a method may know of it and say beside its answer."""

    __slots__ = ("_call", "_deadline", "_due", "_ended", "_loop", "_method", "_trailing", "_watched")

    def __init__(self, loop: Loop, event: Any, method: Method) -> None:
        self._loop, self._method = loop, method
        self._call, self._deadline = event.call, event.call_details.deadline
        self._trailing: tuple[tuple[str, str], ...] | None = None
        self._watched = self._ended = False
        self._due = 0  # events to come

    def is_active(self) -> bool:
        """False once the client has cancelled it, or is gone, or its deadline has passed: a moment after the first
        time that it is asked, for only then gRPC is asked too."""
        if not self._watched:
            self._watched = True
            self._begin([cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)], self._on_end)
        return not self._ended

    def time_remaining(self) -> float:
        """Seconds until its deadline, at least 0; 9.2e18 or so when it has none."""
        return max(0.0, float(self._deadline) - time.time())

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Names and values to send after the answer."""
        self._trailing = metadata

    def receive(self) -> None:
        """Ask for its request."""
        self._begin([cygrpc.ReceiveMessageOperation(_NO_FLAGS)], self._on_request)

    def _begin(self, operations: list[Any], then: Callable[[Any], _Done]) -> None:
        with self._loop.lock:
            self._due += 1
        self._call.start_server_batch(operations, then)

    def _on_request(self, event: Any) -> _Done:
        answer = self._loop.run(self._method, event.batch_operations[0].message(), self)
        operations = [cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS)]
        code, details = cygrpc.StatusCode.ok, b""
        if isinstance(answer, ServingError):
            code, details = int(answer.code), truncated(answer.message).encode()
        else:
            operations.append(cygrpc.SendMessageOperation(answer, _NO_FLAGS))
        operations.append(cygrpc.SendStatusFromServerOperation(self._trailing, code, details, _NO_FLAGS))
        if not self._watched:  # gRPC wants it once
            operations.append(cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS))
        self._begin(operations, self._on_event)
        return self._on_event(event)

    def _on_end(self, event: Any) -> _Done:
        self._ended = True
        return self._on_event(event)

    def _on_event(self, _: Any) -> _Done:
        with self._loop.lock:
            self._due -= 1
            return None if self._due else self, ()


class Loop:
    """The threads of a server, which start as they are needed.

    `server`: of grpc.server(), not started. `methods` by path, such as `/package.Service/Method`. `limit`: requests
    handled at once; more are answered RESOURCE_EXHAUSTED.
    """

    def __init__(self, server: grpc.Server, methods: Mapping[str, Method], limit: int) -> None:
        self._state = server._state
        self._methods = {path.encode(): method for path, method in methods.items()}
        self._limit = limit
        self.lock = threading.Lock()
        self._threads = self._running = 0  # how many there are, and how many of them are in a method
        self._turn = threading.Lock()  # to poll: two that do would wake each other for every event
        self._poller = 0  # whose turn it is, 0: nobody's

    def start(self) -> None:
        """As grpc.Server.start()."""
        with self._state.lock:
            self._state.server.start()
            self._state.stage = _server._ServerStage.STARTED
            for path in self._state.registered_method_handlers:  # health's and reflection's
                _server._request_registered_call(self._state, path)
            _server._request_call(self._state)
        with self.lock:
            self._add_thread()

    def run(self, method: Method, request: bytes | None, call: Call) -> bytes | ServingError:
        """The method's answer, or why there is none, while another thread polls."""
        if request is None:
            return ServingError(Code.UNIMPLEMENTED, "The call requires exactly one request message.")
        with self.lock:
            if self._running >= self._limit:
                return _EXHAUSTED
            self._running += 1
            if self._running == self._threads:
                self._add_thread()
        self._end_turn()
        try:
            return method(request, call)
        except ServingError as error:
            return error
        except Exception:  # a bug or a limit (a response above 2 GiB): the client learns no internals
            log.exception("Request failed")
            return ServingError(Code.INTERNAL, "Internal error; the server's log has the details.")
        finally:
            with self.lock:
                self._running -= 1

    def _add_thread(self) -> None:
        """One more. Under the lock."""
        self._threads += 1
        threading.Thread(target=self._serve, name="grpc", daemon=True).start()

    def _end_turn(self) -> None:
        self._poller = 0
        self._turn.release()

    def _serve(self) -> None:
        """Poll in turns with the other threads, and handle what comes, until the server has stopped."""
        state, me = self._state, threading.get_ident()
        while True:
            if self._poller != me:
                self._turn.acquire()
                self._poller = me
            if state.stage is _server._ServerStage.STOPPED:
                return self._end_turn()
            event = state.completion_queue.poll(time.time() + _POLL_S)
            try:
                self._handle(event)
            except Exception:
                log.exception("A call failed")
            event = None  # its call must not outlive it, for then gRPC spins on it

    def _handle(self, event: Any) -> None:
        state = self._state
        if event.completion_type == cygrpc.CompletionType.queue_timeout:
            if state.server_deallocated:
                _server._begin_shutdown_once(state)
        elif (
            event.tag is _server._REQUEST_CALL_TAG
            and event.success
            and event.call_details.method in self._methods
        ):
            call = Call(self, event, self._methods[event.call_details.method])
            with state.lock:
                state.rpc_states.add(call)
                if state.stage is _server._ServerStage.STARTED:
                    state.server.request_call(state.completion_queue, state.completion_queue, event.tag)
                else:
                    state.due.remove(event.tag)
            call.receive()
        else:
            _server._process_event_and_continue(state, event)
