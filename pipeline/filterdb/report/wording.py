"""Numbers and names as a sentence or a cell has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

NONE: Final = "–"
"""What a cell says where there is no value."""

_LISTED: Final = 6


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, in the singular for one."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def whole(value: Any) -> str:
    """Return a count, or a dash where it is not known."""
    return NONE if pd.isna(value) else f"{int(value):,}"


def decimal(value: Any, digits: int = 3) -> str:
    """Return a number with a fixed number of digits after the point, or a dash where there is none."""
    if pd.isna(value):
        return NONE
    text = f"{float(value):.{digits}f}"
    # Nothing is gained by telling -0.000 from 0.000.
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def percent(part: float, whole_: float | None = None) -> str:
    """Return a share in percent; less than a half percent and almost all are said as such."""
    share = part if whole_ is None else (part / whole_ if whole_ else math.nan)
    if math.isnan(share):
        return NONE
    if 0 < share < 0.005:
        return "less than 1%"
    if 0.995 <= share < 1:
        return "more than 99%"
    return f"{100 * share:.0f}%"


def chance(p: float) -> str:
    """Return a p value as a sentence has it."""
    return "p < 0.001" if p < 0.0005 else f"p = {p:.3f}"


def text(value: Any) -> str:
    """Return a text of a table, or a dash where there is none."""
    return NONE if pd.isna(value) or str(value) == "" else str(value)


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Join names as a sentence does; of many, the first ones and how many more there are."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most:,} more")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def axis_title(name: str) -> str:
    """Return what an axis is called in a sentence: its own name, but for the one that we name."""
    return "depth decile" if name == "depth_decile" else name


def size(number: int) -> str:
    """Return a number of bytes as a person says it."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} GB"
