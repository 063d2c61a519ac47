"""TF Lite: `model.tflite` in a version's folder, served by --prefer_tflite_model behind the methods of sessions.Model.

Signatures are what TF Serving's TfLiteSession finds: SignatureDefs in the file's metadata, else one
`serving_default` made from the tensors' names.
"""

from __future__ import annotations

import os
import queue
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import interpreter as lite
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.python.framework import dtypes
from tensorflow.python.lib.io import file_io
from tensorflow.python.platform import gfile

from serving.errors import Code, ServingError, invalid
from serving.gently import gently
from serving.tensors import dtype_of

FILE = "model.tflite"
_SIGNATURES = (
    b"signature_defs_metadata"  # the metadata's name; its value is a FlexBuffer map of SignatureDefs
)
_PREDICT = "tensorflow/serving/predict"
_MAX_DIMS = 6  # XNNPACK's limit, which it does not check: one more crashes the process


def exists(path: str) -> bool:
    """Whether the version's folder `path` holds a TF Lite model."""
    return bool(file_io.file_exists_v2(os.path.join(path, FILE)))


def load(path: str, interpreters: int) -> LiteModel:
    """The TF Lite model in the version's folder `path`; `interpreters` calls can run at once. Raises ServingError."""
    with gfile.GFile(os.path.join(path, FILE), "rb") as file:
        content = file.read()
    try:
        pool = [Interpreter(content) for _ in range(max(1, interpreters))]
    except ValueError as error:  # no FlatBuffer, or an op that is not built in
        kind = invalid if "Flatbuffer" in str(error) else _internal
        text = "FlatBufferModel" if kind is invalid else "Interpreter"
        raise kind(f"Cannot build {text} from buffer. {error}") from None
    return LiteModel(path, _signatures(content, pool[0]), pool)


def _internal(text: str) -> ServingError:
    return ServingError(Code.INTERNAL, text)


def _signatures(content: bytes, interpreter: Interpreter) -> dict[str, Any]:
    """SignatureDef by name, their tensors' names as the interpreter has them; raises ServingError."""
    found = _signatures_in_file(content)
    if not found:
        found["serving_default"] = made = meta_graph_pb2.SignatureDef(method_name=_PREDICT)
        for infos, known in ((made.inputs, interpreter.inputs), (made.outputs, interpreter.outputs)):
            for name, detail in known.items():
                infos[_short(name)].CopyFrom(_tensor_info(detail))
        return found
    for signature in found.values():
        _fix_names("input", signature.inputs, interpreter.inputs)
        _fix_names("output", signature.outputs, interpreter.outputs)
    return found


