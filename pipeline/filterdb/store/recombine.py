"""Models of data set files, taken apart so that the tables of another file can be laid out of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError, FilterDBError
from filterdb.store.hashing import content_hash
from filterdb.store.reader import DatasetFile, reading
from filterdb.store.tables import Tables, ZooEntry, build_tables, read_records
from filterdb.store.writer import content_header
from filterdb.types import Filters, RowRange


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A model of a data set file.

    Parameters
    ----------
    file
        The file that holds its filters.
    model_id
        Its row in the ``/models`` of that file.
    entry
        What the file says of it.
    rows
        Where the filters of each of its records are.
    """

    file: DatasetFile
    model_id: int
    entry: ZooEntry
    rows: tuple[RowRange, ...] = ()


def held_models(file: DatasetFile) -> list[HeldModel]:
    """Return every model of a file, in the order of its ids.

    Parameters
    ----------
    file
        An open data set file of our own format.

    Raises
    ------
    CorruptDataError
        If its tables have changed since they were written.
    """
    require_intact_tables(file)
    with reading(file.path):
        return list(_held(file))


def _held(file: DatasetFile) -> Iterator[HeldModel]:
    tables = file.tables
    starts, ends = (tables.meta[name].tolist() for name in ("filter_start", "filter_end"))
    records = {name: (record, rows) for name, record, rows in read_records(tables)}
    for model_id, model in enumerate(tables.models.to_dict("records")):
        record, rows = records.get(model["name"], (None, ()))
        entry = ZooEntry(
            _text(model["name"]),
            _text(model["path"]),
            record,
            _text(model["reason"]),
            has_metadata=model["has_metadata"],
            sha256=_text(model["sha256"]),
            size=model["size"],
            crashed=model["status"] == "crashed",
        )
        yield HeldModel(file, model_id, entry, tuple(RowRange(starts[row], ends[row]) for row in rows))


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else ""


def require_intact_tables(file: DatasetFile) -> None:
    """Refuse a file whose tables are not those that it was written with: a copy would look sound.

    Parameters
    ----------
    file
        An open data set file of our own format.
    """
    optional = {name: file.attributes[name] for name in schema.OPTIONAL_ATTRIBUTES if name in file.attributes}
    header = content_header(file.tables, file.kernel, optional)
    if content_hash(header, file.tables.by_name()) != file.content_hash:
        raise CorruptDataError(
            "the tables have changed since they were written",
            where=file.path,
            expected=f"tables with the content hash {file.content_hash[:16]}",
            hint="take another copy of the file, or extract the zoo again",
        )


def metadata_of(models: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of ``/models`` that come from the metadata table."""
    return models[[name for name in models.columns if name not in schema.MODELS]]


def lay_out(models: Sequence[HeldModel], metadata: pd.DataFrame) -> Tables:
    """Lay out the tables of a file that holds these models, as an extraction of them would.

    Parameters
    ----------
    models
        The models, in ascending order of name.
    metadata
        A row for each of them, in the same order.

    Raises
    ------
    CorruptDataError
        If what a file says of its models cannot be understood.
    """
    try:
        return build_tables([model.entry for model in models], metadata.reset_index(drop=True))
    except FilterDBError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        where = ", ".join(sorted({str(model.file.path) for model in models}))
        raise CorruptDataError(f"a model's counts are damaged: {error}", where=where) from error


def filters_of(models: Iterable[HeldModel]) -> Iterator[Filters]:
    """Read the filters of models, and make sure that they are those that the records speak of.

    Parameters
    ----------
    models
        The models; each block is overwritten by the next.
    """
    buffer = np.empty((0, 0), np.float32)
    for model in models:
        layers = model.entry.record.layers if model.entry.record else ()
        width = model.file.kernel.size
        if buffer.shape[1] != width:
            buffer = np.empty((schema.chunk_rows(schema.CHUNK_ROWS, width), width), np.float32)
        for layer, rows in zip(layers, model.rows, strict=True):
            label = f"model {model.entry.name}, layer {layer.name}"
            yield from read_intact(model.file, rows, layer.weights_sha256, label, buffer)


def read_intact(
    file: DatasetFile, rows: RowRange, sha256: str | None, label: str, buffer: Filters
) -> Iterator[Filters]:
    """Read the filters of one record in blocks, the last of them only if their hash is right.

    Parameters
    ----------
    file, rows
        Where they are.
    sha256
        Their hash; ``None`` where nobody knows it.
    label
        The record, for the message.
    buffer
        Memory that each block is read into.
    """
    digest = hashlib.sha256()
    for start in range(rows.start, rows.stop, len(buffer)):
        block = file.read(RowRange(start, min(start + len(buffer), rows.stop)), buffer)
        if sha256 is not None:
            digest.update(np.ascontiguousarray(block, dtype="<f4").data)
            if start + len(block) == rows.stop and digest.hexdigest() != sha256:
                raise CorruptDataError(
                    f"{label}: the filters have changed since they were written",
                    where=file.path,
                    expected=f"filters {rows.published} with the SHA-256 {sha256[:16]}",
                    hint=f"filterdb verify {file.path} lists all that has changed",
                )
        yield block
