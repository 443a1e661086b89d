"""Axes: ways to put records into groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import ColumnError, nearest

DEPTH_DECILE = "depth_decile"


@dataclass(frozen=True, slots=True)
class Axis:
    """Groups of records.

    Parameters
    ----------
    name
        What the axis is called.
    groups
        Names of the groups.
    codes
        The group of each record; -1 where its value is missing.
    ordered
        The groups have an order of their own.
    """

    name: str
    groups: tuple[str, ...]
    codes: NDArray[np.int64]
    ordered: bool


def make_axis(meta: pd.DataFrame, by: str) -> Axis:
    """Group the records of a data set.

    Parameters
    ----------
    meta
        The table of records.
    by
        A column, or ``depth_decile``.
    """
    if by == DEPTH_DECILE:
        depth = meta.index.get_level_values("conv_depth_norm").to_numpy()
        codes = pd.cut(depth, np.linspace(0, 1, 11).tolist(), labels=False, include_lowest=True)
        labels = [f"{i / 10:.1f}-{(i + 1) / 10:.1f}" for i in range(10)]
        return Axis(by, tuple(labels), codes.astype(np.int64), ordered=True)
    if by not in meta.columns:
        close = nearest(by, [*meta.columns, DEPTH_DECILE])
        raise ColumnError(
            f"there is no column {by!r}",
            expected="a column of /meta",
            hint=f"did you mean {close!r}?" if close else None,
        )
    codes, groups = pd.factorize(meta[by], sort=True)
    ordered = pd.api.types.is_numeric_dtype(meta[by])
    return Axis(by, tuple(str(group) for group in groups), codes.astype(np.int64), ordered=ordered)
