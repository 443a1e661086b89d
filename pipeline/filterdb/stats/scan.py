"""Scans over a run of records: what one task of an analysis computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.stats import kernels
from filterdb.stats.cube import pack
from filterdb.stats.moments import F64
from filterdb.stats.record import CHUNK, measure_record
from filterdb.types import Filters, RowRange

ReadRows = Callable[[int, int], Filters]
"""Rows of the data set, by start and stop; what it returns is good until the next call."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a scan needs to know of one record.

    Parameters
    ----------
    rows
        Its filters.
    out_channels
        How many output channels they belong to.
    finite
        Whether it is known that none holds NaN or Inf.
    """

    rows: RowRange
    out_channels: int
    finite: bool


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where coefficients are measured.

    Parameters
    ----------
    components
        One component a row.
    offset
        The mean in these components.
    """

    components: F64
    offset: F64


def measure(read: ReadRows, tasks: Sequence[Task], width: int) -> NDArray[Any]:
    """Return the statistics of some records, one row each."""
    stats = [
        measure_record(_within(read, task.rows), n=len(task.rows), out_channels=task.out_channels)
        for task in tasks
    ]
    return pack(stats, width)


def find_range(read: ReadRows, tasks: Sequence[Task], where: Coordinates) -> F64:
    """Return the least and the largest coefficient of some records."""
    extremes = np.array([np.inf, -np.inf])
    for task in tasks:
        for start in range(task.rows.start, task.rows.stop, CHUNK):
            rows = read(start, min(start + CHUNK, task.rows.stop))
            kernels.scan_range(rows, task.finite, where.components, where.offset, extremes)
    return extremes


def bounds(low: float, high: float) -> tuple[float, float]:
    """Return the ends of the bins over a range of coefficients.

    Parameters
    ----------
    low, high
        The least and the largest coefficient. Where they are one, or there is none, the bins are those
        that ``numpy.histogram`` takes.
    """
    if low > high:
        return 0.0, 1.0
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def count(
    read: ReadRows, tasks: Sequence[Task], where: Coordinates, low: float, high: float, bins: int
) -> NDArray[np.uint32]:
    """Count the coefficients of some records in equal bins: records x components x bins.

    The last bin is closed. Coefficients outside are in no bin, as ``numpy.histogram`` has it.
    """
    if not 0 < bins / (high - low) < math.inf:
        # The kernel does not look again: it would count outside of its array.
        raise ValueError(f"the range from {low} to {high} cannot be divided into {bins} bins")
    width = len(where.components)
    result = np.empty((len(tasks), width, bins), np.uint32)
    for place, task in enumerate(tasks):
        counts = np.zeros((width, bins + 1), np.int64)
        for start in range(task.rows.start, task.rows.stop, CHUNK):
            rows = read(start, min(start + CHUNK, task.rows.stop))
            kernels.scan_counts(rows, task.finite, where.components, where.offset, low, high, counts)
        result[place] = counts[:, :bins]
    return result


def _within(read: ReadRows, rows: RowRange) -> ReadRows:
    return lambda start, stop: read(rows.start + start, rows.start + stop)