def _fix_names(kind: str, infos: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Give each TensorInfo the name that the interpreter's tensor has; raises ServingError when there is none."""
    for alias in infos:
        name = infos[alias].name
        if name not in known and _short(name) not in known:
            text = f"Unknown tensor '{name}'.\n\tSignature {kind} {alias} references an unknown tensor"
            raise _internal(text)
        infos[alias].name = name if name in known else _short(name)


def _signatures_in_file(content: bytes) -> dict[str, Any]:
    """The SignatureDefs in the model's metadata; raises ServingError when they cannot be read."""
    model = schema.Model.GetRootAsModel(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() != _SIGNATURES:
            continue
        try:
            entries = flexbuffers.GetRoot(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()).AsMap
            return {
                key.AsKey: meta_graph_pb2.SignatureDef.FromString(_bytes(value))
                for key, value in zip(entries.Keys, entries.Values, strict=True)
            }
        except Exception as error:  # of many kinds, from the bytes of a foreign file
            raise invalid(f"Invalid SignatureDefs found in TfLite model: {error}") from None
    return {}


def _bytes(value: Any) -> bytes:
    """A FlexBuffer string's bytes: a serialized message, which `AsString` would read as UTF-8."""
    return bytes(flexbuffers.String(value._Indirect(), value._byte_width).Bytes)


def _short(name: str) -> str:
    """`x:0` to `x`, as early converters named tensors."""
    return name.partition(":")[0]


def _numpy_dtype(detail: Mapping[str, Any]) -> np.dtype[Any]:
    return np.dtype(object if detail["dtype"] in (np.bytes_, np.str_) else detail["dtype"])


def _tensor_info(detail: Mapping[str, Any]) -> Any:
    info = meta_graph_pb2.TensorInfo(name=detail["name"], dtype=dtype_of(np.empty(0, _numpy_dtype(detail))))
    info.tensor_shape.SetInParent()
    for size in detail["shape"].tolist():
        info.tensor_shape.dim.add(size=size)
    return info


class Interpreter:
    """One interpreter and the shapes that its inputs have now. For one call at a time."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._start()
        self.inputs = {detail["name"]: detail for detail in self._lite.get_input_details()}
        self.outputs = {detail["name"]: detail for detail in self._lite.get_output_details()}

    def _start(self) -> None:
        with warnings.catch_warnings():  # TensorFlow says that this class will move to another package
            warnings.simplefilter("ignore")
            self._lite = lite.Interpreter(model_content=self._content, num_threads=1)
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, fed: Mapping[str, NDArray[Any]], fetched: Sequence[str]) -> list[NDArray[Any]]:
        """Arrays by tensor name in, those of `fetched` out; raises ServingError."""
        for name, array in fed.items():
            expected = _numpy_dtype(self.inputs[name])
            if array.dtype != expected:
                raise invalid(
                    f"Expects {name} to be {_shown(expected)} but {_shown(array.dtype)} is provided"
                )
            if array.ndim > _MAX_DIMS:
                raise _internal(f"Failed to resize input tensor: {name} to {array.ndim} dimensions")
        doing = "allocate tensors"
        try:
            self._allocate({name: array.shape for name, array in fed.items()})
            doing = "invoke TfLite interpreter"
            for name, array in fed.items():
                self._lite.set_tensor(self.inputs[name]["index"], array)
            self._lite.invoke()
            return [np.asarray(self._lite.get_tensor(self.outputs[name]["index"])) for name in fetched]
        except (RuntimeError, ValueError, OverflowError) as error:
            self._start()  # one that failed can crash the process when it is used again
            raise _internal(f"Failed to {doing}: {error}") from None

    def _allocate(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        for name, shape in shapes.items():
            self._lite.resize_tensor_input(self.inputs[name]["index"], shape)
        self._lite.allocate_tensors()
        self._shapes = shapes


def _shown(dtype: np.dtype[Any]) -> str:
    """A dtype as TensorFlow writes it in errors."""
    return str(dtypes.as_dtype(dtype).name).replace("float32", "float").replace("float64", "double")


class LiteModel:
    """A loaded TF Lite model: the same methods, and the same errors, as sessions.Model."""

    def __init__(self, path: str, signatures: Mapping[str, Any], interpreters: Sequence[Interpreter]) -> None:
        self.path = path
        self.signatures = signatures
        self._count = len(interpreters)
        self._free: queue.SimpleQueue[Interpreter] = queue.SimpleQueue()
        for interpreter in interpreters:
            self._free.put(interpreter)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """See Model.run; `timeout_s` bounds the wait for a free interpreter, not the run, as in TF Serving."""
        definition = self.signatures[signature]
        aliases = list(outputs or sorted(definition.outputs))
        fed = {definition.inputs[alias].name: array for alias, array in inputs.items()}
        try:
            interpreter = self._free.get(timeout=timeout_s)
        except queue.Empty:
            text = "Deadline passed while the request waited for a free interpreter."
            raise ServingError(Code.DEADLINE_EXCEEDED, text) from None
        try:
            results = interpreter.run(fed, [definition.outputs[alias].name for alias in aliases])
        finally:
            self._free.put(interpreter)
        return dict(zip(aliases, results, strict=True))

    def warm(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        beside_serving: bool = False,
    ) -> None:
        """Run once on every interpreter: they take turns; gently if `beside_serving`."""
        for _ in range(self._count):
            gently(lambda: self.run(signature, inputs, outputs), beside_serving)
