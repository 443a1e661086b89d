"""Open a data set file that may come from anybody.

HDF5 can point outside: external links, external storage and virtual data sets make a file read other
files, and filters make it load other libraries. All of these are refused before a single value is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import h5py
import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError, FilterDBError, NotADatasetError, OutputError, UnsafeFileError
from filterdb.store.frames import read_frame
from filterdb.store.tables import Tables
from filterdb.types import Filters, Kernel, RowRange

_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_KNOWN_FILTERS: Final = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE})


class DatasetFile:
    """A data set file, open for reading; the tables are read on use and the filters by rows.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        try:
            self._check()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """The root attributes as Python values."""
        return {name: _plain(value) for name, value in self._file.attrs.items() if name in _ATTRIBUTES}

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
        return int(self._filter.shape[0])

    @cached_property
    def tables(self) -> Tables:
        """The tables, checked against each other and against ``/filter``."""
        meta = self._table("meta")
        schema.validate_meta(meta, n_filters=self.n_filters, where=self.path)
        models = self._table("models").rename_axis("model_id")
        skipped = self._table("skipped") if "skipped" in self._file else schema.empty_frame(schema.SKIPPED)
        model_ids = meta.index.get_level_values("model_id")
        if len(meta) and model_ids.max() >= len(models):
            raise CorruptDataError("/meta names a model that /models does not have", where=self.path)
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
        """
        if rows.stop > self.n_filters:
            raise CorruptDataError(f"rows up to {rows.stop} of {self.n_filters}", where=self.path)
        if out is None:
            out = np.empty((len(rows), self.kernel.size), dtype=np.float32)
        target = out[: len(rows)]
        with _reading(self.path):
            self._filter.read_direct(target, source_sel=np.s_[rows.slice])
        return target

    def blocks(self, rows: RowRange | None = None, height: int = schema.CHUNK_ROWS) -> Iterator[Filters]:
        """Iterate over filters in blocks; each block is overwritten by the next.

        Parameters
        ----------
        rows
            Which rows; all where not given.
        height
            Rows a block.
        """
        rows = rows or RowRange(0, self.n_filters)
        buffer = np.empty((min(height, len(rows)), self.kernel.size), dtype=np.float32)
        for start in range(rows.start, rows.stop, height):
            yield self.read(RowRange(start, min(start + height, rows.stop)), buffer)

    @property
    def _filter(self) -> h5py.Dataset:
        return self._file["filter"]

    def _table(self, name: str) -> pd.DataFrame:
        with _reading(self.path):
            return read_frame(self._file[name], where=self.path)

    def _check(self) -> None:
        with _reading(self.path):
            _refuse_links(self._file, self.path)
            _check_format(self._file, self.path)
            _check_filter(self._file, self.path)
            _check_tables(self._file, self.path)


_ATTRIBUTES: Final = (
    "format",
    "format_version",
    "kernel",
    "n_filters",
    "n_records",
    "n_models",
    "content_hash",
    "inputs_hash",
    "extractor_version",
)


def _open(path: Path) -> h5py.File:
    try:
        with path.open("rb") as raw:
            start = raw.read(8)
    except FileNotFoundError:
        raise NotADatasetError("no such file", where=path, hint="make extract writes one") from None
    except IsADirectoryError:
        raise NotADatasetError("this is a folder", where=path, expected="a data set file") from None
    except OSError as error:
        raise OutputError(f"the file cannot be read: {error.strerror}", where=path) from error
    if start != _HDF5_SIGNATURE:
        raise NotADatasetError(
            _describe(start, path), where=path, expected="an HDF5 file that filterdb extract has written"
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise CorruptDataError(
            "the HDF5 file does not open; it is truncated or damaged", where=path, hint="extract it again"
        ) from error


def _describe(start: bytes, path: Path) -> str:
    if start.startswith(b"\xfd7zXZ"):
        return f"the file is compressed; unpack it first: xz --decompress --keep {path.name}"
    return "the file is empty" if not start else "the file is no HDF5 file"


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into a message that names the file."""
    try:
        yield
    except FilterDBError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CorruptDataError(
            f"the file is damaged: {error}", where=path, hint="extract it again"
        ) from error


def _refuse_links(file: h5py.File, path: Path) -> None:
    """Walk the whole tree without following a link that is not a plain one."""
    stack, seen = [file], 0
    while stack:
        group = stack.pop()
        for name in group:
            seen += 1
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "an external" if isinstance(link, h5py.ExternalLink) else "a soft"
                raise UnsafeFileError(f"{group.name.rstrip('/')}/{name} is {kind} link", where=path)
            if seen > 1_000:
                raise UnsafeFileError("the file holds more than 1,000 objects", where=path)
            member = group[name]
            if isinstance(member, h5py.Group):
                stack.append(member)
            elif isinstance(member, h5py.Dataset):
                _refuse_storage(member, path)


def _refuse_storage(dataset: h5py.Dataset, path: Path) -> None:
    if dataset.is_virtual:
        raise UnsafeFileError(f"{dataset.name} is a virtual data set, which reads other files", where=path)
    if dataset.external:
        raise UnsafeFileError(f"{dataset.name} keeps its values in another file", where=path)
    plist = dataset.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        code = plist.get_filter(index)[0]
        if code not in _KNOWN_FILTERS:
            raise UnsafeFileError(
                f"{dataset.name} uses HDF5 filter {code}", where=path, expected="none, or gzip with shuffle"
            )


def _check_format(file: h5py.File, path: Path) -> None:
    name, version = _plain(file.attrs.get("format")), _plain(file.attrs.get("format_version"))
    if name != schema.FORMAT:
        raise NotADatasetError("an HDF5 file, but not one of filterdb's", where=path)
    if version != schema.FORMAT_VERSION:
        raise NotADatasetError(
            f"format version {version}",
            where=path,
            expected=f"format version {schema.FORMAT_VERSION}",
            hint="use the filterdb that wrote the file, or extract again",
        )


def _check_filter(file: h5py.File, path: Path) -> None:
    dataset = file.get("filter")
    if not isinstance(dataset, h5py.Dataset):
        raise NotADatasetError("there is no /filter", where=path)
    width = Kernel.parse(str(_plain(file.attrs["kernel"]))).size
    if dataset.dtype != np.dtype("<f4") or dataset.ndim != 2 or dataset.shape[1] != width:
        raise CorruptDataError(
            f"/filter is {dataset.dtype} of shape {dataset.shape}",
            where=path,
            expected=f"float32 of shape (N, {width})",
        )
    if dataset.shape[0] != file.attrs["n_filters"]:
        raise CorruptDataError(
            f"/filter has {dataset.shape[0]} rows", where=path, expected=f"{file.attrs['n_filters']}"
        )


def _check_tables(file: h5py.File, path: Path) -> None:
    for name in ("meta", "models"):
        group = file.get(name)
        if not isinstance(group, h5py.Group) or not isinstance(group.get("table"), h5py.Dataset):
            raise NotADatasetError(f"there is no table /{name}", where=path)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
