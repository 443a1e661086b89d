"""The table of a published file in our words: the columns of ``schema.py``, none of them guessed.

What such a file does not say is missing: NaN for numbers and truth values, no text for texts. Comparisons
with it are missing too, and a metric that needs it is NaN with the reason.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb import schema
from filterdb.errors import CorruptDataError, nearest
from filterdb.store.tables import Tables
from filterdb.text import clean_text

_COUNTED: Final = """
Conv Add Relu MaxPool Reshape MatMul Transpose BatchNormalization Concat Shape Gather Softmax Slice
Unsqueeze Mul Exp Sub Div Pad InstanceNormalization Upsample Cast Floor Clip ReduceMean LeakyRelu
ConvTranspose Tanh GlobalAveragePool Gemm ConstantOfShape Flatten Squeeze Less Loop Split Min Tile
Sigmoid NonMaxSuppression TopK ReduceMin AveragePool Dropout Where Equal Expand Pow Sqrt Erf Neg
Resize LRN LogSoftmax Identity Ceil Round Elu Log Range GatherElements ScatterND RandomNormalLike
PRelu Sum ReduceSum NonZero Not
"""

OPERATORS: Final = frozenset(_COUNTED.split())
"""Operators that the published tables count: a missing count is one of a model that has none."""

_RANGE: Final = r"(\d{1,18}):(\d{1,18})"
_KNOWN: Final = ("filter_start", "filter_end", "layer_name")


def published_tables(frame: pd.DataFrame, *, n_filters: int, where: Path) -> Tables:
    """Lay out the table of a published file as the tables of a data set file.

    Parameters
    ----------
    frame
        The table as it is in the file.
    n_filters
        Rows of the filters.
    where
        The file, for messages.

    Raises
    ------
    CorruptDataError
        If a column is missing that records cannot do without, or the records do not cover the filters.
    """
    frame, start, end = in_order(frame, where)
    _check_cover(frame, start, end, n_filters, where)
    index = _index(frame, where)
    columns = {
        **_leading(frame),
        **_metadata(frame),
        **_others(frame, where),
        **_counts(frame),
        **_record(index, start, end),
    }
    meta = pd.DataFrame(columns).set_index(index)
    return Tables(meta=meta, models=_models(meta), skipped=schema.empty_frame(schema.SKIPPED))


def in_order(frame: pd.DataFrame, where: Path) -> tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.int64]]:
    """Return the table in the order of its filters, the levels of its index as columns, and their ranges.

    Parameters
    ----------
    frame
        The table as it is in the file.
    where
        The file, for messages.
    """
    frame = _flat(frame, where)
    start, end = _ranges(frame, where)
    order = np.argsort(start, kind="stable")
    return frame.iloc[order].reset_index(drop=True), start[order], end[order]


def _flat(frame: pd.DataFrame, where: Path) -> pd.DataFrame:
    """Return the frame with the levels of its index as columns."""
    if isinstance(frame.index, pd.MultiIndex):
        levels = {
            name: frame.index.get_level_values(place)
            for place, name in reversed(list(enumerate(frame.index.names)))
            if name in schema.INDEX and name not in frame.columns
        }
        frame = pd.concat([pd.DataFrame(levels), frame.reset_index(drop=True)], axis="columns")
    required = ("model_id", "conv_depth", "conv_depth_norm", "filter_ids", "model")
    for name in required:
        if name not in frame.columns:
            close = nearest(name, frame.columns)
            raise CorruptDataError(
                f"/meta has no column or index level {name!r}" + (f" (but {close!r})" if close else ""),
                where=where,
                expected=", ".join(required),
            )
    if not len(frame):
        raise CorruptDataError("/meta has no rows", where=where, expected="one row a layer")
    return frame


def _ranges(frame: pd.DataFrame, where: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    texts = _text(frame["filter_ids"])
    parts = texts.str.extract(f"^{_RANGE}$")
    odd = parts.isna().any(axis="columns").to_numpy()
    if odd.any():
        raise _record_error(frame, int(odd.argmax()), "has no range of filters", "such as 0:63", where)
    numbers = parts.astype(np.int64).to_numpy()
    start, end = numbers[:, 0], numbers[:, 1] + 1
    if (start >= end).any():
        row = int((start >= end).argmax())
        raise _record_error(frame, row, "ends before it begins", "the first and the last filter", where)
    return start, end


def _check_cover(
    frame: pd.DataFrame, start: NDArray[np.int64], end: NDArray[np.int64], n_filters: int, where: Path
) -> None:
    follows = np.concatenate([[0], end[:-1]])
    wrong = np.flatnonzero(start != follows)
    if len(wrong):
        row = int(wrong[0])
        what = "overlaps the one before it" if start[row] < follows[row] else "leaves a gap before it"
        raise _record_error(frame, row, what, f"a range that begins at {follows[row]:,}", where)
    if end[-1] != n_filters:
        row = int(np.argmax(end > n_filters)) if end[-1] > n_filters else len(frame) - 1
        what = (
            "runs past the last filter" if end[-1] > n_filters else "is the last one and leaves filters over"
        )
        raise _record_error(frame, row, what, f"{n_filters:,} filters in all", where)


def _record_error(frame: pd.DataFrame, row: int, what: str, expected: str, where: Path) -> CorruptDataError:
    cell, model = (str(frame[name].iloc[row])[:100] for name in ("filter_ids", "model"))
    return CorruptDataError(
        f"a record of /meta (model {model}, filter_ids {cell!r}) {what}", where=where, expected=expected
    )


def _index(frame: pd.DataFrame, where: Path) -> pd.MultiIndex:
    model, depth = (_ids(frame, name, where) for name in ("model_id", "conv_depth"))
    norm = pd.to_numeric(frame["conv_depth_norm"], errors="coerce").to_numpy(np.float64)
    arrays = [model, depth, np.where(np.isfinite(norm), norm, np.nan)]
    if "layer_id" in frame.columns:
        index = pd.MultiIndex.from_arrays([*arrays, _ids(frame, "layer_id", where)], names=schema.INDEX)
        if index.is_unique:
            return index
    counted = pd.Series(model).groupby(model).cumcount().to_numpy(np.int64)
    return pd.MultiIndex.from_arrays([*arrays, counted], names=schema.INDEX)


def _ids(frame: pd.DataFrame, name: str, where: Path) -> NDArray[np.int64]:
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
    odd = ~((values >= 0) & (values < 2**53) & (values == np.floor(values)))
    if odd.any():
        row = int(odd.argmax())
        raise _record_error(frame, row, f"has the {name} {str(frame[name].iloc[row])[:40]}", "a count", where)
    return values.astype(np.int64)


def _leading(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    return {
        name: _text(_column(frame, name)) if dtype == "str" else _number(_column(frame, name))
        for name, dtype in schema.LEADING.items()
    }


def _metadata(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """Return what describes the models, with the kind of images under both names that it has had."""
    twins = {"Datatype": "Visual Category", "Visual Category": "Datatype"}
    return {
        name: _text(_column(frame, name if name in frame.columns else twins.get(name, name)))
        for name in schema.METADATA
    }


def _counts(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    counted = [name for name in frame.columns if schema.is_kernel_column(name) or name in OPERATORS]
    return {name: _number(_column(frame, name)) for name in schema.TOTALS} | {
        name: _number(_filled(frame[name])) for name in counted
    }


def _filled(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return counts with 0 for those that are missing, also where nothing is counted and all is text."""
    return (cells.astype(object) if cells.dtype == "str" else cells).fillna(0)


