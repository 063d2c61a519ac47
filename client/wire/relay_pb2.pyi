from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("camera_id", "frame_id", "capture_time_unix_ns", "age_us", "max_age_ms", "image", "wait", "source")
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    AGE_US_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    camera_id: str
    frame_id: int
    capture_time_unix_ns: int
    age_us: int
    max_age_ms: int
    image: bytes
    wait: bool
    source: Source
    def __init__(self, camera_id: _Optional[str] = ..., frame_id: _Optional[int] = ..., capture_time_unix_ns: _Optional[int] = ..., age_us: _Optional[int] = ..., max_age_ms: _Optional[int] = ..., image: _Optional[bytes] = ..., wait: _Optional[bool] = ..., source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("state", "problem", "retry_ms")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    state: str
    problem: str
    retry_ms: int
    def __init__(self, state: _Optional[str] = ..., problem: _Optional[str] = ..., retry_ms: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("camera_id", "frame_id", "capture_time_unix_ns", "delivered", "dropped", "error", "retry", "closing", "timings")
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    camera_id: str
    frame_id: int
    capture_time_unix_ns: int
    delivered: Detections
    dropped: Dropped
    error: Error
    retry: Retry
    closing: Closing
    timings: Timings
    def __init__(self, camera_id: _Optional[str] = ..., frame_id: _Optional[int] = ..., capture_time_unix_ns: _Optional[int] = ..., delivered: _Optional[_Union[Detections, _Mapping]] = ..., dropped: _Optional[_Union[Dropped, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class Detections(_message.Message):
    __slots__ = ("model_name", "model_version", "boxes", "scores", "class_ids", "labels")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CLASS_IDS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: int
    boxes: _containers.RepeatedScalarFieldContainer[float]
    scores: _containers.RepeatedScalarFieldContainer[float]
    class_ids: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., boxes: _Optional[_Iterable[float]] = ..., scores: _Optional[_Iterable[float]] = ..., class_ids: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class Dropped(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Closing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Timings(_message.Message):
    __slots__ = ("relay_queue_us", "predict_us", "relay_total_us", "server_us", "infer_us", "post_us")
    RELAY_QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    PREDICT_US_FIELD_NUMBER: _ClassVar[int]
    RELAY_TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    SERVER_US_FIELD_NUMBER: _ClassVar[int]
    INFER_US_FIELD_NUMBER: _ClassVar[int]
    POST_US_FIELD_NUMBER: _ClassVar[int]
    relay_queue_us: int
    predict_us: int
    relay_total_us: int
    server_us: int
    infer_us: int
    post_us: int
    def __init__(self, relay_queue_us: _Optional[int] = ..., predict_us: _Optional[int] = ..., relay_total_us: _Optional[int] = ..., server_us: _Optional[int] = ..., infer_us: _Optional[int] = ..., post_us: _Optional[int] = ...) -> None: ...
