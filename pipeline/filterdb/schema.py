"""Names, types and order of everything a data set file holds.

``docs/file-format.md`` is the specification; this module is its executable half. Nothing here reads or
writes files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd

from filterdb.errors import CorruptDataError, MetadataError, nearest

FORMAT: Final = "filterdb"
FORMAT_VERSION: Final = 1
CHUNK_ROWS: Final = 65_536
"""Rows of one chunk of ``/filter``: a whole number of filters, 2.25 MiB of 3x3."""

MAX_COLUMNS: Final = 1_000
"""PyTables keeps a table's description in one object header, which some 3,000 columns overflow."""

INDEX: Final = ("model_id", "conv_depth", "conv_depth_norm", "layer_id")

METADATA: Final = (
    "Name",
    "Paper",
    "Pretraining-Dataset",
    "Training-Dataset",
    "Datatype",
    "Visual Category",
    "Task",
    "Accessible",
    "Dataset URL",
)
"""The reference's columns that describe a model; ``Datatype`` is the older name of ``Visual Category``."""

_INT, _FLOAT, _BOOL, _STR = "int64", "float64", "bool", "str"

LEADING: Final[Mapping[str, str]] = MappingProxyType(
    {"filter_ids": _STR, "model": _STR, "producer": _STR, "op_set": _INT, "depth": _INT}
)
TOTALS: Final[Mapping[str, str]] = MappingProxyType({"total_filters": _INT, "3x3_filter_share": _FLOAT})
RECORD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "filter_start": _INT,
        "filter_end": _INT,
        "layer_name": _STR,
        "op_type": _STR,
        "in_channels": _INT,
        "out_channels": _INT,
        "group": _INT,
        "depthwise": _BOOL,
        "strides": _STR,
        "dilations": _STR,
        "weight_dtype": _STR,
        "weight_source": _STR,
        "weights_sha256": _STR,
        "duplicate_of": _INT,
        "bn_follows": _BOOL,
        "nonfinite": _INT,
        "model_sha256": _STR,
    }
)
MODELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": _STR,
        "path": _STR,
        "status": _STR,
        "reason": _STR,
        "sha256": _STR,
        "size": _INT,
        "duplicate_of": _STR,
        "has_metadata": _BOOL,
        "producer": _STR,
        "ir_version": _INT,
        "op_set": _INT,
        "depth": _INT,
        "n_records": _INT,
        "n_filters": _INT,
        "n_skipped": _INT,
        "total_filters": _INT,
        "kernels": _STR,
        "ops": _STR,
        "other_ops": _STR,
        "notes": _STR,
    }
)
SKIPPED: Final[Mapping[str, str]] = MappingProxyType(
    {"model_id": _INT, "layer_name": _STR, "op_type": _STR, "kernel": _STR, "reason": _STR}
)

STATUSES: Final = ("ok", "no_filters", "failed", "crashed")

_KERNEL_COLUMN = re.compile(r"\(\d+, \d+\) filters")
_OPERATOR_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")


def kernel_column(shape: str) -> str:
    """Return the column that counts filters of a kernel shape such as ``"(3, 3)"``."""
    return f"{shape} filters"


def is_kernel_column(column: str) -> bool:
    """Tell whether a column counts the filters of one kernel shape."""
    return _KERNEL_COLUMN.fullmatch(column) is not None


def empty_frame(columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame without rows that has the columns and types of a table."""
    return pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in columns.items()})


def typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame whose named columns have the types of the schema."""
    return frame.astype({name: dtype for name, dtype in columns.items() if name in frame.columns})


def check_metadata_columns(columns: Iterable[str], *, where: object) -> None:
    """Refuse metadata columns that would overwrite, or be mistaken for, what extraction writes.

    Parameters
    ----------
    columns
        Columns of the metadata table.
    where
        The table, for the message.
    """
    reserved = {*INDEX, *LEADING, *TOTALS, *RECORD, *MODELS}
    for column in columns:
        if column in reserved or is_kernel_column(column):
            raise MetadataError(
                f"the column {column!r} is one that extraction writes itself",
                where=where,
                hint="rename or remove it",
            )


def check_operator_columns(metadata: Iterable[str], operators: Iterable[str], *, where: object) -> None:
    """Refuse metadata columns that are also the name of an operator that the zoo uses."""
    clash = sorted(set(metadata) & set(operators))
    if clash:
        raise MetadataError(
            f"the column {clash[0]!r} is the name of an ONNX operator, whose nodes are counted there",
            where=where,
            hint="rename it",
        )


def validate_meta(meta: pd.DataFrame, *, n_filters: int, where: object) -> None:
    """Check every invariant of ``/meta`` that does not need the filters.

    Parameters
    ----------
    meta
        The table.
    n_filters
        Rows of ``/filter``.
    where
        The file, for messages.

    Raises
    ------
    CorruptDataError
        If an invariant of ``docs/file-format.md`` does not hold.
    """
    _check_columns(meta, where)
    start, end = meta["filter_start"].to_numpy(), meta["filter_end"].to_numpy()
    if len(meta) and (start[0] != 0 or end[-1] != n_filters or np.any(start[1:] != end[:-1])):
        row = int(np.argmax(start != np.concatenate([[0], end[:-1]]))) if len(meta) else 0
        raise CorruptDataError(
            f"the filter rows of /meta do not cover /filter without gaps or overlaps (row {row})",
            where=where,
            expected=f"ranges that follow each other from 0 to {n_filters}",
        )
    if np.any(end <= start):
        raise CorruptDataError("a record of /meta holds no filter", where=where)
    published = pd.Series(start, dtype="str") + ":" + pd.Series(end - 1, dtype="str")
    _check_same(
        meta["filter_ids"].to_numpy() == published.to_numpy(), "filter_ids", "filter_start:filter_end", where
    )
    counts = meta["out_channels"].to_numpy() * meta["in_channels"].to_numpy()
    _check_same(counts == end - start, "out_channels * in_channels", "the number of filter rows", where)
    if not meta.index.is_unique:
        raise CorruptDataError("the index of /meta is not unique", where=where)
    _check_order(meta, where)


def _check_columns(meta: pd.DataFrame, where: object) -> None:
    if tuple(meta.index.names) != INDEX:
        raise CorruptDataError(
            f"the index of /meta is {list(meta.index.names)}", where=where, expected=str(list(INDEX))
        )
    for column in (*LEADING, *TOTALS, *RECORD, *METADATA):
        if column not in meta.columns:
            close = nearest(column, meta.columns)
            raise CorruptDataError(
                f"/meta has no column {column!r}" + (f" (but {close!r})" if close else ""), where=where
            )


def _check_same(equal: np.ndarray, left: str, right: str, where: object) -> None:
    if not np.all(equal):
        raise CorruptDataError(
            f"row {int(np.argmin(equal))} of /meta contradicts itself",
            where=where,
            expected=f"{left} = {right}",
        )


def _check_order(meta: pd.DataFrame, where: object) -> None:
    model = meta.index.get_level_values("model_id").to_numpy()
    layer = meta.index.get_level_values("layer_id").to_numpy()
    first = np.concatenate([[True], model[1:] != model[:-1]])
    expected = np.arange(len(meta)) - np.maximum.accumulate(np.where(first, np.arange(len(meta)), 0))
    if np.any(np.diff(model) < 0) or np.any(layer != expected):
        raise CorruptDataError(
            "the records of /meta are out of order", where=where, expected="models by id, layers from 0"
        )
