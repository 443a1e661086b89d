"""Which axis of an activation counts the rows of the data: seen by trying, as names of axes say nothing.

A model is run over three rows and over the first two of them. Most results have the rows first. Transformers
may put the steps of a sequence before them, or make one axis of both, for a product with a matrix: then the
values of the two rows show which of them runs faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from filterdb.onnxgraph.axes import Axes
from filterdb.probe.runtime import Array

TRIALS: Final = (3, 2)
"""Rows that a model is tried with: what counts rows counts both."""

_ROUNDING: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Rows:
    """Where an activation has the rows of the data.

    Parameters
    ----------
    axis
        The axis that counts them, once those that share an axis with something else are apart.
    steps
        How many steps of each row lie in one axis with the rows; 0 where they have an axis of their own.
    recurrent
        It is the result of a recurrent layer: steps, directions if it has them all, rows, features.
    """

    axis: int = 0
    steps: int = 0
    recurrent: bool = False

    def first(self, value: Array) -> Array:
        """Return an activation with the rows as its first axis."""
        if self.recurrent:
            *steps, directions, rows, width = value.shape
            return np.moveaxis(value, -2, 0).reshape(rows, *steps, directions * width)
        if self.steps:
            rows = value.shape[0] // self.steps
            apart = (self.steps, rows) if self.axis else (rows, self.steps)
            value = value.reshape(*apart, *value.shape[1:])
        return np.moveaxis(value, self.axis, 0) if self.axis else value


def find_rows(tried: Sequence[Array], counts: Sequence[int], axes: Axes) -> Rows | None:
    """Say where a layer has the rows of the data; nothing where no axis counts them.

    Parameters
    ----------
    tried
        Its results for the first rows of the data.
    counts
        How many rows these were.
    axes
        Where the layer has its channels.
    """
    shapes = [value.shape for value in tried]
    if len({len(shape) for shape in shapes}) != 1:
        return None
    counting = [
        axis
        for axis in range(len(shapes[0]))
        if all(shape[axis] == count for shape, count in zip(shapes, counts, strict=True))
    ]
    if axes == "recurrent" and len(shapes[0]) in (3, 4):
        place = len(shapes[0]) - 2
        return Rows(place, recurrent=True) if place in counting and _alike(shapes, place) else None
    if 0 in counting and _alike(shapes, 0):
        return Rows()
    # A model of a fixed number of rows is tried with that one alone.
    sure = len(counts) > 1
    if len(counting) == 1 and _alike(shapes, counting[0]) and (sure or axes == "time_major"):
        return Rows(counting[0])
    return _shared(tried, counts) if sure and len(shapes[0]) > 1 else None


def _alike(shapes: Sequence[tuple[int, ...]], axis: int) -> bool:
    return len({shape[:axis] + shape[axis + 1 :] for shape in shapes}) == 1


def _shared(tried: Sequence[Array], counts: Sequence[int]) -> Rows | None:
    """Find rows that share the first axis with steps, by the values of the rows that both trials have."""
    steps, rest = divmod(tried[0].shape[0], counts[0])
    shapes = [value.shape for value in tried]
    if rest or steps < 2 or not _alike(shapes, 0) or shapes[1][0] != steps * counts[1]:
        return None
    fits = []
    for axis in (0, 1):
        whole, part = (Rows(axis, steps).first(value)[: counts[1]] for value in tried)
        bound = _ROUNDING * float(np.abs(whole).max(initial=0))
        fits.append(bool(np.abs(np.subtract(whole, part, dtype=np.float64)).max(initial=0) <= bound))
    return Rows(fits.index(True), steps) if sum(fits) == 1 else None
