"""Open a data set file that may come from anybody, and read it by rows."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import h5py
import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError, FilterDBError, NotADatasetError, OutputError
from filterdb.store import attributes
from filterdb.store.frames import read_frame
from filterdb.store.guard import check_extent, refuse_unsafe
from filterdb.store.plain import PlainRows
from filterdb.store.tables import Tables
from filterdb.types import Filters, Kernel, RowRange

_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_CACHE_SLOTS: Final = 521
_SHA256: Final = re.compile("[0-9a-f]{64}")
_AGAIN: Final = "take another copy of the file, or run filterdb extract again"


class DatasetFile:
    """A data set file, open for reading; the tables are read on use and the filters by rows.

    Parameters
    ----------
    path
        The file.
    """

    checks: ClassVar[str] = "every hash and invariant holds"
    """What it means that ``verify`` finds nothing wrong."""

    attributes: dict[str, Any]
    _filter: h5py.Dataset

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = open_hdf5(self.path)
        try:
            with reading(self.path):
                self._inspect()
        except BaseException:
            self._file.close()
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker opens the file anew, under the same name.
        return (type(self), (self.path.absolute(),))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.__dict__.pop("_plain", None)
        self._file.close()

    def _inspect(self) -> None:
        """Check what the file holds, but for the values of its tables and filters."""
        refuse_unsafe(self._file, self.path)
        self.attributes = _read_attributes(self._file, self.path)
        self._filter = _open_filter(self._file, self.kernel, self.attributes, self.path)
        _check_groups(self._file, self.path)

    @property
    def content_hash(self) -> str:
        """The content hash that the file states; ``verify`` recomputes it."""
        return str(self.attributes["content_hash"])

    @property
    def kernel(self) -> Kernel:
        """Kernel size of the filters."""
        return Kernel.parse(str(self.attributes["kernel"]))

    @property
    def n_filters(self) -> int:
        """Rows of ``/filter``."""
        return int(self.attributes["n_filters"])

    @cached_property
    def tables(self) -> Tables:
        """The tables, checked against each other and against ``/filter``."""
        with reading(self.path):
            meta = self._table("meta")
            models = self._table("models").rename_axis("model_id")
            skipped = (
                self._table("skipped") if "skipped" in self._file else schema.empty_frame(schema.SKIPPED)
            )
            schema.validate_meta(meta, n_filters=self.n_filters, where=self.path)
            schema.validate_tables(meta, models, skipped, where=self.path)
        return Tables(meta=meta, models=models, skipped=skipped)

    def read(self, rows: RowRange, out: Filters | None = None) -> Filters:
        """Read rows of ``/filter``, into a buffer if one is given.

        Parameters
        ----------
        rows
            Which rows.
        out
            A C-contiguous float32 buffer of at least as many rows; the filled part is returned. Reading
            into memory that is already mapped is several times faster than into fresh memory.

        Raises
        ------
        CorruptDataError
            If the file does not have these rows, or cannot decompress them.
        """
        if rows.stop > self.n_filters:
            raise CorruptDataError(
                f"there is no filter {rows.stop - 1:,}", where=self.path, expected=f"below {self.n_filters:,}"
            )
        width = self.kernel.size
        if out is None:
            out = np.empty((len(rows), width), dtype=np.float32)
        if out.dtype != np.float32 or out.ndim != 2 or out.shape[1] != width or len(out) < len(rows):
            raise ValueError(
                f"the buffer is {out.dtype} of shape {out.shape}, not float32 of {len(rows)} rows of {width}"
            )
        target = out[: len(rows)]
        if not (target.flags.c_contiguous and target.flags.writeable):
            raise ValueError("the buffer must be C-contiguous and writeable")
        with reading(self.path):
            self._fill(rows, target)
        return target

    def _fill(self, rows: RowRange, target: Filters) -> None:
        """Read rows that exist into memory that holds as many."""
        if self._plain is None:
            self._filter.read_direct(target, source_sel=np.s_[rows.slice])
        else:
            self._plain.fill(rows, target)

    @cached_property
    def _plain(self) -> PlainRows | None:
        return PlainRows.of(self._filter)

    def blocks(self, rows: RowRange | None = None, height: int = schema.CHUNK_ROWS) -> Iterator[Filters]:
        """Iterate over filters in blocks; each block is overwritten by the next.

        Parameters
        ----------
        rows
            Which rows; all where not given.
        height
            Rows a block.
        """
        if height < 1:
            raise ValueError(f"a block holds at least one row, not {height}")
        rows = rows or RowRange(0, self.n_filters)
        buffer = np.empty((min(height, len(rows)), self.kernel.size), dtype=np.float32)
        for start in range(rows.start, rows.stop, height):
            yield self.read(RowRange(start, min(start + height, rows.stop)), buffer)

    def _table(self, name: str) -> pd.DataFrame:
        return read_frame(self._file[name], where=self.path)


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, or say what else it is.

    Parameters
    ----------
    path
        The file.
    """
    try:
        # A pipe would wait for a writer for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "no regular file"
            found = sorted(path.glob("*.h5"))[:1] if path.is_dir() else []
            hint = f"it holds {found[0].name}" if found else None
            if (path / "manifest.json").exists():
                hint = "filterdb.open_results opens a results folder"
            raise NotADatasetError(f"this is {kind}", where=path, expected="a data set file", hint=hint)
        with path.open("rb") as raw:
            start = raw.read(8)
    except (FileNotFoundError, NotADirectoryError):
        raise NotADatasetError(
            "no such file", where=path, hint="filterdb extract ZOO --out FILE writes one"
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"the file cannot be read: {error}", where=path) from error
    if start != _HDF5_SIGNATURE:
        raise NotADatasetError(
            _describe(start, path), where=path, expected="an HDF5 file that filterdb extract has written"
        )
    try:
        return h5py.File(path, "r", locking="best-effort")
    except Exception as error:
        raise CorruptDataError(
            f"the HDF5 file does not open; it is truncated or damaged ({error})",
            where=path,
            expected="a complete HDF5 file",
            hint=_AGAIN,
        ) from error


