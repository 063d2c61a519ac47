"""The relay: cameras stream frames in, one unary Predict per frame goes out to the model server."""

from client.relay.config import RelayConfig
from client.relay.main import run

__all__ = ["RelayConfig", "run"]
