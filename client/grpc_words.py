"""What gRPC says where nobody could be reached, taken apart."""

from __future__ import annotations

import re

# In front of the reason of the attempt that failed last, which is what people need.
_WRAPPING = re.compile(
    r"^(UNAVAILABLE: )?failed to connect to all addresses; last error: [A-Z]+: (?:ipv[46]:)?(\S+): "
)
# gRPC words it in two ways.
_SYSTEMS = re.compile(r"^Failed to connect to remote host: (?:connect: )?(.*?)(?: \(\d+\))?$")


def unwrapped(text: str) -> tuple[str, str, str]:
    """A failed call's words: the code in front ("UNAVAILABLE: " or ""), the address that was tried, and why it failed.

    Without an address, which is "" then, `text` says something else and is the reason as it stands.
    """
    match = _WRAPPING.match(text)
    code, where = (match[1] or "", match[2]) if match else ("", "")
    return code, where, _SYSTEMS.sub(r"\1", text[match.end() :] if match else text)
