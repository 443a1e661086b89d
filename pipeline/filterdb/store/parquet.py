"""Tables and filters as Parquet files; written for any tool to read, read back with distrust.

A missing number or text is a null. Filters have a column for each of their values, because SQL engines and
data frames compute on columns and not on lists; the values keep all their bits, the payloads of NaNs
among them, which a dictionary of values would lose.
"""

from __future__ import annotations

import contextlib
import itertools
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filterdb import schema
from filterdb.errors import CorruptDataError
from filterdb.types import Filters

GROUP_ROWS: Final = 1 << 17
"""Filters of one row group: what a reader must hold at once."""

MAX_WIDTH: Final = 4_096
"""Values of the largest kernel that gets a column a value."""

MAX_TABLE_BYTES: Final = 1 << 32
_MOST_TIMES: Final = 64
"""What a large table may take, in sizes of its file."""

_BATCH_ROWS: Final = 256
_BUFFER_BYTES: Final = 1 << 20
_KEYS: Final = ("filter_id", "layer_id")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame, the levels of a named index as its first columns; pandas finds the index again.

    Parameters
    ----------
    frame
        The frame.
    path
        The file, overwritten.
    """
    levels = [name for name in frame.index.names if name is not None]
    table = pa.Table.from_pandas(frame, preserve_index=bool(levels))
    table = table.select([*levels, *frame.columns])
    pq.write_table(table, path, compression="zstd")


def read_table(path: Path, *, most_rows: int) -> pd.DataFrame:
    """Read a table that may come from anybody, as columns of int64, float64, bool and text.

    Parameters
    ----------
    path
        The file.
    most_rows
        Rows that it may have.

    Raises
    ------
    CorruptDataError
        If it is missing, is no Parquet, holds other types or is far larger than such a table can be.
    """
    with opened(path) as file:
        columns = _table_columns(file, path)
        _check_rows(file.metadata.num_rows, most_rows, path)
        parts: dict[str, list[Any]] = {name: [] for name in columns}
        left = _room(path)
        # Some rows at a time, so that wide cells are found out before there are many of them: a small file
        # can stand for far more than it takes itself.
        for batch in _batches(file, _BATCH_ROWS):
            left -= batch.nbytes
            _check_left(left, path)
            for place, (name, kind) in enumerate(columns.items()):
                parts[name].append(_cells(batch.column(place), name, kind, path))
        return pd.DataFrame({name: _joined(parts[name], kind) for name, kind in columns.items()})


def check_size(path: Path, *, most_rows: int) -> None:
    """Refuse a table that is far larger in memory than in its file, whatever the types of its columns are.

    Parameters
    ----------
    path
        The file.
    most_rows
        Rows that it may have.

    Raises
    ------
    CorruptDataError
        If it is missing, is no Parquet, has more rows or takes more than :data:`MAX_TABLE_BYTES`.
    """
    with opened(path) as file:
        # The sum over all groups is stated too, and is not what a reader goes by.
        rows = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        _check_rows(rows, most_rows, path)
        left = _room(path)
        for batch in _batches(file, _BATCH_ROWS):
            left -= batch.nbytes
            _check_left(left, path)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, and turn all that is wrong with it into a message that names it.

    Parameters
    ----------
    path
        The file.
    """
    try:
        # A pipe would wait for a writer for ever. What a link leads to is as good: hubs keep files so.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorruptDataError("this is no regular file", where=path, expected="a Parquet file")
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
            yield file
    except FileNotFoundError:
        raise CorruptDataError(
            "a part of the export is missing", where=path, hint="take another copy of the folder"
        ) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        # Arrow's messages may go on for lines, and may quote what the file holds.
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise CorruptDataError(
            f"the Parquet file cannot be read: {said}", where=path, hint="take another copy of the folder"
        ) from error


