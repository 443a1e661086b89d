"""Text that a cell of a table can hold."""

from __future__ import annotations

from typing import Final

MISSING_TEXT: Final = "\N{SYMBOL FOR NULL}"
"""What stands for a missing string in the file; it cannot occur in a cell."""

_REPLACED: Final = str.maketrans(
    {"\0": "\N{REPLACEMENT CHARACTER}", MISSING_TEXT: "\N{REPLACEMENT CHARACTER}"}
)


def clean_text(text: str) -> str:
    """Return text that a cell can hold: U+FFFD for the two characters that it cannot, and no half of one.

    Parameters
    ----------
    text
        Any text; lone surrogates become escapes.
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.translate(_REPLACED).encode("utf-8", "backslashreplace").decode("utf-8")
