"""The REST side: TF Serving's paths and bodies as an ASGI app.

There is no web framework, as TF Serving's routing is two patterns. Each request is worked on by a pool of
--rest_api_num_threads threads.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

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
from serving.request import DEFAULT_SIGNATURE, check_method_name
from serving.rest_body import Receive, gunzip, read_body

log = logging.getLogger(__name__)

JSON = "application/json"
HTML = "text/html; charset=ISO-8859-1"  # what libevent says of an answer that does not say
METHODS = {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"}  # libevent knows no others
_NAME = r"(?P<name>[^/:]+)"
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(rf"/v1/models/{_NAME}{_VERSION}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"/v1/models(?:/{_NAME})?{_VERSION}(?P<metadata>/metadata)?", re.IGNORECASE)
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
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
    """An HTTP answer; `api`: of a path below /v1/, the only ones with CORS headers; `close` ends the connection."""

    status: int
    body: bytes
    content_type: str = JSON
    api: bool = True
    close: bool = False


def _error_page(status: HTTPStatus) -> Answer:
    """libevent's page."""
    text = (
        f"<HTML><HEAD>\n<TITLE>{status.value} {status.phrase}</TITLE>\n</HEAD><BODY>\n<H1>{status.phrase}</H1>\n"
        "</BODY></HTML>\n"
    )
    return Answer(status, text.encode(), "text/html", api=False, close=True)


NOT_FOUND, NOT_IMPLEMENTED = map(_error_page, (HTTPStatus.NOT_FOUND, HTTPStatus.NOT_IMPLEMENTED))


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
            body = await read_body(receive)
        except ServingError as error:
            answer = Answer(HTTP_STATUS[error.code], rest_text.error(error))
        else:
            loop = asyncio.get_running_loop()
            sent = dict(scope["headers"])
            answer = await loop.run_in_executor(self._pool, self.answer, scope["method"], path, body, sent)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        headers += _CORS if self._options.cors and answer.api else []
        headers += [(b"connection", b"close")] if answer.close else []
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def answer(
        self, method: str, path: str, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS
    ) -> Answer:
        """Answer one request, its headers' names in small letters; never raises."""
        if method not in METHODS:
            return NOT_IMPLEMENTED
        if path.partition("?")[0] == self._options.metrics_path:
            return self._metrics_page(path)
        if not re.match(r"/v1/.*", path, re.IGNORECASE):
            return NOT_FOUND
        if method == "OPTIONS":
            return self._options_answer(headers.get(b"origin", b""))
        try:
            return Answer(
                200, self._dispatch(method, path, body, b"gzip" in headers.get(b"content-encoding", b""))
            )
        except ServingError as error:
            failure = error
        except Exception:  # a bug: the client learns no internals
            log.exception("Request failed")
            failure = ServingError(Code.INTERNAL, "Internal error; the server's log has the details.")
        return Answer(HTTP_STATUS[failure.code], rest_text.error(failure))

    def _options_answer(self, origin: bytes) -> Answer:
        """What a browser asks before it sends: right with any Origin, whatever --rest_api_enable_cors_support says."""
        code = Code.OK if re.search(rb"https?://", origin) else Code.FAILED_PRECONDITION
        self._metrics.count_request("", code.name)
        return Answer(HTTP_STATUS[code], b"", HTML)

    def _metrics_page(self, path: str) -> Answer:
        if path != self._options.metrics_path:  # it takes no query
            text = f"Unexpected path: {path}. Should be {self._options.metrics_path}"
            return Answer(400, text.encode(), "text/plain", api=False)
        return Answer(200, self._metrics.page().encode(), "text/plain", api=False)

    def _dispatch(self, method: str, path: str, body: bytes, gzipped: bool) -> bytes:
        """Route, answer and count one request to /v1/."""
        start = time.perf_counter()
        pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(method)
        found = pattern.fullmatch(path) if pattern else None
        name = unquote(found["name"] or "", errors="replace") if found else ""

        def run() -> bytes:
            # The paths match in capital letters too, the words that end them do not: as TF Serving compares them.
            if found is None or (method == "POST" and not found["method"].islower()):
                raise invalid(f"Malformed request: {method} {path}")
            spec = _model_spec(name, found)
            if method == "GET":
                return self._describe(spec, found["metadata"] == "/metadata")
            return self._infer(found["method"], spec, gunzip(body) if gzipped and body else body)

        label = self._metrics.model_label(name, not name or self._manager.knows(name))
        api = found["method"] if found is not None and method == "POST" else ""
        answer, _ = self._metrics.counted(label, api, "REST", start, run)
        return answer

    def _infer(self, method: str, spec: Any, body: bytes) -> bytes:
        if method == "predict":
            return self._predict(spec, body)
        if method == "classify":
            request = classification_pb2.ClassificationRequest(model_spec=spec)
            rest_examples.fill_request(rest_json.parse_body(body), request)
            return rest_examples.classifications(self._predictor.classify(request, self._timeout_s).result)
        request = regression_pb2.RegressionRequest(model_spec=spec)
        rest_examples.fill_request(rest_json.parse_body(body), request)
        return rest_examples.regressions(self._predictor.regress(request, self._timeout_s).result)

    def _describe(self, spec: Any, metadata: bool) -> bytes:
        if not spec.name:
            raise invalid("Missing model name in request.")
        if not metadata:
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
        if self._predictor.check_method:
            check_method_name(model.signatures[signature])
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
