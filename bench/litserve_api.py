"""LitServe's peer: an API class, as its documentation writes one."""

# No annotations as strings here: LitServe looks at the one of `request`.
from typing import Any

import litserve
from fastapi import Request

from bench.engines import Network


class Detector(litserve.LitAPI):
    """The image comes as the file `image` of a form."""

    def __init__(self, network: Network, threads: int) -> None:
        super().__init__()
        self._network, self._threads = network, threads

    def setup(self, device: str) -> None:
        """Once in each worker process."""
        (self._detect,) = self._network.detectors(1, self._threads)

    def decode_request(self, request: Request, **_: Any) -> bytes:
        """The file's bytes; LitServe has parsed the form."""
        form: Any = request
        return bytes(form["image"].file.read())

    def predict(self, x: bytes, **_: Any) -> list[list[float]]:
        """Boxes."""
        return self._detect(x)

    def encode_response(self, output: list[list[float]], **_: Any) -> dict[str, Any]:
        """JSON."""
        return {"detections": output}


def serve(network: Network, port: int, instances: int, threads: int) -> None:
    """Until killed."""
    server = litserve.LitServer(
        Detector(network, threads), accelerator="cpu", workers_per_device=instances, fast_queue=True
    )
    server.run(
        host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, num_api_servers=1
    )
