"""The cube: the statistics of every record of a data set, one row each, small enough to keep.

Whatever is asked of groups of records is a sum over rows of the cube; the filters are not read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.moments import Moments, merge
from filterdb.stats.record import RecordStats

KINDS: Final = ("raw", "dense", "scaled")
"""The three sets of filters that each record has moments of."""

_NUMBERS: Final = ("largest", "l1", "absolute_deviation", "square_deviation", "overlap")


def record_dtype(width: int) -> np.dtype[Any]:
    """Return the type of one row: what :class:`RecordStats` holds, laid flat."""
    fields: list[tuple[Any, ...]] = [(name, "<i8") for name in ("n", "finite", "channels")]
    fields += [(name, "<f8") for name in _NUMBERS]
    for kind in KINDS:
        fields += [
            (f"{kind}_n", "<i8"),
            (f"{kind}_mean", "<f8", (width,)),
            (f"{kind}_scatter", "<f8", (width, width)),
        ]
    return np.dtype(fields)


def pack(stats: Sequence[RecordStats], width: int) -> NDArray[Any]:
    """Lay the statistics of records flat, one row each."""
    rows = np.zeros(len(stats), record_dtype(width))
    for row, one in zip(rows, stats, strict=True):
        for name in ("n", "finite", "channels", *_NUMBERS):
            row[name] = getattr(one, name)
        for kind in KINDS:
            moments: Moments = getattr(one, kind)
            row[f"{kind}_n"], row[f"{kind}_mean"] = moments.n, moments.mean
            row[f"{kind}_scatter"] = moments.scatter
    return rows


def unpack(row: Any) -> RecordStats:
    """Return the statistics of one record, from its row."""
    values: dict[str, Any] = {name: int(row[name]) for name in ("n", "finite", "channels")}
    values |= {name: float(row[name]) for name in _NUMBERS}
    for kind in KINDS:
        values[kind] = Moments(int(row[f"{kind}_n"]), row[f"{kind}_mean"], row[f"{kind}_scatter"])
    return RecordStats(**values)


@dataclass(frozen=True, slots=True)
class Cube:
    """Statistics and coefficient counts of every record of a data set, in the order of ``/meta``.

    Parameters
    ----------
    rows
        One row a record: the fields of :func:`record_dtype`, and ``counts``, components x bins.
    low, high
        The range that the bins divide.
    """

    rows: NDArray[Any]
    low: float
    high: float

    @classmethod
    def of(cls, records: NDArray[Any], counts: NDArray[np.uint32], low: float, high: float) -> Cube:
        """Join the statistics of records with their counts."""
        fields = [*record_dtype(counts.shape[1]).descr, ("counts", "<u4", counts.shape[1:])]
        rows = np.empty(len(records), np.dtype(fields))
        for name in records.dtype.names or ():
            rows[name] = records[name]
        rows["counts"] = counts
        return cls(rows, low, high)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> NDArray[np.uint32]:
        """Records x components x bins."""
        counts: NDArray[np.uint32] = self.rows["counts"]
        return counts

    @property
    def records(self) -> NDArray[Any]:
        """The statistics without the counts, as a scan returns them."""
        records = np.empty(len(self), record_dtype(self.counts.shape[1]))
        for name in records.dtype.names or ():
            records[name] = self.rows[name]
        return records

    @property
    def outside(self) -> NDArray[np.int64]:
        """How many coefficients of each record are in no bin, because they lie outside the range."""
        inside = self.counts.sum(axis=(1, 2), dtype=np.int64)
        return np.asarray(self.rows["finite"] * self.counts.shape[1] - inside)

    @property
    def bin_width(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / int(self.counts.shape[2])

    def stats(self, row: int) -> RecordStats:
        """Return the statistics of one record."""
        return unpack(self.rows[row])

    def moments(self, kind: str = "scaled", chosen: NDArray[Any] | None = None) -> Moments:
        """Merge the moments of some records, all where not given, in their order."""
        return merge_records(self.rows if chosen is None else self.rows[chosen], kind)

    def group_counts(self, codes: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
        """Sum the counts of the records of each group.

        Parameters
        ----------
        codes
            The group of each record; -1 for none.
        groups
            How many groups there are.
        """
        total = np.zeros((groups, *self.counts.shape[1:]), np.int64)
        for group in range(groups):
            np.sum(self.counts[codes == group], axis=0, dtype=np.int64, out=total[group])
        return total


def merge_records(records: NDArray[Any], kind: str) -> Moments:
    """Merge one kind of moments of some rows of :func:`record_dtype`."""
    n, mean, scatter = (records[f"{kind}_{name}"] for name in ("n", "mean", "scatter"))
    return merge(n, mean, scatter)
