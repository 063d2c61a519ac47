"""The relay's settings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from client.channel import MOST_IMAGE_BYTES, split_address
from model.contract import MODEL_NAME, SIGNATURE

MAX_SHADOW_PAIRS = 32


@dataclass(frozen=True)
class RelayConfig:
    """What the relay listens on, where it sends frames, and its limits. Each field is the option of that name.

    `target`: the model server's gRPC address. `listen`: host:port for cameras; port 0 takes a free one.
    `http_port`: for Prometheus, the live page and /v1/detect, on the same host as `listen`; 0 takes a free one,
    None: no HTTP. `page`: offer the live page and /v1/detect there; None: if `listen` is a loopback address, for
    who sees the page sees the cameras. `http_names`: host names besides localhost under which a browser may ask
    for it (an IP address always may).
    `in_flight_per_camera`: 2, so that one frame travels while another is inferred; times the camera's priority.
    `in_flight`: over all cameras, at most; how many are useful is found out (client/relay/limit.py).
    `predict_timeout_s`: the limit of a Predict whose frame has no max age, and of one whose max age is longer; below
    the mesh's, for a timeout there counts as the server's failure.
    `max_image_bytes`: a larger image is an error result. `max_streams`: more streams are refused, unless one that has
    sent nothing yields (client/relay/shares.py).
    `max_unsent`: results of one stream that the camera has not taken; then the relay stops reading from it.
    `shadow_percent`: share of the frames that the candidate `shadow_version` is asked about too, to compare
    (client/relay/shadow.py); `shadow_target`: its own address, where no header reaches it; "": `target`.
    `shadow_pairs`: how many of the worst disagreements are kept as pictures.
    `health_interval_s`: pause between questions to the model server whether it is available.
    `grace_s`: how long a shutdown waits for Predicts in flight.
    """

    target: str = "127.0.0.1:8500"
    listen: str = "127.0.0.1:8600"
    http_port: int | None = 8601
    page: bool | None = None
    http_names: tuple[str, ...] = ()
    model_name: str = MODEL_NAME
    signature_name: str = SIGNATURE
    in_flight_per_camera: int = 2
    in_flight: int = 64  # some batches of a GPU; below the mesh's circuit breaker (http2MaxRequests)
    predict_timeout_s: float = 10.0
    max_image_bytes: int = 8 * 1024 * 1024
    max_streams: int = 1024
    max_unsent: int = 256
    shadow_percent: float = 0.0
    shadow_version: str = "v2"
    shadow_target: str = ""
    shadow_pairs: int = 0
    health_interval_s: float = 1.0
    grace_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("target", "listen", *(["shadow_target"] if self.shadow_target else [])):
            split_address(getattr(self, name), name)
        positive = (
            "in_flight_per_camera", "in_flight", "predict_timeout_s", "max_image_bytes", "max_streams",
            "max_unsent", "health_interval_s",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected more than 0, got {getattr(self, name)}"
                )
        if self.max_image_bytes > MOST_IMAGE_BYTES:
            raise ValueError(
                f"--max-image-bytes: expected up to {MOST_IMAGE_BYTES}, as much as a message carries, "
                f"got {self.max_image_bytes}"
            )
        if not 0 <= self.shadow_percent <= 100:
            raise ValueError(f"--shadow-percent: expected 0 to 100, got {self.shadow_percent:g}")
        if not 0 <= self.shadow_pairs <= MAX_SHADOW_PAIRS:
            raise ValueError(f"--shadow-pairs: expected 0 to {MAX_SHADOW_PAIRS}, got {self.shadow_pairs}")
        for name in self.http_names:
            if not name or set(name) & set(":/ "):
                raise ValueError(f"--http-name: expected a host's name without a port, got {name!r}")
        if self.http_port is not None and not 0 <= self.http_port <= 65535:
            raise ValueError(f"--http-port: expected 0 to 65535, got {self.http_port}")
        if self.http_port and self.http_port == split_address(self.listen, "listen")[1]:
            raise ValueError(f"--http-port: expected another than --listen's, got {self.http_port} twice")

    @property
    def has_page(self) -> bool:
        """Whether the live page and /v1/detect are offered."""
        host = split_address(self.listen, "listen")[0]
        return is_loopback(host) if self.page is None else self.page


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
