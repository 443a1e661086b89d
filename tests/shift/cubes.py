"""Cubes of filters in memory, by the same calls that scan a data set file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from filterdb import stats
from filterdb.shift import CoordinateSystem, component_weights, fit_basis
from filterdb.stats import Cube, Task, merge_records
from filterdb.types import Filters, Kernel, RowRange


def filters_of(sizes: Sequence[int], seed: int = 0) -> list[Filters]:
    """Return records whose filters have a shape of their own each."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(n, 9)) @ (np.eye(9) + rng.normal(size=(9, 9)) / 3)).astype(np.float32)
        for n in sizes
    ]


def statistics(records: Sequence[Filters]) -> NDArray:
    rows = np.concatenate(records)
    return stats.measure(lambda start, stop: rows[start:stop], tasks_of(records), rows.shape[1])


def tasks_of(records: Sequence[Filters]) -> list[Task]:
    ends = np.cumsum([len(one) for one in records]).tolist()
    return [
        Task(RowRange(end - len(one), end), out_channels=1, finite=False)
        for one, end in zip(records, ends, strict=True)
    ]


def fitted(records: Sequence[Filters], policy: str = "paper", bins: int = 70) -> CoordinateSystem:
    rows = np.concatenate(records)
    basis = fit_basis(merge_records(statistics(records), "scaled"))
    low, high = -3.0, 3.0
    if policy == "paper":
        found = stats.find_range(lambda start, stop: rows[start:stop], tasks_of(records), basis.coordinates)
        low, high = map(float, found)
    return CoordinateSystem(Kernel(3, 3), policy, basis, low, high, bins, component_weights(basis, policy))


def counted(records: Sequence[Filters], where: CoordinateSystem) -> Cube:
    rows = np.concatenate(records)
    counts = stats.count(
        lambda start, stop: rows[start:stop],
        tasks_of(records),
        where.basis.coordinates,
        where.low,
        where.high,
        where.bins,
    )
    return Cube.of(statistics(records), counts, where.low, where.high)
