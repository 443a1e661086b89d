"""The metadata of several data set files as the columns of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from filterdb import schema

_EXACT: Final = 1 << 53
"""Integers up to here survive as float64, which is what a column with missing numbers becomes."""

Part: TypeAlias = tuple[Path, pd.DataFrame]
"""A file, and its metadata; the index says which rows of the whole they are."""


def unified(parts: Sequence[Part], rows: int, notes: list[str]) -> pd.DataFrame:
    """Put the metadata of files together, a cell missing where a file lacks its column.

    A column has the type that all files agree on. Integers and floats become floats where that is exact;
    where files disagree otherwise, or where integers or truth values are missing, a column becomes what the
    format has for it: float64 if that is exact, else text.

    Parameters
    ----------
    parts
        The metadata of each file.
    rows
        How many rows there are in all.
    notes
        Takes up what changed its type.
    """
    parts = [(path, frame) for path, frame in parts if len(frame)]
    known = dict.fromkeys(name for _, frame in parts for name in frame.columns)
    order = [*schema.METADATA, *(name for name in known if name not in schema.METADATA)]
    columns = {}
    for name in order:
        held = [(path, frame[name]) for path, frame in parts if name in frame.columns]
        columns[name] = _column(name, held, rows, notes)
    return pd.DataFrame(columns, index=range(rows))


def _column(name: str, held: Sequence[tuple[Path, pd.Series[Any]]], rows: int, notes: list[str]) -> Any:
    kinds = {str(cells.dtype) for _, cells in held}
    whole = sum(len(cells) for _, cells in held) == rows
    kind = _kind(kinds, whole=whole, exact=all(_is_exact(cells) for _, cells in held))
    if len(kinds) > 1 and kind == "str":
        said = ", ".join(f"{cells.dtype} in {path.name}" for path, cells in held)
        notes.append(f"the column {name!r} is of different types ({said}), and text in the new file")
    filled: list[Any] = [np.nan if kind == "float64" else None] * rows
    for _, cells in held:
        values = cells.tolist() if str(cells.dtype) == kind or kind == "float64" else _texts(cells)
        for place, value in zip(cells.index, values, strict=True):
            filled[place] = value
    return pd.Series(filled, index=range(rows), dtype=kind)


def _kind(kinds: set[str], *, whole: bool, exact: bool) -> str:
    if not kinds:
        return "str"
    if len(kinds) == 1 and (whole or kinds <= {"float64", "str"}):
        return next(iter(kinds))
    return "float64" if kinds <= {"int64", "float64"} and exact else "str"


def _is_exact(cells: pd.Series[Any]) -> bool:
    return cells.dtype != "int64" or not len(cells) or max(map(abs, cells.tolist())) <= _EXACT


def _texts(cells: pd.Series[Any]) -> list[str | None]:
    return [
        None if missing else str(cell) for cell, missing in zip(cells.tolist(), cells.isna(), strict=True)
    ]