def _batches(file: pq.ParquetFile, height: int) -> Iterator[pa.RecordBatch]:
    """Read a file one row group at a time: Arrow keeps what it has read of all that it is asked for."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(height, row_groups=[group], use_threads=False)


def _check_rows(rows: int, most: int, path: Path) -> None:
    if rows > most:
        raise CorruptDataError(f"the table has {rows:,} rows", where=path, expected=f"{most:,} at most")


def _room(path: Path) -> int:
    return max(MAX_TABLE_BYTES, _MOST_TIMES * path.stat().st_size)


def _check_left(left: int, path: Path) -> None:
    if left < 0:
        raise CorruptDataError(
            "the table is too large", where=path, expected=f"{_room(path):,} bytes at most"
        )


_TYPES: Final = {
    pa.int64(): "int64",
    pa.float64(): "float64",
    pa.bool_(): "bool",
    pa.string(): "str",
    pa.large_string(): "str",
}


def _table_columns(file: pq.ParquetFile, path: Path) -> dict[str, str]:
    found = file.schema_arrow
    if len(found) > schema.MAX_COLUMNS or len(set(found.names)) != len(found):
        raise CorruptDataError(
            f"the table has {len(found):,} columns, {len(set(found.names)):,} of them of different names",
            where=path,
            expected=f"{schema.MAX_COLUMNS:,} columns at most, each with a name of its own",
        )
    for field in found:
        if field.type not in _TYPES:
            raise CorruptDataError(
                f"the column {field.name!r} is of type {field.type}",
                where=path,
                expected="int64, double, bool or string",
            )
    return {field.name: _TYPES[field.type] for field in found}


def _cells(part: pa.Array, name: str, kind: str, path: Path) -> Any:
    """Return the cells of a column as numpy has them, or as a list of texts."""
    if kind in ("int64", "bool") and part.null_count:
        raise CorruptDataError(f"the column {name!r} has missing cells", where=path, expected=kind)
    if kind != "str":
        return part.to_numpy(zero_copy_only=False).astype(kind)
    widest = pc.max(pc.binary_length(part)).as_py() or 0
    if widest > schema.MAX_CELL_BYTES:
        raise CorruptDataError(
            f"a cell of the column {name!r} takes {widest:,} bytes",
            where=path,
            expected=f"{schema.MAX_CELL_BYTES:,} at most",
        )
    return part.to_pylist()


def _joined(parts: list[Any], kind: str) -> pd.Series[Any]:
    if kind == "str":
        return pd.Series(list(itertools.chain.from_iterable(parts)), dtype="str")
    return pd.Series(np.concatenate(parts) if parts else np.empty(0, kind), dtype=kind)


@dataclass(frozen=True, slots=True)
class Piece:
    """Filters of one record.

    Parameters
    ----------
    filter_id
        Number of the first of them.
    layer_id
        The record's.
    filters
        The filters; their memory may be used again afterwards.
    """

    filter_id: int
    layer_id: int
    filters: Filters


def write_filters(path: Path, pieces: Iterable[Piece], width: int) -> int:
    """Write the filters of one model, a filter a row, and return how many there were.

    Parameters
    ----------
    path
        The file, overwritten.
    pieces
        The filters.
    width
        Values of a filter.
    """
    names = value_columns(width)
    types = pa.schema([(name, pa.int64()) for name in _KEYS] + [(name, pa.float32()) for name in names])
    group = _Group(_group_rows(width), width)
    # The bytes of floats compress one by one, if at all.
    encodings = {"filter_id": "DELTA_BINARY_PACKED", **dict.fromkeys(names, "BYTE_STREAM_SPLIT")}
    options = {"compression": "zstd", "use_dictionary": ["layer_id"], "column_encoding": encodings}
    with pq.ParquetWriter(path, types, **options) as writer:
        for piece in pieces:
            for full in group.take(piece):
                writer.write_table(full.table(types))
        if group.used:
            writer.write_table(group.table(types))
    return group.total


def _group_rows(width: int) -> int:
    return max(1, min(GROUP_ROWS, schema.CHUNK_VALUES // width))


def value_columns(width: int) -> list[str]:
    """Return the columns that hold the values of a filter, row by row of the kernel."""
    return [f"f{place}" for place in range(width)]


class _Group:
    """The filters of a row group, as far as they have come; column by column, as Arrow wants them."""

    def __init__(self, rows: int, width: int) -> None:
        self._keys = np.empty((len(_KEYS), rows), np.int64)
        self._values = np.empty((width, rows), np.float32)
        self.rows, self.used, self.total = rows, 0, 0

    def take(self, piece: Piece) -> Iterator[_Group]:
        """Take filters in, and yield this group whenever it is full."""
        done = 0
        while done < len(piece.filters):
            count = min(len(piece.filters) - done, self.rows - self.used)
            place = slice(self.used, self.used + count)
            first = piece.filter_id + done
            self._keys[0, place] = np.arange(first, first + count)
            self._keys[1, place] = piece.layer_id
            self._values[:, place] = piece.filters[done : done + count].T
            self.used, self.total, done = self.used + count, self.total + count, done + count
            if self.used == self.rows:
                yield self
                self.used = 0

    def table(self, types: pa.Schema) -> pa.Table:
        """Return what has come."""
        arrays = [pa.array(column[: self.used]) for column in (*self._keys, *self._values)]
        return pa.Table.from_arrays(arrays, schema=types)


def read_filters(
    path: Path, *, first: int, layer_ids: NDArray[np.int64], counts: NDArray[np.int64], width: int
) -> Iterator[Filters]:
    """Read the filters of one model in blocks, each of which is overwritten by the next.

    Parameters
    ----------
    path
        The file.
    first
        Number of the model's first filter.
    layer_ids, counts
        The records that the filters must be of, in order, and how many filters each of them has.
    width
        Values of a filter.

    Raises
    ------
    CorruptDataError
        If the file is missing or holds anything else than these filters.
    """
    with opened(path) as file:
        _check_filter_columns(file, width, path)
        rows = int(counts.sum())
        if file.metadata.num_rows != rows:
            raise CorruptDataError(
                f"the file holds {file.metadata.num_rows:,} filters", where=path, expected=f"{rows:,}"
            )
        height, row = _group_rows(width), 0
        buffer = np.empty((min(height, rows), width), np.float32)
        for batch in _batches(file, height):
            if row + len(batch) > rows:
                raise CorruptDataError("there are more rows than it says", where=path, expected=f"{rows:,}")
            places = np.arange(row, row + len(batch))
            layers = layer_ids[np.searchsorted(np.cumsum(counts), places, side="right")]
            _check_key(batch, "filter_id", first + places, path)
            _check_key(batch, "layer_id", layers, path)
            yield _values(batch, buffer, path)
            row += len(batch)


def _check_key(batch: pa.RecordBatch, name: str, expected: NDArray[np.int64], path: Path) -> None:
    column = batch.column(name)
    if column.null_count or not np.array_equal(column.to_numpy(), expected):
        raise CorruptDataError(
            f"the column {name!r} is not what the tables say", where=path, expected="the filters of the model"
        )


def _check_filter_columns(file: pq.ParquetFile, width: int, path: Path) -> None:
    found = file.schema_arrow
    wanted = {name: pa.int64() for name in _KEYS} | {name: pa.float32() for name in value_columns(width)}
    if sorted(found.names) != sorted(wanted):
        odd = sorted(set(found.names) ^ set(wanted)) or ["twice the same"]
        raise CorruptDataError(
            f"the columns are others: {odd[0]!r}",
            where=path,
            expected=f"filter_id, layer_id and f0 to f{width - 1}",
        )
    for name, kind in wanted.items():
        if found.field(name).type != kind:
            raise CorruptDataError(
                f"the column {name!r} is of type {found.field(name).type}", where=path, expected=str(kind)
            )


def _values(batch: pa.RecordBatch, buffer: Filters, path: Path) -> Filters:
    target = buffer[: len(batch)]
    for place, name in enumerate(value_columns(buffer.shape[1])):
        column = batch.column(name)
        if column.null_count:
            raise CorruptDataError("values are missing", where=path, expected="every value of every filter")
        target[:, place] = column.to_numpy()
    return target
