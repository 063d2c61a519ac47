"""What a token is refused for before it is signed; what the gateway refuses is in live/test_tokens.py."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mesh.resources import MeshError
from mesh.tokens import TokenIssuer


@pytest.mark.parametrize("ttl_s", [math.inf, -math.inf, math.nan, 1e300])
def test_a_life_that_no_token_has(ttl_s: float, tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="--ttl: expected seconds, at most 315360000"):
        TokenIssuer(tmp_path).token("cam-1", ttl_s=ttl_s)
