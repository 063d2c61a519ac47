"""The REST side: TF Serving's paths and bodies as an ASGI app, run by uvicorn on a thread of its own.

uvicorn (with httptools) reads HTTP; there is no web framework, as TF Serving's routing is two patterns.
Each request is worked on by a pool of --rest_api_num_threads threads.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import uvicorn
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from serving import info, rest_examples, rest_json, rest_text
from serving.errors import HTTP_STATUS, Code, ServingError, invalid
from serving.metrics import Metrics
from serving.predict import Predictor
from serving.request import DEFAULT_SIGNATURE
from serving.rest_body import Receive, read_body

log = logging.getLogger(__name__)

JSON = "application/json"
_NAME = r"(?P<name>[^/:]+)"
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(rf"/v1/models/{_NAME}{_VERSION}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"/v1/models(?:/{_NAME})?{_VERSION}(?P<metadata>/metadata)?", re.IGNORECASE)
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class RestOptions:
    """`metrics_path` is None when metrics are off."""

    threads: int
    timeout_s: float
    cors: bool = False
    metrics_path: str | None = None


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str = JSON


NOT_FOUND = Answer(  # libevent's page
    404,
    b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n",
    "text/html",
)


class RestApp:
    """The ASGI app."""

    def __init__(self, options: RestOptions, predictor: Predictor, metrics: Metrics) -> None:
        self._options = options
        self._timeout_s = options.timeout_s if options.timeout_s > 0 else None
        self._predictor = predictor
        self._manager = predictor.manager
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(options.threads, "rest")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        path = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        try:
            body = await read_body(receive, dict(scope["headers"]).get(b"content-encoding", b""))
        except ServingError as error:
            answer = Answer(HTTP_STATUS[error.code], rest_text.error(error))
        else:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._pool, self.answer, scope["method"], path, body)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        headers += _CORS if self._options.cors and answer.content_type == JSON else []
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request; never raises."""
        if path.partition("?")[0] == self._options.metrics_path:
            return self._metrics_page(path)
        if not re.match(r"/v1/.*", path, re.IGNORECASE):
            return NOT_FOUND
        if self._options.cors and method == "OPTIONS":
            return Answer(200, b"")
        try:
            return Answer(200, self._dispatch(method, path, body))
        except ServingError as error:
            failure = error
        except Exception:  # a bug: the client learns no internals
            log.exception("Request failed")
            failure = ServingError(Code.INTERNAL, "Internal error; the server's log has the details.")
        return Answer(HTTP_STATUS[failure.code], rest_text.error(failure))

    def _metrics_page(self, path: str) -> Answer:
        if path != self._options.metrics_path:  # it takes no query
            text = f"Unexpected path: {path}. Should be {self._options.metrics_path}"
            return Answer(400, text.encode(), "text/plain")
        return Answer(200, self._metrics.page().encode(), "text/plain")

    def _dispatch(self, method: str, path: str, body: bytes) -> bytes:
        """Route, answer and count one request to /v1/."""
        pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(method)
        found = pattern.fullmatch(path) if pattern else None
        # The paths match in capital letters too, the words that end them do not: as TF Serving compares them.
        if found is None or (method == "POST" and not found["method"].islower()):
            raise invalid(f"Malformed request: {method} {path}")
        api = (
            found["method"]
            if method == "POST"
            else "GetModelMetadata"
            if found["metadata"] == "/metadata"
            else "GetModelStatus"
        )
        name = unquote(found["name"] or "", errors="replace")
        label = self._metrics.model_label(name, self._manager.knows(name))
        start = time.perf_counter()
        answer, _ = self._metrics.counted(
            label, api, "REST", start, lambda: self._call(api, _model_spec(name, found), body)
        )
        return answer

    def _call(self, api: str, spec: Any, body: bytes) -> bytes:
        if api == "predict":
            return self._predict(spec, body)
        if api == "classify":
            request = classification_pb2.ClassificationRequest(model_spec=spec)
            rest_examples.fill_request(rest_json.parse_body(body), request)
            return rest_examples.classifications(self._predictor.classify(request, self._timeout_s).result)
        if api == "regress":
            request = regression_pb2.RegressionRequest(model_spec=spec)
            rest_examples.fill_request(rest_json.parse_body(body), request)
            return rest_examples.regressions(self._predictor.regress(request, self._timeout_s).result)
        if not spec.name:
            raise invalid("Missing model name in request.")
        if api == "GetModelStatus":
            request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
            return rest_text.status(info.model_status(self._manager, request))
        wanted = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=[info.SIGNATURE_DEF]
        )
        return rest_text.metadata(info.model_metadata(self._manager, wanted))

    def _predict(self, spec: Any, body: bytes) -> bytes:
        document = rest_json.parse_body(body)
        asked = rest_json.signature_name(document)
        signature = asked or DEFAULT_SIGNATURE
        _, model = self._manager.find(spec)
        if signature not in model.signatures:
            raise invalid(f'Serving signature name: "{signature}" not found in signature def')
        infos = model.signatures[signature].inputs
        if not infos:
            raise invalid(f"Failed to get input map for signature: {asked or 'DEFAULT'}")
        inputs, layout = rest_json.parse_inputs(document, infos)
        results = self._predictor.run(model, spec.name, signature, inputs, [], self._timeout_s)
        return rest_text.predictions(results, layout)


def _model_spec(name: str, found: re.Match[str]) -> Any:
    """The ModelSpec that a path names."""
    spec = model_pb2.ModelSpec(name=name)
    if found["version"]:
        number = int(found["version"]) if len(found["version"]) < 25 else 1 << 64
        if number >= 1 << 63:
            raise invalid(f"Failed to convert version: {found['version']} to numeric.")
        spec.version.value = number
    if found["label"]:
        spec.version_label = unquote(found["label"], errors="replace")
    return spec


class RestServer:
    """uvicorn on its own thread."""

    def __init__(self, app: RestApp) -> None:
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=1024,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket; returns once it accepts."""
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="rest", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def begin_stop(self, grace_s: float) -> None:
        """Take no new requests; those in flight may go on for `grace_s` seconds. Returns at once."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._server.should_exit = True

    def join(self, timeout_s: float) -> None:
        """Wait until the requests in flight are answered."""
        if self._thread is not None:
            self._thread.join(timeout_s)
