"""Names and messages out of files, fit for a table."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def as_text(name: str | bytes) -> str:
    """Return a name out of a message as text; protobuf gives bytes where it is none."""
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def clean(text: str, most: int = 400) -> str:
    """Return a text of bounded length and without control characters."""
    return _CONTROL.sub("?", text if len(text) <= most else text[: most - 1] + "…")
