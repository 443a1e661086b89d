"""The statistics of one record, in two scans of its filters and one product of its channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterdb.stats import kernels
from filterdb.stats.moments import F64, Moments
from filterdb.types import Filters

SPARSITY_EPS: Final = 0.01
"""A filter is sparse if all its magnitudes are below this share of its layer's largest."""

CHUNK: Final = 256 * kernels.BLOCK
"""Rows that are read at a time: a whole number of blocks, so that blocks do not depend on it."""

_PANEL_BYTES: Final = 64 << 20

_MOST_PRODUCTS: Final = 1 << 44
"""Of channels with each other, which takes some minutes: all 32,000 of a layer of 2 GiB, and no real one has
more."""

_PAIR: Final = 64
"""What a product of two channels costs beside its multiplications, in those."""

Read = Callable[[int, int], Filters]
"""Rows of a record, by start and stop; what it returns is good until the next call."""


@dataclass(frozen=True, slots=True)
class RecordStats:
    """What there is to know of a record's filters but their coefficients; enough for every metric.

    Parameters
    ----------
    n, finite
        Filters, and those of them without NaN and Inf: all other numbers are of these.
    largest
        The largest magnitude.
    l1, absolute_deviation, square_deviation
        Sums over all values: magnitudes, and distances from the mean of all values.
    overlap
        Sum of the magnitudes of W Wᵀ - I, with the output channels as unit rows of W.
    channels
        Output channels that this sum is over.
    raw, dense, scaled
        Moments of the filters, of those that are not sparse, and of all divided by their largest magnitude.
    """

    n: int
    finite: int
    largest: float
    l1: float
    absolute_deviation: float
    square_deviation: float
    overlap: float
    channels: int
    raw: Moments
    dense: Moments
    scaled: Moments


def measure_record(read: Read, *, n: int, out_channels: int, eps: float = SPARSITY_EPS) -> RecordStats:
    """Compute the statistics of a record without holding more than a part of it.

    Parameters
    ----------
    read
        Gives rows of the record.
    n
        How many filters it has.
    out_channels
        How many output channels they belong to; 0 where that is not known. Nothing is said of them then, nor
        of so many that to compare each with each other takes hours.
    eps
        Where sparsity begins.
    """
    extent = np.zeros(4)
    width = 0
    for rows in _chunks(read, n):
        width = rows.shape[1]
        kernels.scan_extent(rows, extent)
    finite, largest = int(extent[0]), float(extent[1])
    centre = extent[2] / (finite * width) if finite else 0.0
    deviations, counts = np.zeros(2), np.zeros(3, np.int64)
    means, scatters = np.zeros((3, width)), np.zeros((3, width, width))
    # Multiplied in float64 and compared in float32, as torchconvquality does: in a layer of 8-bit integers
    # with a scale, many filters lie right at the threshold. A zero layer is sparse throughout.
    threshold = float(np.float32(largest * eps)) if largest else math.inf
    for rows in _chunks(read, n):
        kernels.scan_moments(rows, finite == n, threshold, centre, deviations, counts, means, scatters)
    raw, dense, scaled = (Moments(int(counts[i]), means[i], scatters[i]) for i in range(3))
    overlap, channels = _overlap(read, n, width, out_channels, finite == n)
    absolute, square = deviations.tolist()
    return RecordStats(
        n, finite, largest, float(extent[3]), absolute, square, overlap, channels, raw, dense, scaled
    )


def _chunks(read: Read, n: int) -> Iterator[Filters]:
    for start in range(0, n, CHUNK):
        yield read(start, min(start + CHUNK, n))


def _overlap(read: Read, n: int, width: int, out_channels: int, finite: bool) -> tuple[float, int]:
    """Sum |W Wᵀ - I| panel by panel: a layer of 4096 x 4096 channels must not need its size in memory.

    In float64, which takes a quarter longer than float32: in that, channels that are all alike are 3e-6 off.
    """
    if not out_channels:
        return 0.0, 0
    fan_in = n // out_channels
    if out_channels**2 * (fan_in * width + _PAIR) > _MOST_PRODUCTS:
        return 0.0, 0
    # A panel must fit, and so must the product of two: a depthwise layer is narrow and may be very high.
    height = max(1, min(out_channels, _PANEL_BYTES // (fan_in * width * 8), math.isqrt(_PANEL_BYTES // 8)))
    starts = range(0, out_channels, height)
    total, channels = 0.0, 0
    for i, start in enumerate(starts):
        panel, lengths = _panel(read, start, min(start + height, out_channels), fan_in, finite)
        channels += len(panel)
        product = panel @ panel.T
        # Less the unit matrix: a row of zeros lacks its 1, and any other has it, but for rounding.
        np.fill_diagonal(product, np.where(lengths > 0, 0, 1))
        total += _magnitude(product, lengths, lengths)
        for other_start in starts[i + 1 :]:
            other = _panel(read, other_start, min(other_start + height, out_channels), fan_in, finite)
            total += 2 * _magnitude(panel @ other[0].T, lengths, other[1])
    return total, channels


def _panel(read: Read, start: int, stop: int, fan_in: int, finite: bool) -> tuple[F64, F64]:
    """Return output channels as rows, and their lengths; one without a finite filter is left out."""
    filters = read(start * fan_in, stop * fan_in)
    rows = filters.astype(np.float64).reshape(stop - start, -1)
    if not finite:
        good: NDArray[np.bool_] = np.asarray(np.isfinite(filters).all(axis=1))
        rows.reshape(filters.shape)[~good] = 0
        rows = rows[good.reshape(stop - start, -1).any(axis=1)]
    return rows, np.sqrt(np.einsum("ij,ij->i", rows, rows))


def _magnitude(product: F64, lengths: F64, others: F64) -> float:
    """Sum the magnitudes of the cosines that products of rows come to; a zero row stays zero."""
    product /= np.where(lengths > 0, lengths, 1)[:, None]
    product /= np.where(others > 0, others, 1)
    return float(np.abs(product, out=product).sum())
