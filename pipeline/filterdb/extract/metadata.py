"""Join what people know about models to the files of a zoo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from filterdb import schema
from filterdb.errors import MetadataError, nearest
from filterdb.types import ModelSource


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
    """
    table = _empty() if path is None else _read(path)
    where = path or "metadata"
    schema.check_metadata_columns(table.columns, where=where)
    row_of, ambiguous = _match(sources, table["Name"].tolist())
    rows = [row_of.get(source.name, -1) for source in sources]
    used = set(rows)
    names = table["Name"].tolist()
    frame = _aligned(table, rows)
    frame["Name"] = pd.Series(
        [names[row] if row >= 0 else source.name for row, source in zip(rows, sources, strict=True)],
        dtype="str",
    )
    return Metadata(
        frame=frame,
        has_row=tuple(row >= 0 for row in rows),
        without_model=tuple(n for row, n in enumerate(names) if row not in used and n not in ambiguous),
        ambiguous=ambiguous,
    )


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([], dtype="str") for name in schema.METADATA})


def _read(path: Path) -> pd.DataFrame:
    table = _load(path)
    table.columns = [str(column).strip() for column in table.columns]
    twice = [column for column, count in Counter(table.columns).items() if count > 1]
    if twice:
        raise MetadataError(f"the column {twice[0]!r} appears twice", where=path)
    if "Name" not in table.columns:
        close = nearest("Name", table.columns)
        raise MetadataError(
            "there is no column 'Name'" + (f" (but {close!r})" if close else ""),
            where=path,
            expected="a column 'Name' that holds the file names of the models without .onnx",
        )
    table["Name"] = _text(table["Name"]).str.strip().str.removesuffix(".onnx")
    if table["Name"].isna().any():
        row = int(table["Name"].isna().to_numpy().argmax())
        raise MetadataError(f"row {row + 2} has no Name", where=path)
    twice = [name for name, count in Counter(table["Name"]).items() if count > 1]
    if twice:
        raise MetadataError(f"{twice[0]!r} has more than one row", where=path, expected="one row a model")
    return _with_reference_columns(table)


def _load(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # Only an empty cell is missing: there is a data set called "NA", and a model called "nan".
        return pd.read_csv(path, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    except FileNotFoundError:
        raise MetadataError("no such file", where=path, expected="a CSV or Parquet file") from None
    except OSError as error:
        raise MetadataError(f"the file cannot be read: {error}", where=path) from error
    except (ValueError, UnicodeError) as error:
        raise MetadataError(f"the file is no table: {error}", where=path, expected="CSV in UTF-8") from error


def _with_reference_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Give the table every column of the reference, under both names that one of them has had."""
    for old, new in (("Datatype", "Visual Category"), ("Visual Category", "Datatype")):
        if new not in table.columns and old in table.columns:
            table[new] = table[old]
    for column in schema.METADATA:
        table[column] = (
            _text(table[column]) if column in table.columns else pd.Series(None, table.index, "str")
        )
    others = [column for column in table.columns if column not in schema.METADATA]
    return table[[*schema.METADATA, *others]]


def _text(values: pd.Series) -> pd.Series:
    return values.map(lambda cell: None if pd.isna(cell) else str(cell)).astype("str")


def _match(sources: Sequence[ModelSource], names: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Map model names to rows, by the name in the data set, the path, and the stem where it is unique."""
    stems = Counter(_stem(source) for source in sources)
    row_of: dict[str, int] = {}
    rows = {name: row for row, name in enumerate(names)}
    for source in sources:
        keys = [source.name, source.relpath.removesuffix(".onnx")]
        if stems[_stem(source)] == 1:
            keys.append(_stem(source))
        row = next((rows[key] for key in keys if key in rows), None)
        if row is not None:
            row_of[source.name] = row
    ambiguous = tuple(name for name in names if stems[name] > 1)
    return row_of, ambiguous


def _stem(source: ModelSource) -> str:
    return source.relpath.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _aligned(table: pd.DataFrame, rows: Sequence[int]) -> pd.DataFrame:
    """Take rows of a table, -1 for a row of missing cells, with types that an HDF5 table can hold."""
    columns = {}
    picked = pd.Index(range(len(table))).take([row for row in rows if row >= 0])
    places = [place for place, row in enumerate(rows) if row >= 0]
    for name in table.columns:
        values = table[name].iloc[picked].set_axis(places).reindex(range(len(rows)))
        columns[name] = _storable(values)
    return pd.DataFrame(columns, index=range(len(rows)))


def _storable(values: pd.Series) -> pd.Series:
    if pd.api.types.is_bool_dtype(values.dtype):
        return values.astype(bool)
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values.dtype):
        integers = pd.api.types.is_integer_dtype(values.dtype)
        return values.astype("int64" if integers else "float64")
    return _text(values)