def _others(frame: pd.DataFrame, where: Path) -> dict[str, pd.Series[Any]]:
    """Return columns that we know nothing of, but for those whose names mean something else here."""
    taken = {*schema.INDEX, *schema.LEADING, *schema.METADATA, *schema.TOTALS, *schema.RECORD, *OPERATORS}
    names = [name for name in frame.columns if name not in taken and not schema.is_kernel_column(name)]
    if len(frame.columns) > schema.MAX_COLUMNS:
        raise CorruptDataError(
            f"/meta has {len(frame.columns):,} columns",
            where=where,
            expected=f"{schema.MAX_COLUMNS:,} at most",
        )
    return {clean_text(name): plain_column(frame[name]) for name in names}


def _record(
    index: pd.MultiIndex, start: NDArray[np.int64], end: NDArray[np.int64]
) -> dict[str, pd.Series[Any]]:
    layers = index.get_level_values("layer_id").astype("str")
    known = dict(zip(_KNOWN, (start, end, "layer_" + layers), strict=True))
    return {
        name: pd.Series(np.asarray(known[name]), dtype=dtype)
        if name in known
        else _unknown(len(start), dtype)
        for name, dtype in schema.RECORD.items()
    }


def _models(meta: pd.DataFrame) -> pd.DataFrame:
    """Return one row a model that has records; a published file says nothing of others."""
    ids = meta.index.get_level_values("model_id")
    first = meta[~ids.duplicated()].droplevel([1, 2, 3])
    counts = (meta["filter_end"] - meta["filter_start"]).groupby(ids).agg(["size", "sum"]).loc[first.index]
    kernels = [name for name in meta.columns if schema.is_kernel_column(name)]
    known: dict[str, Any] = {
        "name": first["model"],
        "status": pd.Series("ok", first.index, "str"),
        "has_metadata": first[[name for name in schema.METADATA if name != "Name"]]
        .notna()
        .any(axis="columns"),
        **{name: first[name] for name in ("producer", "op_set", "depth", "total_filters")},
        "n_records": counts["size"],
        "n_filters": counts["sum"],
        "kernels": _json(first[kernels].rename(columns=lambda name: name.removesuffix(" filters"))),
        "ops": _json(first[[name for name in meta.columns if name in OPERATORS]]),
        "notes": pd.Series("[]", first.index, "str"),
    }
    columns = {
        name: known[name] if name in known else _unknown(len(first), dtype).set_axis(first.index)
        for name, dtype in schema.MODELS.items()
    }
    models = pd.DataFrame(columns | {name: first[name] for name in schema.METADATA})
    return models.sort_index().rename_axis("model_id")