def _describe(start: bytes, path: Path) -> str:
    if start.startswith(b"\xfd7zXZ"):
        return f"the file is compressed; unpack it first: xz --decompress --keep {path.name}"
    return "the file is empty" if not start else "the file is no HDF5 file"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file, which is of many kinds, into a message that names the file.

    Parameters
    ----------
    path
        The file.
    """
    try:
        yield
    except FilterDBError:
        raise
    except Exception as error:
        raise CorruptDataError(
            f"the file is damaged: {error}", where=path, expected="a data set file", hint=_AGAIN
        ) from error


def _read_attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    """Read the root attributes of the format, and no others."""
    if attributes.read_text(file, "format", where=path) != schema.FORMAT:
        raise NotADatasetError(
            "an HDF5 file, but not one of filterdb's", where=path, expected=f"format = {schema.FORMAT!r}"
        )
    version = attributes.read(file, "format_version", where=path)
    if version != schema.FORMAT_VERSION:
        raise NotADatasetError(
            f"format version {version!r}",
            where=path,
            expected=f"format version {schema.FORMAT_VERSION}",
            hint="use the filterdb that wrote the file, or extract again",
        )
    values: dict[str, Any] = {}
    for name, kind in {**schema.ATTRIBUTES, **schema.OPTIONAL_ATTRIBUTES}.items():
        read = attributes.read_text if kind == "str" else attributes.read
        value = read(file, name, where=path)
        if value is None and name in schema.OPTIONAL_ATTRIBUTES:
            continue
        if not isinstance(value, str if kind == "str" else int) or (isinstance(value, int) and value < 0):
            raise CorruptDataError(f"the root attribute {name!r} is {value!r}", where=path, expected=kind)
        values[name] = value
    if _SHA256.fullmatch(values["content_hash"]) is None:
        raise CorruptDataError("the content hash is no SHA-256", where=path, expected="64 hexadecimal digits")
    try:
        Kernel.parse(values["kernel"])
    except ValueError as error:
        raise CorruptDataError(f"the root attribute 'kernel': {error}", where=path, expected="3x3") from error
    return values


def _open_filter(file: h5py.File, kernel: Kernel, stated: dict[str, Any], path: Path) -> h5py.Dataset:
    """Open ``/filter``, once it is what the root attributes say."""
    dataset = file.get("filter")
    if not isinstance(dataset, h5py.Dataset):
        raise NotADatasetError("there is no /filter", where=path, expected="the filters of the data set")
    rows, width = stated["n_filters"], kernel.size
    if dataset.dtype != np.dtype("<f4") or dataset.shape != (rows, width) or not rows:
        raise CorruptDataError(
            f"/filter is {dataset.dtype} of shape {dataset.shape}",
            where=path,
            expected=f"float32 of shape ({rows}, {width})",
        )
    if "filters" not in file or file["filters"] != dataset:
        raise CorruptDataError("/filters is not /filter", where=path, expected="a hard link")
    chunks = (schema.chunk_rows(rows, width), width)
    if dataset.chunks != chunks:
        raise CorruptDataError(
            f"/filter has chunks of {dataset.chunks}", where=path, expected=f"chunks of {chunks}"
        )
    check_extent(dataset, where=path)
    if dataset.compression is None:
        return dataset
    # HDF5's own cache is smaller than a chunk: each layer would decompress its neighbours again.
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(_CACHE_SLOTS, 2 * chunks[0] * width * 4, 1.0)
    return h5py.Dataset(h5py.h5d.open(file.id, b"filter", access))


def _check_groups(file: h5py.File, path: Path) -> None:
    for name in ("meta", "models", *(["skipped"] if "skipped" in file else [])):
        group = file.get(name)
        if not isinstance(group, h5py.Group) or not isinstance(group.get("table"), h5py.Dataset):
            raise NotADatasetError(
                f"there is no table /{name}", where=path, expected="a pandas frame in the table layout"
            )
