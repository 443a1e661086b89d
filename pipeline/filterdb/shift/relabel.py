"""Rules that put several labels of a column under one, before records are grouped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from filterdb.errors import ColumnError, nearest


class Rule(Protocol):
    """Which labels of a column become another one: those that contain a text, or are it."""

    @property
    def column(self) -> str:
        """The column."""

    @property
    def contains(self) -> str | None:
        """A part of the labels, capital letters as they are."""

    @property
    def equals(self) -> str | None:
        """The whole label."""

    @property
    def to(self) -> str:
        """What they become."""


def relabel(frame: pd.DataFrame, rules: Sequence[Rule]) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Apply rules in their order, and say what each of them did.

    Parameters
    ----------
    frame
        The records; it is not changed.
    rules
        The rules. Each sees what those before it made; missing labels stay missing.

    Returns
    -------
    frame, applied
        The records with their new labels, and for each rule: column, what it looks for, ``to``, the labels
        that it replaced and the number of records that had them.

    Raises
    ------
    ColumnError
        If a column does not exist, or holds no text.
    """
    applied = []
    for rule in rules:
        labels = _labels(frame, rule.column)
        found = _matches(labels, rule) & (labels != rule.to).to_numpy(bool, na_value=False)
        frame = frame.assign(**{rule.column: labels.mask(found, rule.to)})
        looks_for = {"equals": rule.equals} if rule.contains is None else {"contains": rule.contains}
        replaced = sorted(labels[found].unique().tolist())
        applied.append(
            {
                "column": rule.column,
                **looks_for,
                "to": rule.to,
                "labels": replaced,
                "records": int(found.sum()),
            }
        )
    return frame, applied


def _matches(labels: pd.Series[Any], rule: Rule) -> np.ndarray:
    if rule.contains is None:
        return (labels == rule.equals).to_numpy(bool, na_value=False)
    return labels.str.contains(rule.contains, regex=False, na=False).to_numpy(bool)


def _labels(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    if column not in frame.columns:
        close = nearest(column, frame.columns)
        raise ColumnError(
            f"there is no column {column!r}",
            where="analyze.relabel",
            expected="a column of text of the data set",
            hint=f"did you mean {close!r}?" if close else None,
        )
    labels = frame[column]
    if not isinstance(labels.dtype, pd.StringDtype):
        raise ColumnError(
            f"the column {column!r} is {labels.dtype}", where="analyze.relabel", expected="a column of text"
        )
    return labels
