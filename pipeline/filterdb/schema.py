"""Names, types and order of everything a data set file holds.

``docs/file-format.md`` is the specification; this module is its executable half. Nothing here reads or
writes files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd

from filterdb.errors import CorruptDataError, MetadataError, nearest

FORMAT: Final = "filterdb"
FORMAT_VERSION: Final = 1
CHUNK_ROWS: Final = 65_536
"""Rows of one chunk of ``/filter``: a whole number of filters, 2.25 MiB of 3x3."""

CHUNK_VALUES: Final = 1 << 24
"""Most values of one chunk, which kernels of more than 16x16 meet."""

MAX_COLUMNS: Final = 1_000
"""PyTables keeps a table's description in one object header, which some 3,000 columns overflow."""

MAX_NAMES_BYTES: Final = 60_000
"""The names of all columns are one pickle in one attribute, for which HDF5 has 64 KiB."""

MAX_METADATA_COLUMNS: Final = 256
MAX_METADATA_NAMES_BYTES: Final = 16_000
MAX_CELL_BYTES: Final = 65_536
"""Text is stored at the width of a column's longest cell, in every row."""

ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "format": "str",
        "format_version": "int64",
        "kernel": "str",
        "n_filters": "int64",
        "n_records": "int64",
        "n_models": "int64",
        "content_hash": "str",
    }
)
OPTIONAL_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType({"extractor_version": "int64"})

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
_OPERATOR_NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,63}")
_RESERVED: Final = frozenset({*INDEX, *LEADING, *TOTALS, *RECORD, *MODELS})


