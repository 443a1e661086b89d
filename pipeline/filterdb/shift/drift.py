"""What the groups of an axis show: how far apart they are, how large they are, and what cannot be said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import UsageError
from filterdb.shift.axes import MISSING, Axis
from filterdb.shift.coordinates import CoordinateSystem
from filterdb.shift.divergence import ShiftMatrix, arrange, cross, pairwise
from filterdb.shift.resampling import Resampling
from filterdb.shift.uncertainty import holm, uncertainty
from filterdb.shift.units import Weighting, weigh
from filterdb.stats import Cube

SIZES: Final = ("filters", "layers", "models", "outside")
"""What is counted of each group: its finite filters, the records that have some, their models, and the
coefficients that are in no bin."""

_NULL: Final = ["null_mean", "excess", "low", "high", "p"]


@dataclass(frozen=True, slots=True)
class AxisShift:
    """The shifts along an axis.

    Parameters
    ----------
    pairs
        The long table: one row a pair of groups.
    groups
        One row a group, in the order of the matrix: its name, :data:`SIZES`, and why it cannot be compared.
    matrix
        The same distances as a square matrix.
    """

    pairs: pd.DataFrame
    groups: pd.DataFrame
    matrix: ShiftMatrix

    @classmethod
    def of(cls, pairs: pd.DataFrame, groups: pd.DataFrame, matrix: ShiftMatrix) -> AxisShift:
        """Put the groups into the order of the matrix."""
        order = pd.Index(groups["group"]).get_indexer(pd.Index(matrix.groups))
        return cls(pairs, groups.iloc[order].reset_index(drop=True), matrix)


def axis_shift(
    axis: Axis,
    cube: Cube,
    coordinates: CoordinateSystem,
    *,
    by: str = "paper",
    weighting: Weighting = "filters",
    resampling: Resampling | None = None,
) -> AxisShift:
    """Compare every two groups of an axis.

    Parameters
    ----------
    axis
        The groups.
    cube
        Counts of the records, in these coordinates.
    coordinates
        Where they were counted.
    by
        Name of the measure.
    weighting
        What counts alike in a group.
    resampling
        Seeds and numbers of draws of the uncertainty.
    """
    groups = group_table(axis, cube, coordinates)
    # Without a density in every component there is no distance, and no bootstrap of one either.
    mute = np.append(groups["reason"] != "", False)
    codes = np.where(mute[axis.codes.clip(-1)], MISSING, axis.codes)
    pairs = uncertainty(
        axis.name,
        axis.groups,
        cube.counts,
        codes,
        _models(axis),
        weights=coordinates.weights,
        width=coordinates.width,
        by=by,
        weighting=weighting,
        resampling=resampling or Resampling(),
    )
    pairs = _explained(pairs, groups)
    matrix = arrange(
        axis.groups,
        pairs["D"].to_numpy(np.float64),
        groups["filters"].to_numpy(np.float64),
        ordered=axis.ordered,
        by=by,
    )
    return AxisShift.of(pairs, groups, matrix)


def axis_matrix(
    axis: Axis,
    cube: Cube,
    coordinates: CoordinateSystem,
    *,
    by: str = "paper",
    weighting: Weighting = "filters",
) -> ShiftMatrix:
    """Compute D between every two groups of an axis, in milliseconds and without uncertainty.

    Parameters
    ----------
    axis
        The groups.
    cube
        Counts of the records, in these coordinates.
    coordinates
        Where they were counted.
    by
        Name of the measure.
    weighting
        What counts alike in a group.
    """
    counts = _group_counts(axis, cube, weighting)
    distances, *_ = pairwise(counts, weights=coordinates.weights, width=coordinates.width, by=by)
    kept = axis.codes >= 0
    filters = _sums(np.asarray(cube.rows["finite"])[kept], axis.codes[kept], len(axis.groups))
    return arrange(axis.groups, distances, filters.astype(np.float64), ordered=axis.ordered, by=by)


def cross_shift(
    a: tuple[Axis, Cube],
    b: tuple[Axis, Cube],
    coordinates: CoordinateSystem,
    *,
    by: str = "paper",
    weighting: Weighting = "filters",
) -> pd.DataFrame:
    """Compare every group of one set of records with every group of another.

    Parameters
    ----------
    a, b
        Groups and counts of the records of each set.
    coordinates
        Where both were counted.
    by
        Name of the measure.
    weighting
        What counts alike in a group.

    Returns
    -------
        One row a pair, the groups of ``a`` one after the other: names, D, measure, sizes, and why D is NaN.
    """
    for axis, cube in (a, b):
        if cube.counts.shape[1:] != (len(coordinates.weights), coordinates.bins):
            raise UsageError(f"the records of the axis {axis.name!r} were counted in other coordinates")
    first, second = (_group_counts(axis, cube, weighting) for axis, cube in (a, b))
    distances = cross(first, second, weights=coordinates.weights, width=coordinates.width, by=by)
    tables = [group_table(axis, cube, coordinates) for axis, cube in (a, b)]
    rows = np.indices(distances.shape).reshape(2, -1)
    sides = [table.iloc[row].reset_index(drop=True) for table, row in zip(tables, rows, strict=True)]
    frame = pd.DataFrame({"group_a": sides[0]["group"], "group_b": sides[1]["group"]})
    frame["D"], frame["measure"] = distances.ravel(), pd.Series([by] * len(frame), dtype="str")
    for name in SIZES:
        frame[f"{name}_a"], frame[f"{name}_b"] = sides[0][name], sides[1][name]
    reasons = zip(sides[0]["reason"], sides[1]["reason"], strict=True)
    frame["reason"] = pd.Series([_both(*pair) for pair in reasons], dtype="str")
    return frame


def group_table(axis: Axis, cube: Cube, coordinates: CoordinateSystem) -> pd.DataFrame:
    """Count what each group holds, and say which ones have no density to compare.

    Parameters
    ----------
    axis
        The groups.
    cube
        Statistics and counts of the records.
    coordinates
        Where they were counted.
    """
    n, codes = len(axis.groups), axis.codes
    kept = codes >= 0
    finite, outside = np.asarray(cube.rows["finite"]), cube.outside
    holding = kept & (finite > 0)
    held = np.unique(np.stack([codes[holding], _models(axis)[holding]]), axis=1)[0]
    sizes = {
        "filters": _sums(finite[kept], codes[kept], n),
        "layers": np.bincount(codes[holding], minlength=n),
        "models": np.bincount(held, minlength=n),
        "outside": _sums(outside[kept], codes[kept], n),
    }
    inside = cube.group_counts(codes, n).sum(axis=2)
    reasons = [
        _lack(*group, coordinates) for group in zip(axis.groups, sizes["filters"], inside, strict=True)
    ]
    frame = pd.DataFrame({"group": pd.Series(list(axis.groups), dtype="str"), **sizes})
    return frame.assign(reason=pd.Series(reasons, dtype="str"))


def _lack(name: str, filters: int, inside: NDArray[np.int64], coordinates: CoordinateSystem) -> str:
    """Say why a group has no density in some component; empty where it has."""
    if not filters:
        return f"{name!r} has no finite filter"
    if inside.all():
        return ""
    component, low, high = int(np.argmin(inside != 0)) + 1, coordinates.low, coordinates.high
    return f"{name!r} has no coefficient of component {component} between {low:.3g} and {high:.3g}"


def _both(a: str, b: str) -> str:
    return "; ".join(reason for reason in dict.fromkeys((a, b)) if reason)


def _sums(values: NDArray[np.int64], codes: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    total = np.zeros(groups, np.int64)
    np.add.at(total, codes, values)
    return total


def _models(axis: Axis) -> NDArray[np.int64]:
    return np.zeros(len(axis.codes), np.int64) if axis.models is None else axis.models


def _group_counts(axis: Axis, cube: Cube, weighting: Weighting) -> NDArray[Any]:
    if weighting == "filters":
        return cube.group_counts(axis.codes, len(axis.groups))
    weighted = weigh(cube.counts, _models(axis), weighting)
    return np.stack([weighted[axis.codes == group].sum(axis=0) for group in range(len(axis.groups))])


def _explained(pairs: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Give the pairs the sizes of their groups, and the reasons why these cannot be compared."""
    sizes = groups.set_index("group")
    sides = {side: sizes.loc[pairs[f"group_{side}"]].reset_index(drop=True) for side in "ab"}
    counts = {f"{name}_{side}": sides[side][name] for name in SIZES[:3] for side in "ab"}
    lacking = [_both(*pair) for pair in zip(sides["a"]["reason"], sides["b"]["reason"], strict=True)]
    reasons = [new or old for new, old in zip(lacking, pairs["reason"], strict=True)]
    pairs = pairs.assign(**counts, reason=pd.Series(reasons, dtype="str"))
    unknown = pairs["null_mean"].isna() & (pairs["reason"] == "")
    if unknown.any():
        pairs.loc[unknown, _NULL] = np.nan
        pairs.loc[unknown, "reason"] = (
            "some permutations leave a component without a coefficient in the range"
        )
        pairs["p_holm"] = holm(pairs["p"].to_numpy(np.float64))
    return pairs
