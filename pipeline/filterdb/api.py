"""What researchers hold: a data set file as pandas tables and numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from filterdb.types import Filters, RowRange

if TYPE_CHECKING:
    import pandas as pd

    from filterdb.store import DatasetFile


class FilterDB:
    """A data set file, open for reading.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path | str) -> None:
        from filterdb.store import open_dataset

        self._file: DatasetFile = open_dataset(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._file.n_filters

    def __repr__(self) -> str:
        tables = self._file.tables
        return (
            f"<FilterDB {self._file.path.name}: {len(self):,} filters of {len(tables.meta):,} layers "
            f"of {len(tables.models):,} models>"
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def meta(self) -> pd.DataFrame:
        """One row a convolution layer."""
        return self._file.tables.meta

    @property
    def models(self) -> pd.DataFrame:
        """One row a file of the zoo, with what became of it."""
        return self._file.tables.models

    @property
    def skipped(self) -> pd.DataFrame:
        """One row a convolution that has no record, with the reason."""
        return self._file.tables.skipped

    def filters(self, rows: pd.DataFrame | Sequence[tuple[int, int]] | None = None) -> Filters:
        """Read the filters of some records, and no others.

        Parameters
        ----------
        rows
            Rows of :attr:`meta`, or pairs of start and stop; all where not given.
        """
        if rows is None:
            return self._file.read(RowRange(0, len(self)))
        if not isinstance(rows, Sequence):
            rows = list(zip(rows["filter_start"], rows["filter_end"], strict=True))
        ranges = [RowRange(int(start), int(stop)) for start, stop in rows]
        out = np.empty((sum(map(len, ranges)), self._file.kernel.size), dtype=np.float32)
        row = 0
        for rows_of_record in ranges:
            self._file.read(rows_of_record, out[row:])
            row += len(rows_of_record)
        return out


def open(path: Path | str) -> FilterDB:  # noqa: A001 - filterdb.open is the name people expect
    """Open a data set file.

    Parameters
    ----------
    path
        The file.
    """
    return FilterDB(path)
