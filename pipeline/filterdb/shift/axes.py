"""Axes: ways to put records into groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import ColumnError, UsageError, nearest
from filterdb.shift.columns import column, column_names, plain_values, unknown_column
from filterdb.shift.expressions import evaluate

DEPTH_DECILE: Final = "depth_decile"
DECILES: Final = tuple(f"{i / 10:.1f}-{(i + 1) / 10:.1f}" for i in range(10))
"""Names of the groups of that axis."""

MISSING: Final = -1
EXCLUDED: Final = -2
MAX_PLAIN_NUMBERS: Final = 12
"""A column of more distinct numbers is binned."""

MAX_GROUPS: Final = 2_000
"""Every two groups are compared, so that their number counts twice."""

_NAME = re.compile(r"\w[\w ,()-]*")
_WORDS = re.compile(r"\b(and|or|not|in|is|if|else)\b")


@dataclass(frozen=True, slots=True)
class Axis:
    """Groups of records.

    Parameters
    ----------
    name
        What the axis is called.
    groups
        Names of the groups, each of at least one record.
    codes
        The group of each record; -1 where its value is missing, -2 where a condition excludes it.
    ordered
        The groups have an order of their own.
    models
        The model of each record, if it is known.
    """

    name: str
    groups: tuple[str, ...]
    codes: NDArray[np.int64]
    ordered: bool
    models: NDArray[np.int64] | None = None

    @property
    def missing(self) -> int:
        """How many records have no value, or none that the condition needs."""
        return int(np.count_nonzero(self.codes == MISSING))

    @property
    def excluded(self) -> int:
        """How many records the condition excludes."""
        return int(np.count_nonzero(self.codes == EXCLUDED))

    @property
    def lack(self) -> str:
        """Why there is nothing to compare, as a sentence without a full stop; empty where there is."""
        if len(self.groups) > 1:
            return ""
        found = f"a single group, {self.groups[0]!r}" if self.groups else "no group"
        have = np.count_nonzero(self.codes >= 0)
        excluded = f", and {self.excluded:,} are excluded" if self.excluded else ""
        share = f"{have:,} of {len(self.codes):,} records have a value{excluded}"
        return f"the axis {self.name!r} has {found}: {share}"

    @property
    def within_models(self) -> bool:
        """Whether a model has records in more than one group."""
        if self.models is None:
            return False
        kept = self.codes >= 0
        models, codes = self.models[kept], self.codes[kept]
        return len(np.unique(np.stack([models, codes]), axis=1).T) > len(np.unique(models))


def make_axis(frame: pd.DataFrame, by: str, *, with_: str | None = None, fewest: int = 2) -> Axis:
    """Group the records of a data set.

    Parameters
    ----------
    frame
        The table of records, with whatever columns were joined to it.
    by
        A column, a level of the index, ``depth_decile``, or an expression over columns. Truth values make
        two groups; more than twelve distinct numbers are binned into deciles.
    with_
        The same, to be combined with ``by``.
    fewest
        How many groups there must be.

    Raises
    ------
    ColumnError
        If a column does not exist, or if there are too few groups or too many.
    UsageError
        If an expression is not allowed.
    """
    axis = _single(frame, by)
    if with_ is None:
        return _checked(axis, fewest)
    return combine(axis, _single(frame, with_), fewest=fewest)


def combine(a: Axis, b: Axis, *, fewest: int = 2) -> Axis:
    """Group records by two axes at once; only combinations that occur are groups.

    Parameters
    ----------
    a, b
        Axes of the same records.
    fewest
        How many groups there must be.
    """
    if len(a.codes) != len(b.codes):
        raise UsageError(
            f"the axis {a.name!r} is of {len(a.codes):,} records and {b.name!r} of {len(b.codes):,}",
            expected="two axes of the same records",
        )
    codes = np.where((a.codes >= 0) & (b.codes >= 0), a.codes * len(b.groups) + b.codes, MISSING)
    codes[(a.codes == EXCLUDED) | (b.codes == EXCLUDED)] = EXCLUDED
    found, codes = _renumbered(codes)
    pairs = [(a.groups[code // len(b.groups)], b.groups[code % len(b.groups)]) for code in found.tolist()]
    groups = [f"{left} / {right}" for left, right in pairs]
    if len(set(groups)) < len(groups):
        groups = [f"{left!r} / {right!r}" for left, right in pairs]
    models = b.models if a.models is None else a.models
    both = Axis(f"{a.name} / {b.name}", tuple(groups), codes, a.ordered and b.ordered, models)
    return _checked(both, fewest)


def restrict(axis: Axis, mask: pd.Series[Any] | NDArray[np.bool_], *, fewest: int = 2) -> Axis:
    """Keep the records for which a condition is true.

    Parameters
    ----------
    axis
        The axis; its groups stay what they are, bins too, but for those that become empty.
    mask
        The condition, as :func:`evaluate` returns it. Where it is missing, so is the record's group.
    fewest
        How many groups must be left.
    """
    condition = plain_values(pd.Series(mask), where="the condition")
    if condition.kind != "b" or len(condition.data) != len(axis.codes):
        raise UsageError(
            "the condition is not true or false for each record",
            expected=f"{len(axis.codes):,} truth values",
            hint="compare, as in: sparsity > 0.2",
        )
    codes = np.where(condition.missing & (axis.codes != EXCLUDED), MISSING, axis.codes)
    codes[~condition.missing & ~condition.data] = EXCLUDED
    return _checked(_grouped(replace(axis, codes=codes)), fewest)


def part(axis: Axis, rows: slice) -> Axis:
    """Return the axis of some of the records; of the groups, those that are among them.

    Parameters
    ----------
    axis
        The axis; bins stay what they are.
    rows
        Which records.
    """
    models = None if axis.models is None else axis.models[rows]
    return _grouped(replace(axis, codes=axis.codes[rows], models=models))


def depth_deciles(depth: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the place in :data:`DECILES` of each normalized depth; -1 where it is not known.

    Parameters
    ----------
    depth
        From 0 to 1; the first decile includes 0, and each its end.
    """
    bins = pd.cut(depth, np.linspace(0, 1, 11).tolist(), labels=False, include_lowest=True)
    return np.where(np.isnan(bins), MISSING, np.nan_to_num(bins)).astype(np.int64)


