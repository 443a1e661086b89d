"""The units that chance moves: models, and the records of a model.

Whatever is drawn at random must not depend on the order in which records or models are listed, nor on other
groups. So units are sorted by their content before anything is drawn.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from filterdb.errors import UsageError

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Weighting = Literal["filters", "layers", "models"]

WEIGHTINGS: Final = ("filters", "layers", "models")

_GRID: Final = 2.0**36
"""Weighted counts are whole multiples of 1 / _GRID: double precision adds 100,000 layers of them exactly."""


def weigh(counts: NDArray[Any], models: NDArray[Any], weighting: Weighting = "filters") -> F64:
    """Give records the weight that they have in the sum over a group.

    Parameters
    ----------
    counts
        Records x components x bins.
    models
        The model of each record.
    weighting
        ``filters``: every filter counts alike; ``layers``: every record; ``models``: every model, whose
        records share its weight by their number of filters.
    """
    if weighting not in WEIGHTINGS:
        raise UsageError(f"there is no weighting {weighting!r}", expected=f"one of {', '.join(WEIGHTINGS)}")
    if weighting == "filters":
        return counts.astype(np.float64)
    total = _sizes(counts).astype(np.float64)
    if weighting == "models":
        code = np.unique(models, return_inverse=True)[1]
        total = np.asarray(np.bincount(code, weights=total)[code], np.float64)
    weighted = counts * (_GRID / np.maximum(total, 1))[:, None, None]
    np.round(weighted, out=weighted)
    weighted /= _GRID
    return np.asarray(weighted)


@dataclass(frozen=True, slots=True)
class Units:
    """Records with filters, sorted by model, group and content, and their sums over cells.

    A cell is what a model has in a group.

    Parameters
    ----------
    values
        Records x (components x bins), weighted.
    filters
        How many filters each record has.
    cells
        The first record of each cell, and the number of records after the last.
    sums
        Cells x (components x bins).
    models, codes
        The model and the group of each cell.
    keys
        A hash of each cell's content; never 0.
    """

    values: F64
    filters: Ints
    cells: Ints
    sums: F64
    models: Ints
    codes: Ints
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, counts: NDArray[Any], codes: Ints, models: NDArray[Any], weighting: Weighting) -> Units:
        """Sort and weigh records.

        Parameters
        ----------
        counts
            Records x components x bins.
        codes
            The group of each record; -1 for none.
        models
            The model of each record.
        weighting
            What counts alike: see :func:`weigh`.
        """
        filters = _sizes(counts)
        rows = np.flatnonzero((filters > 0) & (codes >= 0))
        model, keys = np.unique(models[rows], return_inverse=True)[1], _hashes(counts)[rows]
        order = np.lexsort((keys, codes[rows], model))
        rows, model, keys = rows[order], model[order], keys[order]
        code = codes[rows]
        values = weigh(counts, models, weighting)[rows].reshape(len(rows), math.prod(counts.shape[1:]))
        begin = np.flatnonzero((np.diff(model, prepend=-1) != 0) | (np.diff(code, prepend=-1) != 0))
        cells = np.append(begin, len(rows))
        members = csr_array((np.ones(len(rows)), np.arange(len(rows)), cells), (len(begin), len(rows)))
        sums = members @ values
        hashes = _cell_hashes(keys, cells, sums)
        return cls(values, filters[rows], cells, sums, model[begin], code[begin], hashes)

    def sizes(self, groups: int) -> dict[str, Ints]:
        """Count what each group holds."""
        layers = np.diff(self.cells)
        per_cell = np.add.reduceat(self.filters, self.cells[:-1]) if len(layers) else layers
        sizes = {"filters": per_cell, "layers": layers, "models": np.ones(len(layers), np.int64)}
        totals = {name: np.zeros(groups, np.int64) for name in sizes}
        for name, size in sizes.items():
            np.add.at(totals[name], self.codes, size)
        return totals


def _sizes(counts: NDArray[Any]) -> Ints:
    """Return how many filters each record has; some components may have coefficients in no bin."""
    return np.asarray(counts.sum(axis=-1, dtype=np.int64).max(axis=-1, initial=0))


def _hashes(counts: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash the counts of each record: a sum modulo 2^64 with random odd factors."""
    factors = np.random.default_rng(0).integers(1 << 63, size=counts.shape[1:], dtype=np.uint64) * 2 + 1
    return np.asarray(np.einsum("rcb,cb->r", counts, factors, dtype=np.uint64, casting="unsafe"))


