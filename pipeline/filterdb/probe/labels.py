"""Labels, of whatever type they are, as the numbers of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import UsageError

_HOW = "whole numbers or names, one a row"


def classes_of(given: Any, count: int, where: str) -> NDArray[np.intp]:
    """Return the number of each row's class.

    Parameters
    ----------
    given
        One label a row, text or whole numbers, or a column a class with a single 1 in each row. An empty
        text is a label.
    count
        How many rows there are.
    where
        Where the data comes from, for messages.

    Raises
    ------
    UsageError
        If a label is missing, or they are not of this kind; the message names the row.
    """
    labels = _array(given, where)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == count:
        labels = _from_columns(labels, where)
    if labels.ndim != 1 or len(labels) != count:
        raise UsageError(
            f"there are labels of the shape {list(labels.shape)} for {count:,} rows of data",
            where=where,
            expected="one label a row",
        )
    if labels.dtype.kind in "OT":
        labels = _from_objects(labels.astype(object), where)
    elif labels.dtype.kind == "f":
        _require_whole(labels, where)
    elif labels.dtype.kind not in "biuSU":
        raise UsageError(f"the labels are {labels.dtype}", where=where, expected=_HOW)
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.intp)


def _array(given: Any, where: str) -> NDArray[Any]:
    try:
        # From a list, numpy would make text of a number beside text, and of what is missing.
        return np.asarray(given, object) if isinstance(given, Sequence) else np.asarray(given)
    except ValueError as error:
        raise UsageError(f"the labels are no array: {error}", where=where, expected=_HOW) from error


def _from_columns(labels: NDArray[Any], where: str) -> NDArray[np.intp]:
    """Return the classes that columns stand for, if every row has a single 1 among zeros."""
    values = np.asarray(labels.tolist()) if labels.dtype.kind == "O" else labels
    if values.shape == labels.shape and values.dtype.kind in "biuf":
        ones, zeros = values == 1, values == 0
        wrong = np.flatnonzero((ones.sum(axis=1) != 1) | ~(ones | zeros).all(axis=1))
        if not len(wrong):
            return np.asarray(ones.argmax(axis=1), np.intp)
        found = f": row {wrong[0]:,} is not a single 1 among zeros"
    else:
        found = ""
    raise UsageError(
        f"there are labels of the shape {list(labels.shape)}{found}",
        where=where,
        expected="one label a row, or a column a class with a single 1 in each row",
        hint="labels.argmax(axis=1) makes classes of scores",
    )


def _require_whole(labels: NDArray[Any], where: str) -> None:
    wrong = np.flatnonzero(~np.isfinite(labels) | (labels != np.floor(labels)))
    if len(wrong):
        raise _no_label(labels[wrong[0]], int(wrong[0]), len(wrong), where)


def _from_objects(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Return labels that Python has made, if all of them are text or all whole numbers."""
    wrong = [row for row, label in enumerate(labels) if not _is_label(label)]
    if wrong:
        raise _no_label(labels[wrong[0]], wrong[0], len(wrong), where)
    kinds = {type(label): _kind(label) for label in labels}
    if len(set(kinds.values())) > 1:
        first = kinds[type(labels[0])]
        row = next(row for row, label in enumerate(labels) if kinds[type(label)] != first)
        raise UsageError(
            f"the labels are of two kinds: row 0 has {labels[0]!r:.40}, row {row:,} has {labels[row]!r:.40}",
            where=where,
            expected="all text, or all whole numbers",
        )
    if set(kinds.values()) == {"number"}:
        labels[:] = [int(label) for label in labels]
    return labels


def _is_label(label: Any) -> bool:
    if isinstance(label, Real) and not isinstance(label, Integral):
        return math.isfinite(label) and label == math.floor(label)
    return isinstance(label, str | bytes | Integral | np.bool_)


def _kind(label: Any) -> str:
    return "text" if isinstance(label, str) else "bytes" if isinstance(label, bytes) else "number"


def _no_label(label: Any, row: int, count: int, where: str) -> UsageError:
    """Say which row has no label, or what it has in its place."""
    missing = bool(np.ndim(label) == 0 and pd.isna(label))
    begin = "a label is missing" if missing else f"the labels are {type(label).__name__}"
    more = f", as have {count - 1:,} more" if count > 1 and missing else ""
    return UsageError(
        f"{begin}: row {row:,} has {label!s:.60}{more}",
        where=where,
        expected=_HOW,
        hint="leave such rows out of the data and the labels" if missing else None,
    )
