"""One pass over the filters of a data set, for the figures that bins do not give; memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.figures.density import bin_linearly
from filterdb.figures.labels import largest
from filterdb.figures.phenotype import BINS, Rule, Shape, pair_counts, reach, shape_of
from filterdb.run.drawing.figure_views import View
from filterdb.run.progress import progress
from filterdb.shift import CoordinateSystem
from filterdb.store import DatasetFile
from filterdb.types import Filters, RowRange

BLOCK: Final = 1 << 18
"""Filters that are held at a time."""

COMPONENTS: Final = 9
"""Coefficients whose pairs are counted."""

_LAYER_BINS: Final = 128

F64 = NDArray[np.float64]


@dataclass(slots=True)
class Tally:
    """What is counted of the groups of one view.

    Parameters
    ----------
    view
        The groups.
    shown
        Those that are counted.
    pairs
        The first two coefficients of each of them, in a square; ``None`` where filters have one value.
    masses
        The coefficients of each on a grid, where densities are exact.
    """

    view: View
    shown: NDArray[np.int64]
    pairs: NDArray[np.uint32] | None
    masses: F64 | None


@dataclass(slots=True)
class Scan:
    """What a pass over the filters found.

    Parameters
    ----------
    limit
        Squares go from minus this to this.
    pairs
        Which two coefficients, counted from 0.
    counts
        Pairs x bins x bins, of all filters.
    tallies
        Of each view.
    shapes
        Of each record.
    """

    limit: float
    pairs: list[tuple[int, int]]
    counts: NDArray[np.uint32]
    tallies: list[Tally]
    shapes: list[Shape]


def scan(
    file: DatasetFile,
    views: Sequence[View],
    coordinates: CoordinateSystem,
    *,
    most: int,
    grid: F64 | None = None,
) -> Scan:
    """Read every filter once, and count coefficients.

    Parameters
    ----------
    file
        The data set.
    views
        What to count by.
    coordinates
        Where coefficients are measured.
    most
        Groups of a view that are counted: the largest.
    grid
        Points on which coefficients are binned linearly; not at all where not given.
    """
    width = file.kernel.size
    pairs = list(combinations(range(min(width, COMPONENTS)), 2))
    limit = reach(width)
    tallies = [_tally(view, most, width, grid) for view in views]
    counts = np.zeros((len(pairs), BINS, BINS), np.uint32)
    layers = _Layers(file.tables.meta, limit)
    with progress("figures", file.n_filters, "filters") as bar:
        for start, rows in _blocks(file):
            good = np.isfinite(rows).all(axis=1)
            records = layers.records(start, len(rows))[good]
            found = coefficients(rows[good], coordinates)
            for place, (a, b) in enumerate(pairs):
                counts[place] += pair_counts(found[a], found[b], limit)
            for tally in tallies:
                _count(tally, found, tally.view.codes[records], limit, grid)
            if width > 1:
                layers.add(records, found, start + len(rows))
            bar.advance(len(rows))
    return Scan(limit, pairs, counts, tallies, layers.shapes)


def coefficients(rows: Filters, coordinates: CoordinateSystem) -> F64:
    """Return the coefficients of finite filters, components x filters, each in a row of its own in memory."""
    largest_values = np.abs(rows).max(axis=1, initial=0)
    scaled = (rows / np.where(largest_values > 0, largest_values, 1)[:, None]).astype(np.float32, copy=False)
    where = coordinates.basis.coordinates
    found = where.components @ scaled.T.astype(np.float64)
    found -= where.offset[:, None]
    return np.asarray(found)


def read_record(file: DatasetFile, record: pd.Series[Any], most: int | None = None) -> Filters:
    """Read the filters of a record, all or the first."""
    start, stop = int(record["filter_start"]), int(record["filter_end"])
    return file.read(RowRange(start, stop if most is None else min(stop, start + most)))


def _blocks(file: DatasetFile) -> Iterator[tuple[int, Filters]]:
    for start in range(0, file.n_filters, BLOCK):
        stop = min(start + BLOCK, file.n_filters)
        yield start, file.read(RowRange(start, stop))


def _tally(view: View, most: int, width: int, grid: F64 | None) -> Tally:
    shown = largest(view.groups, most)
    pairs = np.zeros((len(shown), BINS, BINS), np.uint32) if width > 1 else None
    masses = None if grid is None else np.zeros((len(shown), width, len(grid)))
    return Tally(view, shown, pairs, masses)


def _count(tally: Tally, found: F64, codes: NDArray[np.int64], limit: float, grid: F64 | None) -> None:
    for place, group in enumerate(tally.shown.tolist()):
        chosen = codes == group
        if not chosen.any():
            continue
        part = found if chosen.all() else found[:, chosen]
        if tally.pairs is not None:
            tally.pairs[place] += pair_counts(part[0], part[1], limit)
        if tally.masses is not None and grid is not None:
            for i, values in enumerate(part):
                tally.masses[place, i] += bin_linearly(values, grid)


@dataclass(slots=True)
class _Layers:
    """The shape of every record, which are counted as they come by."""

    meta: pd.DataFrame
    limit: float
    rule: Rule = field(default_factory=Rule)
    shapes: list[Shape] = field(default_factory=list)
    _starts: NDArray[np.int64] = field(init=False)
    _ends: NDArray[np.int64] = field(init=False)
    _sizes: NDArray[np.int64] = field(init=False)
    _order: NDArray[np.int64] = field(init=False)
    _open: dict[int, NDArray[np.uint32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        starts = self.meta["filter_start"].to_numpy(np.int64)
        self._order = np.argsort(starts, kind="stable")
        self._starts = starts[self._order]
        self._ends = self.meta["filter_end"].to_numpy(np.int64)
        self._sizes = self._ends - starts
        few = Shape(0, np.nan, np.nan, np.nan, "few")
        self.shapes = [few] * len(self.meta)

    def records(self, start: int, n: int) -> NDArray[np.int64]:
        """Return the record of each of some filters."""
        rows = np.arange(start, start + n)
        return self._order[np.searchsorted(self._starts, rows, side="right") - 1]

    def add(self, records: NDArray[np.int64], found: F64, done: int) -> None:
        """Count the first two coefficients of some filters, which lie in the order of the file."""
        if len(records):
            borders = np.flatnonzero(np.diff(records)) + 1
            for first, last in zip([0, *borders], [*borders, len(records)], strict=True):
                self._add(int(records[first]), found[:2, first:last])
        for record in [one for one in self._open if self._ends[one] <= done]:
            self.shapes[record] = shape_of(self._open.pop(record), self.limit, self.rule)

    def _add(self, record: int, found: F64) -> None:
        if self._sizes[record] < self.rule.fewest:
            self.shapes[record] = Shape(
                self.shapes[record].filters + found.shape[1], np.nan, np.nan, np.nan, "few"
            )
            return
        counts = pair_counts(found[0], found[1], self.limit, bins=_LAYER_BINS)
        self._open[record] = self._open[record] + counts if record in self._open else counts
