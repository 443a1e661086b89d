"""Published numbers beside those that were computed from the same file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from filterdb.reference_values import REFERENCE_VALUES, ReferenceValue
from filterdb.report.blocks import Cell, Column, Table
from filterdb.report.wording import NONE

Values = Mapping[str, Sequence[float]]

_SUMMARIES: Final[Mapping[str, Callable[[pd.Series[float]], float]]] = {
    "mean": lambda distances: distances.mean(),
    "median": lambda distances: distances.median(),
    "largest": lambda distances: distances.max(),
}
_COMPONENTS: Final = "₁₂₃₄₅₆₇₈₉"


def computed_values(
    *,
    models: int,
    records: int,
    filters: int,
    explained: Sequence[float],
    mean: Sequence[float],
    pairs: Mapping[str, pd.DataFrame],
) -> dict[str, tuple[float, ...]]:
    """Return what was computed, under the names of the published numbers.

    Parameters
    ----------
    models, records, filters
        How large the data set is.
    explained, mean
        Of the basis.
    pairs
        The long table of every axis.
    """
    ratio = np.asarray(explained, np.float64)
    found: dict[str, tuple[float, ...]] = {
        "models": (models,),
        "records": (records,),
        "filters": (filters,),
        "explained variance ratio": tuple(ratio.tolist()),
        "cumulative explained variance ratio": tuple(np.cumsum(ratio).tolist()),
        "mean of the scaled filters": tuple(np.asarray(mean, np.float64).tolist()),
    }
    for axis, table in pairs.items():
        known = table["D"].dropna()
        if len(known):
            for name, function in _SUMMARIES.items():
                found[f"drift by {axis}, {name}"] = (float(function(known)),)
    return found


def reference_table(version: str, computed: Values) -> Table:
    """Return the published numbers of a version, each beside the computed one.

    Parameters
    ----------
    version
        The version of CNN-Filter-DB.
    computed
        What :func:`computed_values` returns.
    """
    columns = (
        Column("Quantity"),
        Column("Published", "number"),
        Column("Computed", "number"),
        Column("Difference", "number"),
        Column("Precision", "number"),
        Column("Agrees"),
        Column("Source"),
    )
    rows = tuple(
        row
        for one in REFERENCE_VALUES
        if one.version == version
        for row in _rows(one, computed.get(one.name, ()))
    )
    return Table(
        "reference",
        f"Published numbers of CNN-Filter-DB {version} beside those computed here",
        columns,
        rows,
        note="Precision is how far a right result may lie from the published number.",
    )


def _rows(one: ReferenceValue, found: Sequence[float]) -> list[tuple[Cell, ...]]:
    several = len(one.values) > 1
    rows: list[tuple[Cell, ...]] = []
    for place, published in enumerate(one.values):
        name = f"{one.name}, {_COMPONENTS[place]}" if several else one.name
        value = found[place] if place < len(found) else None
        rows.append((name, *_compared(one, published, value), one.source))
    return rows


def _compared(one: ReferenceValue, published: float, value: Any) -> tuple[str, str, str, str, str]:
    digits = _digits(one.precision)
    precision = (
        "not known"
        if one.precision is None
        else "exact"
        if not one.precision
        else _plain(one.precision, digits + 1)
    )
    shown = f"{published:,.{digits}f}"
    if value is None:
        return shown, NONE, NONE, precision, "not computed"
    difference = value - published
    # A computed number that rounds to the published one is as near as can be seen.
    agrees = (
        "not known"
        if one.precision is None
        else "yes"
        if abs(difference) <= one.precision * (1 + 1e-9)
        else "no"
    )
    more = digits + 1 if digits else 0
    found, apart = f"{value:,.{more}f}", f"{difference:+,.{more}f}"
    return _minus(shown), _minus(found), _minus(apart), precision, agrees


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _plain(precision: float, digits: int) -> str:
    return "±" + f"{precision:.{digits}f}".rstrip("0")


def _digits(precision: float | None) -> int:
    if precision is None:
        return 2
    return 0 if not precision else max(2, int(np.ceil(-np.log10(precision * 2))) if precision < 0.01 else 3)
