"""Numbers and strings as TF Serving writes them in JSON: absl's digits, RapidJSON's escapes."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|.)")


def quoted(text: str) -> str:
    """A JSON string. Escapes of control characters have capital digits, as RapidJSON's."""
    written = json.dumps(text, ensure_ascii=False)
    if "\\u" not in written:
        return written
    return _ESCAPE.sub(lambda found: found[0][:2] + found[0][2:].upper(), written)


def decimals(values: NDArray[Any]) -> list[str]:
    """float32 or float64 values as text: six digits if those give the same value back, else 9 (17).

    Whole numbers get `.0`; NaN, Infinity and -Infinity stand bare.
    """
    texts = [f"{value:.6g}" for value in values.tolist()]
    back = np.array([float(text) for text in texts]).astype(values.dtype)
    digits = 9 if values.dtype == np.float32 else 17
    for index in np.flatnonzero(back != values):
        texts[index] = f"{values[index].item():.{digits}g}"
    return [_whole(text) for text in texts]


def _whole(text: str) -> str:
    if text in ("nan", "-nan"):
        return "NaN"
    if text in ("inf", "-inf"):
        return "Infinity" if text == "inf" else "-Infinity"
    return text if "." in text or "e" in text else text + ".0"
