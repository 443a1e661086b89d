"""Some records of a published file as a smaller published file, with the bits of the original's filters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb import schema
from filterdb.store import attributes
from filterdb.store.frames import write_frames
from filterdb.store.published.columns import in_order, plain_column, published_tables
from filterdb.store.published.file import SUBSET, PublishedFile
from filterdb.store.reader import reading
from filterdb.store.tables import Tables
from filterdb.text import clean_text

_BLOCK_ROWS: Final = 1 << 15


@dataclass(frozen=True, slots=True)
class PublishedPart:
    """Records of a published file, and the table that they have in a file of their own.

    Parameters
    ----------
    file
        The file that holds their filters.
    frame
        Their rows of its table, the ranges of filters counted anew.
    starts, stops
        Where their filters are in that file.
    """

    file: PublishedFile
    frame: pd.DataFrame
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(cls, file: PublishedFile, chosen: NDArray[np.bool_]) -> PublishedPart:
        """Take the records that are chosen.

        Parameters
        ----------
        file
            An open published file.
        chosen
            Truth values for each record of its ``/meta``, in the order of the filters.
        """
        with reading(file.path):
            flat, starts, stops = in_order(file.read_meta(), file.path)
        rows = np.flatnonzero(chosen)
        starts, stops = starts[rows], stops[rows]
        edges = np.concatenate([[0], np.cumsum(stops - starts)]).tolist()
        kept = flat.iloc[rows].reset_index(drop=True)
        kept["filter_ids"] = [f"{start}:{stop - 1}" for start, stop in itertools.pairwise(edges)]
        frame = pd.DataFrame({clean_text(name): _written(kept[name]) for name in kept.columns})
        levels = [name for name in schema.INDEX if name in frame.columns]
        return cls(file, frame.set_index(levels), starts, stops)

    @property
    def n_filters(self) -> int:
        """How many filters they have."""
        return int((self.stops - self.starts).sum())

    @property
    def n_bytes(self) -> int:
        """What their filters take in a file."""
        return int(self.n_filters * self.file.kernel.size * self.file.filters.dtype.itemsize)

    def tables(self) -> Tables:
        """Return the tables that the smaller file will be read as."""
        return published_tables(self.frame, n_filters=self.n_filters, where=self.file.path)

    def write(
        self, path: Path, *, made_by: str, compression: str | None, advance: Callable[[float], None]
    ) -> None:
        """Write the smaller file: the name, the type and the shape of the filters are the original's.

        Parameters
        ----------
        path
            The file, overwritten.
        made_by
            What was asked for; it is what tells ``verify`` that models may lack records.
        compression
            ``None`` or ``"gzip"``.
        advance
            Told of each block how many filters it has.
        """
        write_frames(path, {"meta": self.frame})
        source = self.file.filters
        shape = (self.n_filters, *source.shape[1:])
        height = schema.chunk_rows(self.n_filters, self.file.kernel.size)
        packed: dict[str, Any] = (
            {}
            if compression is None
            else {"compression": compression, "shuffle": True, "chunks": (height, *shape[1:])}
        )
        with h5py.File(path, "r+") as file:
            name = source.name.lstrip("/")
            target = file.create_dataset(name, shape, source.dtype, track_times=False, **packed)
            row = 0
            for block in self._blocks():
                target.write_direct(block, dest_sel=np.s_[row : row + len(block)])
                row += len(block)
                advance(len(block))
            attributes.write(file, SUBSET, made_by)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        """Read the filters as they are stored; each block is overwritten by the next."""
        source = self.file.filters
        buffer = np.empty((_BLOCK_ROWS, *source.shape[1:]), source.dtype)
        for begin, end in self._runs():
            for start in range(begin, end, _BLOCK_ROWS):
                block = buffer[: min(_BLOCK_ROWS, end - start)]
                with reading(self.file.path):
                    source.read_direct(block, source_sel=np.s_[start : start + len(block)])
                yield block

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Join neighbours, because records are small and a read has its price."""
        first = np.flatnonzero(np.append(True, self.starts[1:] != self.stops[:-1]))
        last = np.append(first[1:], len(self.starts)) - 1
        yield from zip(self.starts[first].tolist(), self.stops[last].tolist(), strict=True)


def _written(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as it is, or without objects, which only a pickle could hold."""
    return cells if cells.dtype.kind in "iufb" else plain_column(cells)
