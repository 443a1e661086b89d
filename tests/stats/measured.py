"""The statistics of filters in memory, by the same calls that scan a data set file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filterdb import stats
from filterdb.shift import Basis, fit_basis
from filterdb.stats import Cube, Task, merge_records
from filterdb.stats.scan import ReadRows
from filterdb.types import Filters, RowRange


@dataclass(frozen=True)
class Measured:
    basis: Basis
    cube: Cube


def tasks_of(sizes: Sequence[int]) -> list[Task]:
    ends = np.cumsum(sizes).tolist()
    return [
        Task(RowRange(end - size, end), out_channels=1, finite=False)
        for size, end in zip(sizes, ends, strict=True)
    ]


def in_memory(filters: Filters) -> ReadRows:
    return lambda start, stop: filters[start:stop]


def measured(filters: Filters, sizes: Sequence[int] | None = None, *, bins: int = 70) -> Measured:
    """Measure filters as records of the given sizes; as one record where none are given."""
    tasks = tasks_of([len(filters)] if sizes is None else sizes)
    width = filters.shape[1]
    read = in_memory(filters)
    records = stats.measure(read, tasks, width)
    basis = fit_basis(merge_records(records, "scaled"))
    low, high = stats.bounds(*stats.find_range(read, tasks, basis.coordinates).tolist())
    counts = stats.count(read, tasks, basis.coordinates, low, high, bins)
    return Measured(basis, Cube.of(records, counts, low, high))
