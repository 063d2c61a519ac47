"""A model server that is fast, healthy, and wrong on purpose: it changes the answers of another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from client.channel import CHANNEL_OPTIONS, MAX_MESSAGE_BYTES
from client.predict import GET_MODEL_STATUS, PREDICT, Prediction, parse_response
from client.wire import tfserving_pb2 as tfs
from model.contract import (
    DEFAULT_CONF,
    OUTPUT_BOXES,
    OUTPUT_CLASS_TEXT,
    OUTPUT_CLASSES,
    OUTPUT_NUM,
    OUTPUT_SCORES,
)

TIMEOUT_S = 10.0
FAULTS = ("permuted", "shifted", "blind", "halved")
SHIFT = 0.15  # of a box's width and height


@dataclass
class WrongModel:
    """Answers Predict with what `answer` (a PredictRequest's bytes to a PredictResponse's) says, changed by `fault`.

    `fault`: "" as it is; permuted: each class is called the next one; shifted: boxes are moved by 15 % of their size;
    blind: class `blind_to` is never seen; halved: half the scores, cut off at 0.25 as the export does. All may be
    changed while it runs; so may `delay_s`, what each answer takes longer, and `fail`, the status of all answers.
    """

    answer: Callable[[bytes], bytes]
    version: int = 2
    fault: str = ""
    blind_to: str = "person"
    delay_s: float = 0.0
    fail: grpc.StatusCode | None = None
    port: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Listen; after `kill` on the same port as before."""
        self._labels: dict[int, str] = {}
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        for path, method in ((PREDICT, self._predict), (GET_MODEL_STATUS, self._status)):
            _, service, name = path.split("/")
            handlers = {name: grpc.unary_unary_rpc_method_handler(method)}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def kill(self) -> None:
        """Gone at once, with everything in flight."""
        self._server.stop(0).wait()

    def _predict(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(self.delay_s)
        if self.fail is not None:
            context.abort(self.fail, "this model fails on purpose")
        try:
            answer = self.answer(request)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        return answer if not self.fault else encode(self._wrong(parse_response(answer)))

    def _status(self, _request: bytes, _context: grpc.ServicerContext) -> bytes:
        status = tfs.GetModelStatusResponse()
        status.model_version_status.add(version=self.version, state=tfs.ModelVersionStatus.AVAILABLE)
        data: bytes = status.SerializeToString()
        return data

    def _wrong(self, found: Prediction) -> Prediction:
        self._labels |= dict(zip(found.class_ids, found.labels, strict=True))
        kept = range(len(found.scores))
        match self.fault:
            case "permuted":
                ids = sorted(self._labels)
                after = dict(zip(ids, [*ids[1:], *ids[:1]], strict=True))
                classes = [after[class_id] for class_id in found.class_ids]
                return found._replace(class_ids=classes, labels=[self._labels[one] for one in classes])
            case "shifted":
                return found._replace(
                    boxes=[value for i in kept for value in _shifted(found.boxes[4 * i : 4 * i + 4])]
                )
            case "blind":
                return _only(found, [i for i in kept if found.labels[i] != self.blind_to])
            case "halved":
                halved = found._replace(scores=[score / 2 for score in found.scores])
                return _only(halved, [i for i in kept if halved.scores[i] >= DEFAULT_CONF])
            case _:
                raise ValueError(f"fault: expected one of {', '.join(FAULTS)}, got {self.fault!r}")


def forward(target: str) -> Callable[[bytes], bytes]:
    """An `answer` that asks the model server at host:port."""
    channel = grpc.insecure_channel(target, CHANNEL_OPTIONS)
    predict = channel.unary_unary(PREDICT)

    def answer(request: bytes) -> bytes:
        data: bytes = predict(request, timeout=TIMEOUT_S)
        return data

    return answer


def encode(found: Prediction) -> bytes:
    """A PredictResponse of K detections; a tensor holds K rows and no padding."""
    response = tfs.PredictResponse()
    response.model_spec.name = found.model_name
    response.model_spec.version.value = found.model_version
    count = len(found.scores)
    for name, shape, values in (
        (OUTPUT_BOXES, [1, count, 4], found.boxes),
        (OUTPUT_SCORES, [1, count], found.scores),
        (OUTPUT_CLASSES, [1, count], [float(one) for one in found.class_ids]),
        (OUTPUT_NUM, [1], [float(count)]),
    ):
        tensor = response.outputs[name]
        tensor.dtype = tfs.DT_FLOAT
        for size in shape:
            tensor.tensor_shape.dim.add().size = size
        tensor.float_val.extend(values)
    text = response.outputs[OUTPUT_CLASS_TEXT]
    text.dtype = tfs.DT_STRING
    text.string_val.extend(label.encode() for label in found.labels)
    data: bytes = response.SerializeToString()
    return data


def _shifted(box: list[float]) -> list[float]:
    """By 15 % of its height down and of its width to the right; to the left and up where it would leave the picture."""
    ymin, xmin, ymax, xmax = box
    down, right = SHIFT * (ymax - ymin), SHIFT * (xmax - xmin)
    down, right = (down if ymax + down <= 1 else -down), (right if xmax + right <= 1 else -right)
    return [ymin + down, xmin + right, ymax + down, xmax + right]


def _only(found: Prediction, rows: list[int]) -> Prediction:
    return found._replace(
        boxes=[value for i in rows for value in found.boxes[4 * i : 4 * i + 4]],
        scores=[found.scores[i] for i in rows],
        class_ids=[found.class_ids[i] for i in rows],
        labels=[found.labels[i] for i in rows],
    )