def chunk_rows(rows: int, kernel_size: int) -> int:
    """Return the height of the chunks of ``/filter``.

    Parameters
    ----------
    rows
        Rows of ``/filter``, at least one.
    kernel_size
        Its width.
    """
    return min(CHUNK_ROWS, rows, max(1, CHUNK_VALUES // kernel_size))


def kernel_column(shape: str) -> str:
    """Return the column that counts filters of a kernel shape such as ``"(3, 3)"``."""
    return f"{shape} filters"


def is_kernel_column(column: str) -> bool:
    """Tell whether a column counts the filters of one kernel shape."""
    return _KERNEL_COLUMN.fullmatch(column) is not None


def is_operator_column(name: str) -> bool:
    """Tell whether the nodes of an operator are counted in a column of its name.

    Operators of the standard are; what a file makes up may be called anything.
    """
    return _OPERATOR_NAME.fullmatch(name) is not None and name not in METADATA and name not in _RESERVED


def names_bytes(columns: Iterable[str]) -> int:
    """Return what the names of columns take in a file, where each is an entry of a pickled list."""
    return sum(len(str(name).encode("unicode_escape")) + 9 for name in columns)


def empty_frame(columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame without rows that has the columns and types of a table."""
    return pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in columns.items()})


def typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame whose named columns have the types of the schema."""
    return frame.astype({name: dtype for name, dtype in columns.items() if name in frame.columns})


def check_metadata_columns(columns: Collection[str], *, where: object) -> None:
    """Refuse metadata columns that would overwrite, or be mistaken for, what extraction writes.

    Parameters
    ----------
    columns
        Columns of the metadata table.
    where
        The table, for the message.
    """
    for column in columns:
        if not column or not column.isprintable():
            raise MetadataError(
                f"a column is called {column!r}", where=where, expected="names of printable characters"
            )
        if column in _RESERVED or is_kernel_column(column):
            raise MetadataError(
                f"the column {column!r} is one that extraction writes itself",
                where=where,
                hint="rename or remove it",
            )
    if len(columns) > MAX_METADATA_COLUMNS or names_bytes(columns) > MAX_METADATA_NAMES_BYTES:
        raise MetadataError(
            f"there are {len(columns):,} columns, whose names take {names_bytes(columns):,} bytes",
            where=where,
            expected=f"{MAX_METADATA_COLUMNS} columns and {MAX_METADATA_NAMES_BYTES:,} bytes at most",
            hint="keep the columns that models are to be grouped by",
        )


def check_operator_columns(metadata: Iterable[str], operators: Iterable[str], *, where: object) -> None:
    """Refuse metadata columns that are also the name of an operator that the zoo uses.

    Parameters
    ----------
    metadata
        Columns of the metadata table.
    operators
        Operators of the zoo's models.
    where
        The table, for the message.
    """
    clash = sorted(set(metadata) & {name for name in operators if is_operator_column(name)})
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
    if tuple(meta.index.names) != INDEX:
        raise CorruptDataError(
            f"the index of /meta is {list(meta.index.names)}", where=where, expected=str(list(INDEX))
        )
    text = dict.fromkeys(METADATA, _STR)
    _check_columns("/meta", meta, {**LEADING, **TOTALS, **RECORD, **text}, where)
    start, end = meta["filter_start"].to_numpy(), meta["filter_end"].to_numpy()
    follows = np.concatenate([[0], end[:-1]]).astype(np.int64)[: len(meta)]
    _check_rows(meta, end > start, "a record that holds at least one filter", where)
    _check_rows(meta, start == follows, "ranges that cover /filter without gaps or overlaps", where)
    if (int(end[-1]) if len(meta) else 0) != n_filters:
        raise CorruptDataError(
            f"the records of /meta end at filter {end[-1] if len(meta) else 0:,}",
            where=where,
            expected=f"the {n_filters:,} rows of /filter",
        )
    published = (pd.Series(start, dtype="str") + ":" + pd.Series(end - 1, dtype="str")).to_numpy()
    _check_rows(meta, meta["filter_ids"].to_numpy() == published, "filter_ids as filter_start:end", where)
    counts = meta["out_channels"].to_numpy() * meta["in_channels"].to_numpy()
    _check_rows(meta, counts == end - start, "out_channels * in_channels filters", where)
    _check_index(meta, where)


def validate_tables(
    meta: pd.DataFrame, models: pd.DataFrame, skipped: pd.DataFrame, *, where: object
) -> None:
    """Check that the tables of a data set say the same of its models.

    Parameters
    ----------
    meta, models, skipped
        The tables; ``meta`` has been checked by :func:`validate_meta`.
    where
        The file, for messages.

    Raises
    ------
    CorruptDataError
        If they contradict each other.
    """
    _check_columns("/models", models, MODELS, where)
    _check_columns("/skipped", skipped, SKIPPED, where)
    ids = meta.index.get_level_values("model_id").to_numpy()
    for name, model_ids in (("/meta", ids), ("/skipped", skipped["model_id"].to_numpy())):
        if len(model_ids) and not 0 <= model_ids.min() <= model_ids.max() < len(models):
            raise CorruptDataError(
                f"{name} names a model that /models does not have",
                where=where,
                expected=f"{len(models)} models",
            )
    _check_rows(
        meta, meta["model"].to_numpy() == models["name"].to_numpy()[ids], "the name in /models", where
    )
    unknown = sorted(set(models["status"]) - set(STATUSES), key=str)
    if unknown:
        raise CorruptDataError(f"a model's status is {unknown[0]!r}", where=where, expected=str(STATUSES))
    if not models["name"].is_unique:
        raise CorruptDataError("two models of /models have one name", where=where)
    counts = meta["filter_end"].to_numpy() - meta["filter_start"].to_numpy()
    for column, found in (
        ("n_records", np.bincount(ids, minlength=len(models))),
        ("n_filters", np.bincount(ids, weights=counts, minlength=len(models))),
        ("n_skipped", np.bincount(skipped["model_id"].to_numpy(), minlength=len(models))),
    ):
        wrong = np.flatnonzero(models[column].to_numpy() != found)
        if len(wrong):
            raise CorruptDataError(
                f"{models['name'].iloc[wrong[0]]}: {column} is {models[column].iloc[wrong[0]]}",
                where=where,
                expected=f"{int(found[wrong[0]])}, as the other tables have it",
            )


def _check_columns(table: str, frame: pd.DataFrame, columns: Mapping[str, str], where: object) -> None:
    for column, dtype in columns.items():
        if column not in frame.columns:
            close = nearest(column, frame.columns)
            raise CorruptDataError(
                f"{table} has no column {column!r}" + (f" (but {close!r})" if close else ""), where=where
            )
        if str(frame[column].dtype) != dtype:
            raise CorruptDataError(
                f"the column {column!r} of {table} is {frame[column].dtype}", where=where, expected=dtype
            )


def _check_rows(meta: pd.DataFrame, holds: np.ndarray, expected: str, where: object) -> None:
    if not np.all(holds):
        row = int(np.argmin(holds))
        model, layer = meta["model"].iloc[row], meta["layer_name"].iloc[row]
        raise CorruptDataError(
            f"row {row} of /meta (model {model}, layer {layer}) contradicts the rest of the file",
            where=where,
            expected=expected,
        )


def _check_index(meta: pd.DataFrame, where: object) -> None:
    levels = [meta.index.get_level_values(name).to_numpy() for name in INDEX]
    model, depth, norm, layer = levels
    if [level.dtype.kind for level in levels] != ["i", "i", "f", "i"]:
        raise CorruptDataError("the index of /meta is of another type", where=where)
    rows = np.arange(len(meta))
    first = np.concatenate([[True], model[1:] != model[:-1]])[: len(meta)]
    expected = rows - np.maximum.accumulate(np.where(first, rows, 0))
    later = np.concatenate([[True], (model[1:] > model[:-1]) | (depth[1:] >= depth[:-1])])[: len(meta)]
    _check_rows(meta, np.diff(model, prepend=0) >= 0, "models in the order of their ids", where)
    _check_rows(meta, layer == expected, "layer_id that counts a model's records from 0", where)
    _check_rows(meta, (depth >= 0) & later, "a model's records in the order of conv_depth", where)
    _check_rows(meta, (norm >= 0) & (norm <= 1), "conv_depth_norm from 0 to 1", where)