def _single(frame: pd.DataFrame, by: str) -> Axis:
    models = _models(frame)
    if by == DEPTH_DECILE:
        depth = column(frame, "conv_depth_norm", where=f"the axis {by!r}").to_numpy(np.float64)
        return _grouped(Axis(by, DECILES, depth_deciles(depth), True, models))
    series = _series(frame, by)
    if isinstance(series.dtype, pd.CategoricalDtype) and series.cat.ordered:
        ranks = np.asarray(series.cat.codes, dtype=np.int64)
        labels = tuple(str(category) for category in series.cat.categories)
        return _grouped(Axis(by, labels, ranks, True, models))
    values = plain_values(series, where=f"the axis {by!r}")
    codes = np.full(len(frame), MISSING, np.int64)
    present = values.data[~values.missing]
    found, groups = _codes(present, by, is_column=by in column_names(frame))
    codes[~values.missing] = found
    return _grouped(Axis(by, tuple(groups), codes, values.kind == "f", models))


def _series(frame: pd.DataFrame, by: str) -> pd.Series[Any]:
    where = f"the axis {by!r}"
    if by in column_names(frame):
        return column(frame, by, where=where)
    try:
        return evaluate(by, frame, where=where)
    except UsageError:
        # "Visual Categry" is a misspelt column rather than an expression that cannot be parsed.
        known = [*column_names(frame), DEPTH_DECILE]
        name_like = _NAME.fullmatch(by) and not _WORDS.search(by)
        if name_like and (by.isidentifier() or nearest(by, known)):
            raise unknown_column(by, known, where=where) from None
        raise


def _models(frame: pd.DataFrame) -> NDArray[np.int64] | None:
    for name in ("model_id", "model"):
        if name in column_names(frame):
            return pd.factorize(column(frame, name), use_na_sentinel=False)[0].astype(np.int64)
    return None


def _codes(present: NDArray[Any], by: str, *, is_column: bool) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Return the groups of values of one kind, of which none is missing."""
    if present.dtype.kind == "b":
        text = by.strip()
        return (~present).astype(np.int64), (text, f"not {text}" if is_column else f"not ({text})")
    distinct, codes = np.unique(present, return_inverse=True)
    codes = codes.astype(np.int64)
    if present.dtype.kind == "O":
        return codes, distinct.tolist()
    if len(distinct) <= MAX_PLAIN_NUMBERS:
        return codes, _number_labels(distinct)
    # Every bound is a number that occurs; ranks in integers, as 0.1 * 3 * n may round past a record.
    ranks = (np.arange(1, 11) * len(present) + 9) // 10 - 1
    upper = np.unique(np.sort(present)[ranks])
    if len(upper) == 1:
        # More than nine tenths of the records have the largest value.
        upper = distinct[-2:]
    return np.searchsorted(upper, present).astype(np.int64), _interval_labels(distinct[0], upper)


def _interval_labels(lowest: float, upper: NDArray[np.float64]) -> list[str]:
    """Name bins that are closed on the right; the first is closed on both sides."""
    if lowest == upper[0]:
        first, *others = labels = _number_labels(upper)
        start = first
    else:
        low, first, *others = labels = _number_labels(np.concatenate([[lowest], upper]))
        start = f"[{low}, {first}]"
        labels = labels[1:]
    return [start, *(f"({a}, {b}]" for a, b in zip(labels, others, strict=False))]


def _number_labels(numbers: NDArray[np.float64]) -> list[str]:
    """Write numbers with as few digits as tell them apart."""
    labels: list[str] = []
    for digits in range(3, 18):
        labels = [
            str(int(number)) if number.is_integer() and abs(number) < 1e15 else f"{number:.{digits}g}"
            for number in numbers.tolist()
        ]
        if len(set(labels)) == len(labels):
            break
    return labels


def _renumbered(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    kept = codes >= 0
    found, dense = np.unique(codes[kept], return_inverse=True)
    codes = codes.copy()
    codes[kept] = dense
    return found, codes


def _grouped(axis: Axis) -> Axis:
    """Drop groups that no record is in."""
    found, codes = _renumbered(axis.codes)
    return replace(axis, groups=tuple(axis.groups[group] for group in found.tolist()), codes=codes)


def _checked(axis: Axis, fewest: int) -> Axis:
    count = len(axis.groups)
    if fewest <= count <= MAX_GROUPS:
        return axis
    raise ColumnError(
        axis.lack or f"the axis {axis.name!r} has {count:,} groups",
        expected=f"{fewest} to {MAX_GROUPS:,} groups",
    )
