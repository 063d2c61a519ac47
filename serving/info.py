"""GetModelStatus and GetModelMetadata, the same for gRPC and REST."""

from __future__ import annotations

from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.errors import Code, ServingError, invalid
from serving.models import ModelManager

SIGNATURE_DEF = "signature_def"


def model_status(manager: ModelManager, request: Any) -> Any:
    """Answer a GetModelStatusRequest: every version ever seen, highest first, or the one asked for."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    states = manager.states(spec.name)
    if spec.HasField("version"):
        states = [state for state in states if state[0] == spec.version.value]
        if not states:
            raise ServingError(
                Code.NOT_FOUND, f"Could not find version {spec.version.value} of model {spec.name}"
            )
    if not states:
        raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, state, error in states:
        entry = response.model_version_status.add(version=number, state=int(state))
        entry.status.error_code = int(error.code) if error else 0
        entry.status.error_message = error.message if error else ""
    return response


def model_metadata(manager: ModelManager, request: Any) -> Any:
    """Answer a GetModelMetadataRequest: the signatures, the only metadata that TF Serving knows."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != SIGNATURE_DEF:
            raise invalid(f"Metadata field {name} is not supported")
    version, model = manager.find(request.model_spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response