def _cell_hashes(keys: NDArray[np.uint64], cells: Ints, sums: F64) -> NDArray[np.uint64]:
    """Hash the records of each cell and their weight; 0 is kept for cells that do not exist."""
    parts = zip(np.split(keys, cells[1:-1]), sums.sum(axis=1), strict=True) if len(sums) else ()
    digests = [hashlib.blake2b(part.tobytes() + total.tobytes(), digest_size=8) for part, total in parts]
    hashes = np.frombuffer(b"".join(digest.digest() for digest in digests), "<u8")
    return np.maximum(hashes.astype(np.uint64), 1)


@dataclass(frozen=True, slots=True)
class Strata:
    """Items that are relabelled: in each stratum, some of them go to the first group.

    Parameters
    ----------
    items
        Items x (components x bins): the first item of every stratum, then the second of those that have
        one, and so on.
    sizes
        How many items each stratum has; they fall.
    needs
        How many of them go to the first group.
    fixed
        What is in the first group anyway.
    """

    items: F64
    sizes: Ints
    needs: Ints
    fixed: F64


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups, as parts of models, in an order that depends on their content alone.

    Parameters
    ----------
    units
        All records.
    cells
        Models x 2: the cell of each model in the first and second group; -1 where it has none.
    """

    units: Units
    cells: Ints

    @classmethod
    def of(cls, units: Units, first: int, second: int) -> Pair:
        """Take two groups out of all."""
        inside = [np.flatnonzero(units.codes == code) for code in (first, second)]
        models = np.unique(units.models[np.concatenate(inside)])
        cells = np.full((len(models), 2), -1, np.int64)
        for side, found in enumerate(inside):
            cells[np.searchsorted(models, units.models[found]), side] = found
        keys = np.where(cells >= 0, units.keys[cells], 0)
        return cls(units, cells[np.lexsort(keys.T)])

    @property
    def held(self) -> tuple[int, int, int]:
        """How many models have records in the first group, in the second, and in both."""
        has = self.cells >= 0
        return int(has[:, 0].sum()), int(has[:, 1].sum()), int(has.all(axis=1).sum())

    def sums(self) -> tuple[F64, F64]:
        """Return the sums over each model's records in either group.

        Where models have records in both groups, rows of both are the same models.
        """
        first, second = self.cells.T
        if not self.held[2]:
            first, second = first[first >= 0], second[second >= 0]
        sums = [self.units.sums[cells] for cells in (first, second)]
        for rows, cells in zip(sums, (first, second), strict=True):
            rows[cells < 0] = 0
        return sums[0], sums[1]

    def strata(self) -> Strata:
        """Return what may be exchanged if nothing differs: models, or records inside each model."""
        units, cells = self.units, self.cells
        width = units.sums.shape[1]
        if not self.held[2]:
            items = units.sums[cells.max(axis=1)]
            return Strata(items, np.array([len(items)]), np.array([self.held[0]]), np.zeros(width))
        mixed = cells.min(axis=1) >= 0
        alone = cells[~mixed, 0]
        fixed = units.sums[alone[alone >= 0]].sum(axis=0)
        begin, count = units.cells[cells[mixed]], np.diff(units.cells)[cells[mixed]]
        falling = np.argsort(-count.sum(axis=1), kind="stable")
        begin, count = begin[falling], count[falling]
        sizes, needs = count.sum(axis=1), count[:, 0]
        rows = []
        for step in range(sizes[0]):
            live = sizes > step
            second = step - needs[live]
            rows.append(np.where(second < 0, begin[live, 0] + step, begin[live, 1] + second))
        return Strata(units.values[np.concatenate(rows)], sizes, needs, fixed)
