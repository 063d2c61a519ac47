"""Every test here asserts that the frames of its streams add up."""

from tests.client.conservation import streams_add_up

__all__ = ["streams_add_up"]
