"""Columns of a table of records, as values of three kinds: truth values, numbers and text."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import ColumnError, nearest

_NUMERIC: Final = ("integer", "floating", "mixed-integer-float", "decimal")
_TEXTUAL: Final = ("string", "empty", "mixed", "mixed-integer")


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one kind, one for each record, or a single one for all.

    Parameters
    ----------
    data
        Of bool, float64, or object that holds text; what stands at a missing place means nothing.
    missing
        Where there is no value.
    """

    data: NDArray[Any]
    missing: NDArray[np.bool_]

    @property
    def kind(self) -> str:
        """The kind of numpy's dtype: ``b``, ``f``, or ``O`` for text."""
        return self.data.dtype.kind


def column_names(frame: pd.DataFrame) -> list[str]:
    """Return the names that records can be grouped by: columns and levels of the index."""
    return [name for name in (*frame.columns, *frame.index.names) if isinstance(name, str)]


def column(frame: pd.DataFrame, name: str, *, where: object = None) -> pd.Series[Any]:
    """Return a column, or a level of the index."""
    if (count := list(frame.columns).count(name)) > 1:
        raise ColumnError(f"there are {count} columns {name!r}", where=where, expected="one")
    if count:
        return frame[name]
    if name in frame.index.names:
        return pd.Series(frame.index.get_level_values(name).array, index=frame.index, name=name)
    raise unknown_column(name, column_names(frame), where=where)


def unknown_column(name: str, known: list[str], *, where: object) -> ColumnError:
    """Return the error that names the nearest of the known columns."""
    close = nearest(name, known) if len(name) <= 200 else None
    hint = f"did you mean {close!r}?" if close else None
    if close and is_odd(close):
        hint = f"did you mean {close!r}? In an expression it stands in backticks: `{close}`"
    return ColumnError(
        f"there is no column {shortened(name)!r}", where=where, expected="a column of /meta", hint=hint
    )


def plain_values(series: pd.Series[Any], *, where: object = None) -> Values:
    """Turn a column of whatever dtype into one of three kinds of values."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    missing = series.isna().to_numpy(bool)
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind == "boolean":
        data: NDArray[Any] = series.astype(object).where(~missing, False).to_numpy(bool)
    elif kind in _NUMERIC:
        data = series.astype(object).where(~missing, np.nan).to_numpy(np.float64)
        missing = missing | ~np.isfinite(data)
    elif kind in _TEXTUAL:
        data = np.array([str(cell) for cell in series.astype(object).where(~missing, "")], dtype=object)
    else:
        raise ColumnError(
            f"the column {series.name!r} holds {kind}", where=where, expected="numbers, text or truth values"
        )
    return Values(data, missing)


def is_odd(name: str) -> bool:
    """Whether a name needs backticks in an expression."""
    return not name.isidentifier() or keyword.iskeyword(name)


def shortened(text: str) -> str:
    """Return text as it fits into a message."""
    return text if len(text) <= 80 else f"{text[:77]}..."
