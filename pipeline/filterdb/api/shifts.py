"""The shifts along one axis, as the tables that a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from filterdb.api import html
from filterdb.errors import printable

if TYPE_CHECKING:
    from filterdb.shift import Axis, AxisShift, CoordinateSystem
    from filterdb.stats import Cube

Measure = Literal["paper", "jensen_shannon", "wasserstein"]
"""How two groups are compared: symmetric KL divergence as the paper has it, or another distance."""

Weighting = Literal["filters", "layers", "models"]
"""What counts alike in a group."""

_SIZES = ("filters", "layers", "models")


@dataclass(frozen=True, slots=True, repr=False)
class Shifts:
    """How far apart the groups of an axis are.

    Parameters
    ----------
    axis
        What the layers were grouped by.
    matrix
        D between every two groups. Groups without an order of their own are sorted by their mean distance.
    pairs
        One row a pair: ``group_a``, ``group_b``, ``D``, the measure, how many filters, layers and models are
        in each of the two, and the reason where D is not defined. With uncertainty also ``null_mean``, the
        D that chance alone would give; ``excess`` over it; ``low`` and ``high``, the 95 % interval; ``p``,
        and ``p_holm``, adjusted for the number of pairs.
    groups
        One row a group, in the order of the matrix.

    Examples
    --------
    >>> shifts = db.shift("Task")
    >>> shifts
    <Shifts along Task: 7 groups, D from 0.014 to 0.092>
    >>> shifts.groups[["group", "filters", "layers", "models"]].head(2)
              group  filters  layers  models
    0  Segmentation    23192      80       7
    1  Auto-Encoder    16232      89       7
    """

    axis: str
    matrix: pd.DataFrame
    pairs: pd.DataFrame
    groups: pd.DataFrame

    def __repr__(self) -> str:
        return f"<{self._title}>"

    def _repr_html_(self) -> str:
        return html.table(self._title, self.matrix)

    @property
    def _title(self) -> str:
        known = self.pairs["D"].dropna()
        span = f"D from {known.min():.3f} to {known.max():.3f}" if len(known) else "no D is defined"
        return f"Shifts along {printable(self.axis)}: {len(self.groups):,} groups, {span}"

    @classmethod
    def of(cls, name: str, found: AxisShift) -> Shifts:
        """Take what an analysis has found.

        Parameters
        ----------
        name
            The axis.
        found
            Its tables.
        """
        return cls(name, found.matrix.frame(), found.pairs, found.groups)


def plain_shifts(
    axis: Axis, cube: Cube, coordinates: CoordinateSystem, *, by: str, weighting: Weighting
) -> Shifts:
    """Compare the groups of an axis without their uncertainty.

    Parameters
    ----------
    axis
        The groups.
    cube
        Counts of the records.
    coordinates
        Where they were counted.
    by
        Name of the measure.
    weighting
        What counts alike in a group.
    """
    from filterdb.shift import AxisShift, axis_matrix, group_table

    matrix = axis_matrix(axis, cube, coordinates, by=by, weighting=weighting)
    groups = group_table(axis, cube, coordinates)
    place = pd.Index(matrix.groups).get_indexer(pd.Index(axis.groups))
    a, b = np.triu_indices(len(axis.groups), k=1)
    sides = {"a": groups.iloc[a].reset_index(drop=True), "b": groups.iloc[b].reset_index(drop=True)}
    pairs = pd.DataFrame({f"group_{side}": sides[side]["group"] for side in "ab"})
    pairs["D"] = matrix.values[place[a], place[b]]
    pairs["measure"] = pd.Series([by] * len(pairs), dtype="str")
    for name in _SIZES:
        for side in "ab":
            pairs[f"{name}_{side}"] = sides[side][name]
    reasons = zip(sides["a"]["reason"], sides["b"]["reason"], strict=True)
    joined = ["; ".join(reason for reason in dict.fromkeys(pair) if reason) for pair in reasons]
    pairs["reason"] = pd.Series(joined, dtype="str")
    return Shifts.of(axis.name, AxisShift.of(pairs, groups, matrix))
