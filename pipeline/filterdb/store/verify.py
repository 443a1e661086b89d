"""Check every value and every invariant of a data set file against what the file says of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError
from filterdb.store.hashing import content_hash
from filterdb.store.published import PublishedFile, check_published, open_dataset
from filterdb.store.reader import DatasetFile
from filterdb.store.writer import content_header
from filterdb.types import Filters, RowRange


def verify(path: Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Re-hash a data set file and return what is wrong with it, empty where nothing is.

    A published file holds no hashes; its ``checks`` say what is looked at instead.

    Parameters
    ----------
    path
        The file.
    progress
        Called with filters done and filters in all.

    Raises
    ------
    StoreError
        If the file cannot be read at all, or breaks an invariant of the format.
    """
    with open_dataset(path) as file:
        if isinstance(file, PublishedFile):
            return list(check_published(file, progress))
        return [*_check_tables(file), *_check_filters(file, progress)]


def _check_tables(file: DatasetFile) -> Iterator[str]:
    stated = file.attributes
    optional = {name: stated[name] for name in schema.OPTIONAL_ATTRIBUTES if name in stated}
    header = content_header(file.tables, file.kernel, optional)
    for name, value in header.items():
        if stated[name] != value:
            yield f"the root attribute {name} is {stated[name]!r}, the content says {value!r}"
    found = content_hash(header, file.tables.by_name())
    if found != file.content_hash:
        yield (
            "a cell of the tables or a root attribute has changed: "
            f"the content hash is {found}, the file says {file.content_hash}"
        )


def _check_filters(file: DatasetFile, progress: Callable[[int, int], None] | None) -> Iterator[str]:
    """Hash the filters in one pass over whole chunks, which a layer may share or span."""
    layers = LayerHashes(file.tables.meta)
    height = schema.chunk_rows(file.n_filters, file.kernel.size)
    buffer = np.empty((height, file.kernel.size), dtype=np.float32)
    for start in range(0, file.n_filters, height):
        rows = RowRange(start, min(start + height, file.n_filters))
        try:
            block = file.read(rows, buffer)
        except CorruptDataError as error:
            yield from layers.lose(rows, error.what)
        else:
            yield from layers.add(rows, block)
        if progress is not None:
            progress(rows.stop, file.n_filters)


class LayerHashes:
    """The layers of a data set, each with the hash of the rows that have gone by."""

    def __init__(self, meta: pd.DataFrame) -> None:
        self._ends = meta["filter_end"].to_numpy()
        self._starts = meta["filter_start"].to_numpy()
        self._stated = list(zip(meta["weights_sha256"], meta["nonfinite"], strict=True))
        self._labels = [
            f"model {model}, layer {layer}"
            for model, layer in zip(meta["model"], meta["layer_name"], strict=True)
        ]
        self._digest = hashlib.sha256()
        self._nonfinite = 0
        self._lost = -1

    def _within(self, rows: RowRange) -> range:
        first = int(np.searchsorted(self._ends, rows.start, side="right"))
        return range(first, int(np.searchsorted(self._starts, rows.stop, side="left")))

    def lose(self, rows: RowRange, reason: str) -> Iterator[str]:
        """Pass over rows that cannot be read, and say so of each layer that has some of them."""
        for layer in self._within(rows):
            if layer != self._lost:
                yield f"{self._labels[layer]}: the filters cannot be read: {reason}"
            self._lost = layer
        self._restart()

    def add(self, rows: RowRange, block: Filters) -> Iterator[str]:
        """Take in the next rows, and say what is wrong with the layers that end within them."""
        infinite = ~np.isfinite(block)
        for layer in self._within(rows):
            start, end = int(self._starts[layer]), int(self._ends[layer])
            part = slice(max(start, rows.start) - rows.start, min(end, rows.stop) - rows.start)
            self._digest.update(np.ascontiguousarray(block[part], dtype="<f4").data)
            self._nonfinite += int(np.count_nonzero(infinite[part]))
            if end <= rows.stop:
                yield from self._finish(layer)

    def _finish(self, layer: int) -> Iterator[str]:
        sha256, nonfinite = self._stated[layer]
        if layer == self._lost:
            pass
        elif self._digest.hexdigest() != sha256:
            rows = f"{self._starts[layer]}:{self._ends[layer]}"
            yield f"{self._labels[layer]}: the filters (rows {rows}) have changed"
        elif self._nonfinite != nonfinite:
            yield (
                f"{self._labels[layer]}: {self._nonfinite} values are NaN or infinite, /meta says {nonfinite}"
            )
        self._restart()

    def _restart(self) -> None:
        self._digest = hashlib.sha256()
        self._nonfinite = 0
