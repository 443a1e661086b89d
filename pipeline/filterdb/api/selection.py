"""Which records are meant: rows of a table by a condition, by values, by models, or as pandas has them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import ColumnError, UsageError, nearest
from filterdb.types import RowRange

Positions = NDArray[np.int64]
"""Rows of ``/meta``, counted from 0."""

Where: TypeAlias = str | Mapping[str, Any] | pd.Series | pd.DataFrame | NDArray[np.bool_] | Sequence[bool]
"""An expression, values by column, truth values, or rows."""

Rows: TypeAlias = pd.DataFrame | pd.Series | NDArray[np.bool_] | RowRange | Sequence[tuple[int, int]]
"""Records, or ranges of filters."""

_KEY: Final = "filter_start"
_FORMS: Final = "an expression, values by column, truth values for each row, or rows of meta or layers"
_PAIRS: Final = "pairs of the first filter and the one after the last"


def selectable(meta: pd.DataFrame, layers: pd.DataFrame | None) -> pd.DataFrame:
    """Return the table whose columns a selection may name: those of the user stand beside ours.

    Parameters
    ----------
    meta
        The records, as the data set has them.
    layers
        The same with their metrics and with replaced labels, where there are results.
    """
    if layers is None:
        return meta
    return layers.assign(**{name: meta[name] for name in meta.columns if name not in layers.columns})


def positions(
    table: pd.DataFrame, where: Where | None, models: str | Sequence[str] | None, *, path: Path
) -> Positions:
    """Return the records that meet a condition and are of certain models, in the order of the table.

    Parameters
    ----------
    table
        The records, with the columns that may be named.
    where
        The condition; all records where not given. One whose value is missing does not meet it.
    models
        Names of models, or patterns with ``*`` and ``?``; all where not given.
    path
        The file, for messages.
    """
    kept = np.ones(len(table), bool) if where is None else _meets(table, where)
    if models is not None:
        kept &= _of_models(table["model"], _patterns(models), path)
    return np.flatnonzero(kept).astype(np.int64)


def _patterns(models: object) -> list[str]:
    if isinstance(models, str):
        return [models]
    given = list(models) if isinstance(models, Iterable) else [models]
    names = [name for name in given if isinstance(name, str)]
    if len(names) < len(given):
        raise UsageError(
            f"models is {models!r}"[:200],
            where="select",
            expected="the name of a model, a pattern with * and ?, or several of them",
        )
    return names


def ranges(
    rows: Rows, meta: pd.DataFrame, whole: pd.DataFrame, count: int, *, path: Path
) -> tuple[Positions, Positions]:
    """Return the first filter of each record that is meant, and the one after its last; in the given order.

    Parameters
    ----------
    rows
        Rows of a table, truth values for each row of ``meta``, or ranges.
    meta
        The records.
    whole
        All records of the file, of which ``meta`` may be a selection.
    count
        How many filters there are.
    path
        The file, for messages.
    """
    starts, stops = _bounds(rows, meta, whole)
    wrong = np.flatnonzero((starts < 0) | (stops <= starts) | (stops > count))
    if len(wrong):
        raise UsageError(
            f"there are no filters {starts[wrong[0]]:,} to {stops[wrong[0]]:,}",
            where=path,
            expected=f"0 <= start < stop <= {count:,}",
        )
    return starts, stops


def _bounds(rows: Rows, meta: pd.DataFrame, whole: pd.DataFrame) -> tuple[Positions, Positions]:
    if isinstance(rows, RowRange):
        rows = [(rows.start, rows.stop)]
    elif isinstance(rows, pd.Series):
        rows = meta[_truths(rows, meta)] if _KEY not in rows.index else rows.to_frame().T
    elif _is_mask(rows):
        rows = meta[_mask(rows, len(meta))]
    if isinstance(rows, pd.DataFrame):
        return _of_frame(rows, meta, whole)
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):  # type: ignore[unreachable]
        raise UsageError(
            f"rows are {type(rows).__name__}",
            expected="rows of meta or layers, or pairs of the first filter and the one after the last",
            hint="select takes conditions: db.select(\"Task == 'Segmentation'\").filters()",
        )
    try:
        bounds = np.array([(int(start), int(stop)) for start, stop in rows], np.int64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"these are no rows: {rows!r}"[:200],
            expected=_PAIRS,
            hint="rows by number are db.filters(db.meta.iloc[[0, 1, 2]])",
        ) from error
    return bounds[:, 0], bounds[:, 1]


def _of_frame(rows: pd.DataFrame, meta: pd.DataFrame, whole: pd.DataFrame) -> tuple[Positions, Positions]:
    """Return the ranges that rows state, or those of the records that they are."""
    if not {_KEY, "filter_end"} <= set(rows.columns):
        rows = meta.iloc[_found(rows, meta)]
    stated = [
        pd.to_numeric(rows[name], errors="coerce").to_numpy(np.float64) for name in (_KEY, "filter_end")
    ]
    if not all(np.isfinite(values).all() and (values == np.floor(values)).all() for values in stated):
        raise UsageError(
            "the columns filter_start and filter_end hold what are no counts",
            expected="rows of meta or layers",
        )
    starts, stops = (values.astype(np.int64) for values in stated)
    if list(rows.index.names) == list(whole.index.names):
        _require_same(rows, starts, stops, whole)
    return starts, stops


def _require_same(rows: pd.DataFrame, starts: Positions, stops: Positions, whole: pd.DataFrame) -> None:
    """Refuse records of another data set, whose ranges this one has too; a part of a record's is fine."""
    place = whole.index.get_indexer(rows.index)
    known = whole.iloc[place]
    same = (place >= 0) & (starts >= known[_KEY].to_numpy()) & (stops <= known["filter_end"].to_numpy())
    if "model" in rows.columns:
        same &= rows["model"].to_numpy() == known["model"].to_numpy()
    if not same.all():
        raise _foreign(int(np.count_nonzero(~same)), len(rows))


