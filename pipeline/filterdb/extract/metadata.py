"""Join what people know about models to the files of a zoo."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError, MetadataError, nearest
from filterdb.extract.discover import relative_stem
from filterdb.opening import open_regular
from filterdb.text import clean_text
from filterdb.types import ModelSource

_MOST_ROWS = 1 << 22
_NO_NOTES = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RecursionError, TypeError)
_EXACT = 1 << 53
"""Integers up to here survive as float64, which is what a column with missing numbers becomes."""


_TRUTH: Final = {"True": True, "False": False, "true": True, "false": False}
_INTEGER: Final = r"-?(0|[1-9]\d{0,18})"
_NUMBER: Final = r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,2})?"
_DIGITS: Final = 17
"""Digits that a float keeps, an exponent's among them."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a zoo.

    Parameters
    ----------
    frame
        One row a model, in the order of the sources: the reference's columns, then any others.
    has_row
        Whether the metadata table has a row for each model.
    without_model
        Names of the rows that no file of the zoo answers to.
    ambiguous
        Names of rows that fit more than one file, and therefore none.
    """

    frame: pd.DataFrame
    has_row: tuple[bool, ...]
    without_model: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()


def join_metadata(sources: Sequence[ModelSource], path: Path | None) -> Metadata:
    """Read a metadata table and align it with the models of a zoo.

    Parameters
    ----------
    sources
        The models.
    path
        A CSV or Parquet file with a column ``Name``: a file stem, or a path within the zoo where stems
        collide. Without one, all columns are empty but ``Name``.

    Raises
    ------
    MetadataError
        If the table cannot be read, or a row or column of it cannot be used.
    """
    table = _empty() if path is None else _read(path)
    names = table["Name"].tolist()
    row_of, ambiguous = _match(sources, names)
    rows = [row_of.get(source.name, -1) for source in sources]
    frame = _aligned(table, rows)
    frame["Name"] = pd.Series(
        [names[row] if row >= 0 else source.name for row, source in zip(rows, sources, strict=True)],
        dtype="str",
    )
    used = set(rows)
    unused = [name for row, name in enumerate(names) if row not in used]
    return Metadata(
        frame=frame,
        has_row=tuple(row >= 0 for row in rows),
        without_model=tuple(name for name in unused if name not in ambiguous),
        ambiguous=tuple(name for name in unused if name in ambiguous),
    )


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([], dtype="str") for name in schema.METADATA})


def _read(path: Path) -> pd.DataFrame:
    table = _load(path)
    _check_columns(list(table.columns), path)
    table["Name"] = _without_suffix(_text(table["Name"], path).str.strip())
    if table["Name"].isna().any() or (table["Name"] == "").any():
        row = int((table["Name"].isna() | (table["Name"] == "")).to_numpy().argmax())
        raise MetadataError(f"row {row + 1} has no Name", where=path, expected="the file name of a model")
    twice = [name for name, count in Counter(table["Name"]).items() if count > 1]
    if twice:
        raise MetadataError(f"{twice[0]!r} has more than one row", where=path, expected="one row a model")
    return _with_reference_columns(table, path)


def _without_suffix(names: pd.Series[Any]) -> pd.Series[Any]:
    return names.str.replace(r"\.onnx$", "", case=False, regex=True)


def _load(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return _load_parquet(path)
        return _load_csv(path)
    except FileNotFoundError:
        raise MetadataError("no such file", where=path, expected="a CSV or Parquet file") from None
    except OSError as error:
        raise MetadataError(f"the file cannot be read: {error}", where=path) from error
    except UnicodeError as error:
        raise MetadataError(
            f"the file is not in UTF-8: {error}", where=path, expected="CSV in UTF-8"
        ) from error
    except (ValueError, csv.Error) as error:
        raise MetadataError(f"the file is no table: {error}", where=path, expected="CSV in UTF-8") from error


def _load_parquet(path: Path) -> pd.DataFrame:
    # Arrow takes a while to load.
    from filterdb.store.parquet import check_size

    open_regular(path).close()
    try:
        check_size(path, most_rows=_MOST_ROWS)
    except CorruptDataError as error:
        raise ValueError(error.reason) from error
    try:
        return pd.read_parquet(path).rename(columns=lambda column: str(column).strip())
    except _NO_NOTES as error:
        # What pandas says of notes in the file on how its columns were made, which anybody may write.
        raise ValueError(f"its description of the columns cannot be read: {str(error)[:200]}") from error


def _load_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file whose rows are as long as its header; pandas would shift or cut the others."""
    with open_regular(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        header = [name.strip() for name in next(lines, [])]
        if not header:
            raise MetadataError("the file is empty", where=path, expected="a line of column names")
        for row in lines:
            if any("\0" in cell for cell in row):
                raise MetadataError(f"line {lines.line_num} holds a NUL", where=path, expected="text")
            if row and len(row) != len(header):
                raise MetadataError(
                    f"line {lines.line_num} has {len(row)} cells",
                    where=path,
                    expected=f"{len(header)}, as the first line",
                )
    _check_columns(header, path)
    table = pd.read_csv(
        path,
        encoding="utf-8-sig",
        names=header,
        header=0,
        index_col=False,
        # Only an empty cell is missing: there is a data set called "NA", and a model called "nan".
        keep_default_na=False,
        na_values=[""],
        dtype="str",
    )
    # A model may be called 007, and so may its data set.
    others = [name for name in header if name not in schema.METADATA]
    return table.assign(**{name: _narrowed(table[name]) for name in others})


def _narrowed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Make a column of text one of numbers or truth values, if every cell is plainly one.

    A number with leading zeros is a code, one with more digits than a float keeps is an identifier, and
    ``12e4567`` is the beginning of a hash.
    """
    cells = column.dropna()
    if cells.empty:
        return column
    if cells.isin(_TRUTH).all():
        return column.map(_TRUTH)
    if cells.str.fullmatch(_INTEGER).all() and all(-(2**63) <= int(cell) < 2**63 for cell in cells):
        return pd.to_numeric(column.astype("object"), dtype_backend="numpy_nullable").astype("Int64")
    if cells.str.fullmatch(_NUMBER).all() and cells.str.count(r"\d").le(_DIGITS).all():
        return column.astype("float64")
    return column


def _check_columns(columns: Sequence[str], path: Path) -> None:
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise MetadataError(f"the column {twice[0]!r} appears twice", where=path, hint="remove or rename one")
    if "Name" not in columns:
        close = nearest("Name", columns)
        separated = len(columns) == 1 and any(mark in columns[0] for mark in ";\t")
        raise MetadataError(
            "there is no column 'Name'" + (f" (but {close!r})" if close else ""),
            where=path,
            expected="a column 'Name' that holds the file names of the models without .onnx",
            hint="separate the columns by commas" if separated else None,
        )
    schema.check_metadata_columns(columns, where=path)


def _with_reference_columns(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Give the table every column of the reference, under both names that one of them has had."""
    for old, new in (("Datatype", "Visual Category"), ("Visual Category", "Datatype")):
        if new not in table.columns and old in table.columns:
            table[new] = table[old]
    for column in schema.METADATA:
        table[column] = (
            _text(table[column], path) if column in table.columns else pd.Series(None, table.index, "str")
        )
    others = [column for column in table.columns if column not in schema.METADATA]
    for column in others:
        if not _is_number(table[column]):
            table[column] = _text(table[column], path)
    return table[[*schema.METADATA, *others]].reset_index(drop=True)


def _is_number(values: pd.Series[Any]) -> bool:
    """Tell whether a column is of truth values, or of numbers that 64 bits hold."""
    if isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.is_complex_dtype(values.dtype):
        return False
    if pd.api.types.is_integer_dtype(values.dtype):
        return bool(values.isna().all()) or -(2**63) <= int(values.min()) <= int(values.max()) < 2**63
    return pd.api.types.is_numeric_dtype(values.dtype)


def _text(values: pd.Series[Any], path: Path) -> pd.Series[Any]:
    cells = [_cell(cell) for cell in values.astype("object")]
    wide = max((len(cell.encode()) for cell in cells if cell is not None), default=0)
    if wide > schema.MAX_CELL_BYTES:
        raise MetadataError(
            f"a cell of the column {values.name!r} takes {wide:,} bytes",
            where=path,
            expected=f"{schema.MAX_CELL_BYTES:,} at most",
        )
    return pd.Series(cells, values.index, "str")


def _cell(cell: Any) -> str | None:
    missing = pd.isna(cell)
    return None if missing is True or missing is pd.NA else clean_text(str(cell))


def _match(sources: Sequence[ModelSource], names: Sequence[str]) -> tuple[dict[str, int], frozenset[str]]:
    """Map model names to rows, by the name in the data set, else the path, else the stem.

    A path or stem that several models share stands for none of them.
    """
    rows = {name: row for row, name in enumerate(names)}
    row_of: dict[str, int] = {}
    ambiguous: set[str] = set()
    taken: set[int] = set()
    keys: tuple[Callable[[ModelSource], str], ...] = (lambda s: s.name, _path, _stem)
    for key in keys:
        counts = Counter(key(source) for source in sources)
        ambiguous |= {name for name, count in counts.items() if count > 1}
        found = {
            source.name: rows[key(source)]
            for source in sources
            if source.name not in row_of and counts[key(source)] == 1 and key(source) in rows
        }
        # A row that one model has by its full name is not another's by a shorter one.
        row_of |= {name: row for name, row in found.items() if row not in taken}
        taken |= set(found.values())
    return row_of, frozenset(ambiguous)


def _path(source: ModelSource) -> str:
    return relative_stem(source.relpath)


def _stem(source: ModelSource) -> str:
    return _path(source).rpartition("/")[2]


def _aligned(table: pd.DataFrame, rows: Sequence[int]) -> pd.DataFrame:
    """Take rows of a table, -1 for a row of missing cells, with types that an HDF5 table can hold."""
    columns = {}
    for name in table.columns:
        # As objects, because pandas makes floats of integers as soon as one is missing.
        cells = table[name].astype("object").tolist()
        columns[name] = _storable([cells[row] if row >= 0 else None for row in rows], table[name].dtype)
    return pd.DataFrame(columns, index=range(len(rows)))


def _storable(cells: Sequence[Any], dtype: Any) -> pd.Series[Any]:
    """Return a column as bool, int64, float64 or text, whichever loses nothing."""
    present = [cell for cell in cells if not pd.isna(cell)]
    whole = len(present) == len(cells)
    if pd.api.types.is_bool_dtype(dtype) and whole:
        return pd.Series(cells, dtype="bool")
    if pd.api.types.is_integer_dtype(dtype) and whole:
        return pd.Series(cells, dtype="int64")
    exact = pd.api.types.is_integer_dtype(dtype) and max(map(abs, present), default=0) <= _EXACT
    if exact or pd.api.types.is_float_dtype(dtype):
        return pd.Series([float("nan") if pd.isna(cell) else float(cell) for cell in cells], dtype="float64")
    return pd.Series([_cell(cell) for cell in cells], dtype="str")