def _json(counts: pd.DataFrame) -> pd.Series[Any]:
    rows = [
        json.dumps({name: int(count) for name, count in row.items() if count > 0})
        for row in counts.to_dict("records")
    ]
    return pd.Series(rows, counts.index, "str")


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    return frame[name] if name in frame.columns else pd.Series(np.nan, frame.index, "float64")


def _unknown(rows: int, dtype: str) -> pd.Series[Any]:
    return (
        pd.Series(None, range(rows), "str") if dtype == "str" else pd.Series(np.nan, range(rows), "float64")
    )


def _text(cells: pd.Series[Any]) -> pd.Series[Any]:
    missing = cells.isna()
    distinct = {cell: clean_text(str(cell)) for cell in cells[~missing].unique()}
    return pd.Series(
        [None if none else distinct[cell] for cell, none in zip(cells, missing, strict=True)],
        cells.index,
        "str",
    )


def _number(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return numbers, as integers where all are; what is none is missing."""
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    values = values.where(np.isfinite(values))
    whole = bool((values == np.floor(values)).all() and (values.abs() < 2**53).all())
    return values.astype("int64") if whole else values


def plain_column(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of truth values, of numbers or of text, whatever its objects allow.

    Parameters
    ----------
    cells
        The column.
    """
    if cells.dtype == bool or cells.dtype.kind in "iu":
        return cells
    present = cells.dropna().tolist()
    if present and all(isinstance(cell, bool) for cell in present) and len(present) == len(cells):
        return cells.astype(bool)
    numbers = all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in present)
    return _number(cells) if present and numbers else _text(cells)