def _is_mask(values: object) -> bool:
    """Tell whether truth values come without an index."""
    if isinstance(values, np.ndarray):
        return bool(values.dtype == np.bool_)
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, bool | np.bool_) for value in values)
    )


def _mask(values: Any, rows: int) -> NDArray[np.bool_]:
    mask = np.asarray(values, bool)
    if mask.shape != (rows,):
        raise UsageError(
            f"the condition holds {mask.size:,} truth values of shape {mask.shape}",
            expected=f"{rows:,}, one for each row",
        )
    return mask


def _meets(table: pd.DataFrame, where: Where) -> NDArray[np.bool_]:
    if isinstance(where, str):
        return _evaluated(table, where)
    if isinstance(where, pd.DataFrame):
        kept = np.zeros(len(table), bool)
        kept[_found(where, table)] = True
        return kept
    if isinstance(where, pd.Series):
        return _truths(where, table)
    if _is_mask(where):
        return _mask(where, len(table)).copy()
    if isinstance(where, Mapping):
        kept = np.ones(len(table), bool)
        for column, wanted in where.items():
            kept &= _has(table, column, wanted)
        return kept
    raise UsageError(f"the condition is {type(where).__name__}", expected=_FORMS)


def _evaluated(table: pd.DataFrame, text: str) -> NDArray[np.bool_]:
    from filterdb.shift import evaluate

    mask = evaluate(text, table, where="select")
    if mask.dtype != "boolean":
        raise ColumnError(
            f"the condition {text[:200]!r} is {'text' if mask.dtype == 'str' else 'a number'}",
            where="select",
            expected="a truth value, such as a comparison",
        )
    return mask.fillna(False).to_numpy(bool)


def _truths(mask: pd.Series[Any], table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the truth values of all records; a mask of some of them says no to the others."""
    if not pd.api.types.is_bool_dtype(mask.dtype):
        raise UsageError(f"a column of {mask.dtype} is no condition", expected=_FORMS)
    if mask.index.equals(table.index):
        return mask.fillna(False).to_numpy(bool)
    kept = np.zeros(len(table), bool)
    kept[_found(mask[mask.fillna(False).to_numpy(bool)].to_frame(), table)] = True
    return kept


def _has(table: pd.DataFrame, column: str, wanted: Any) -> NDArray[np.bool_]:
    """Return which records have one of the wanted values; a text that none has is a slip of the pen."""
    from filterdb.shift.columns import column as column_of

    values = column_of(table, column, where="select")
    several = isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes)
    choices = list(wanted) if several else [wanted]
    for choice in choices:
        if isinstance(choice, str) and not (values == choice).any():
            known = sorted({value for value in values.dropna() if isinstance(value, str)})
            raise UsageError(
                f"no record has the {column} {choice!r}",
                where="select",
                expected=_listed(known),
                hint=_meant(choice, known),
            )
    return values.isin(choices).to_numpy(bool)


def _of_models(names: pd.Series[str], patterns: Sequence[str], path: Path) -> NDArray[np.bool_]:
    known = list(dict.fromkeys(names))
    found: set[str] = set()
    for pattern in patterns:
        matches = {name for name in known if name == pattern} or set(fnmatch.filter(known, pattern))
        if not matches:
            raise UsageError(
                f"no model with filters is called {pattern!r}",
                where=path,
                expected="the name of a model, or a pattern with * and ?",
                hint=_meant(pattern, known) or _within(pattern, known) or f"such as {_listed(known)}",
            )
        found |= matches
    return names.isin(found).to_numpy(bool)


def _found(rows: pd.DataFrame, table: pd.DataFrame) -> Positions:
    """Return where rows stand in the table that they were taken from, whatever was done to them since."""
    if _KEY in rows.columns:
        found = pd.Index(table[_KEY]).get_indexer(pd.Index(rows[_KEY]))
    elif list(rows.index.names) == list(table.index.names):
        found = table.index.get_indexer(rows.index)
    else:
        raise UsageError(
            "the rows have neither the index of meta nor its columns filter_start and filter_end",
            expected="rows of meta or layers",
            hint="models are chosen by name: db.select(models=rows['name'])"
            if rows.index.name == "model_id" and "name" in rows.columns
            else "keep the index: choose columns by db.meta[[...]] rather than by reset_index",
        )
    if (found < 0).any():
        raise _foreign(int(np.count_nonzero(found < 0)), len(rows))
    return np.asarray(found, np.int64)


def _foreign(count: int, rows: int) -> UsageError:
    return UsageError(
        f"{count:,} of the {rows:,} rows are not of this data set",
        expected="rows of meta or layers of the same file",
    )


def _listed(names: Sequence[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more or "a column that holds text"


def _within(name: str, known: Sequence[str]) -> str | None:
    found = name and any(name.casefold() in one.casefold() for one in known)
    return f"names that hold it: '*{name}*'" if found else None


def _meant(name: str, known: Sequence[str]) -> str | None:
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else None
