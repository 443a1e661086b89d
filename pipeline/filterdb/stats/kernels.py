"""The inner loops over filters, compiled: no temporaries, no lock, memory read once.

Filters are taken in blocks of fixed height, turned so that each of a filter's values has a row of its own
in the block. Then every loop runs along memory, over one value of many filters, and the processor does
several at once. A block and its working copies fit the nearest cache.

The height of a block is part of every result's last bits: it must not depend on threads or batches.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 512

_ANY_ORDER: Final = {"reassoc", "contract", "nsz"}
_ORDERED: Final = {"contract", "nsz"}

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def _compiled(fastmath: Any) -> Any:
    return numba.njit(nogil=True, cache=True, fastmath=fastmath)


_part = numba.njit(inline="always")
"""A part of a scan, written into it before it is compiled.

A scan must be one unit: of several, the compiler makes other code when it has just compiled them than when it
finds them in its cache, and sums would differ in their last bits between a first run and the next.
"""


@_part
def _turn(rows: F32, start: int, n: int, x: F32, largest: F32) -> None:  # pragma: no cover
    """Copy a block of finite filters, turned, and find each one's largest magnitude."""
    for r in range(n):
        largest[r] = np.float32(0)
    for i in range(rows.shape[1]):
        for r in range(n):
            value = rows[start + r, i]
            x[i, r] = value
            magnitude = abs(value)
            largest[r] = magnitude if magnitude > largest[r] else largest[r]


@_part
def _turn_finite(rows: F32, start: int, n: int, x: F32, largest: F32) -> int:  # pragma: no cover
    """Copy the finite ones of a block's filters, turned; return how many there are."""
    kept = 0
    for r in range(start, start + n):
        top = np.float32(0)
        finite = True
        for i in range(rows.shape[1]):
            magnitude = abs(rows[r, i])
            finite = finite and magnitude <= np.float32(3.4028235e38)
            top = max(top, magnitude)
        if finite:
            for i in range(rows.shape[1]):
                x[i, kept] = rows[r, i]
            largest[kept] = top
            kept += 1
    return kept


@_part
def _take(rows: F32, start: int, n: int, finite: bool, x: F32, largest: F32) -> int:  # pragma: no cover
    """Copy the finite filters of a block; the quick way where all of them are known to be."""
    if finite:
        _turn(rows, start, n, x, largest)
        return n
    return int(_turn_finite(rows, start, n, x, largest))


@_part
def _scale(x: F32, n: int, largest: F32, scaled: F32) -> None:  # pragma: no cover
    """Divide each filter by its largest magnitude; a zero filter stays zero."""
    for r in range(n):
        largest[r] = largest[r] if largest[r] > 0 else np.float32(1)
    for i in range(x.shape[0]):
        for r in range(n):
            scaled[i, r] = x[i, r] / largest[r]


@_part
def _add(x: F32, n: int, centred: F64, count: int, mean: F64, scatter: F64) -> int:  # pragma: no cover
    """Merge a block into moments: centre it on its own mean first, then combine (Chan)."""
    k = x.shape[0]
    own = np.empty(k)
    for i in range(k):
        total = 0.0
        for r in range(n):
            total += x[i, r]
        own[i] = total / n
        for r in range(n):
            centred[i, r] = x[i, r] - own[i]
    weight = count * (n / (count + n))
    for i in range(k):
        for j in range(i + 1):
            total = 0.0
            for r in range(n):
                total += centred[i, r] * centred[j, r]
            total += (own[i] - mean[i]) * (own[j] - mean[j]) * weight
            scatter[i, j] += total
            if i != j:
                scatter[j, i] += total
    for i in range(k):
        mean[i] += (own[i] - mean[i]) * (n / (count + n))
    return count + n


@_part
def _keep_dense(x: F32, n: int, largest: F32, threshold: float, dense: F32) -> int:  # pragma: no cover
    """Copy the filters that are not sparse, and return how many there are."""
    kept = 0
    for r in range(n):
        if largest[r] >= threshold:
            for i in range(x.shape[0]):
                dense[i, kept] = x[i, r]
            kept += 1
    return kept


@_part
def _sums(x: F32, n: int) -> tuple[float, float]:  # pragma: no cover
    total = 0.0
    magnitude = 0.0
    for i in range(x.shape[0]):
        for r in range(n):
            total += x[i, r]
            magnitude += abs(x[i, r])
    return total, magnitude


@_part
def _deviations(x: F32, n: int, centre: float) -> tuple[float, float]:  # pragma: no cover
    absolute = 0.0
    square = 0.0
    for i in range(x.shape[0]):
        for r in range(n):
            difference = x[i, r] - centre
            absolute += abs(difference)
            square += difference * difference
    return absolute, square


@_part
def _project(scaled: F32, n: int, basis: F64, offset: F64, c: F64) -> None:  # pragma: no cover
    """Coefficients of scaled filters: ``basis @ scaled - offset``."""
    for j in range(basis.shape[0]):
        for r in range(n):
            c[j, r] = -offset[j]
        for i in range(scaled.shape[0]):
            loading = basis[j, i]
            for r in range(n):
                c[j, r] += loading * scaled[i, r]


@_compiled(_ANY_ORDER)
def scan_extent(rows: F32, state: F64) -> None:  # pragma: no cover
    """First scan: add to (finite filters, largest magnitude, sum of values, sum of magnitudes)."""
    k = rows.shape[1]
    x = np.empty((k, BLOCK), np.float32)
    largest = np.empty(BLOCK, np.float32)
    for start in range(0, rows.shape[0], BLOCK):
        n = _turn_finite(rows, start, min(BLOCK, rows.shape[0] - start), x, largest)
        total, magnitude = _sums(x, n)
        state[0] += n
        for r in range(n):
            state[1] = max(state[1], largest[r])
        state[2] += total
        state[3] += magnitude


@_compiled(_ANY_ORDER)
def scan_moments(
    rows: F32,
    finite: bool,
    threshold: float,
    centre: float,
    state: F64,
    counts: I64,
    means: F64,
    scatters: F64,
) -> None:  # pragma: no cover
    """Second scan: add to the moments of all, of the dense and of the scaled filters, in this order.

    ``state`` takes the sums of absolute and squared deviations of all values from ``centre``.
    """
    k = rows.shape[1]
    x = np.empty((k, BLOCK), np.float32)
    other = np.empty((k, BLOCK), np.float32)
    centred = np.empty((k, BLOCK))
    largest = np.empty(BLOCK, np.float32)
    for start in range(0, rows.shape[0], BLOCK):
        n = _take(rows, start, min(BLOCK, rows.shape[0] - start), finite, x, largest)
        if n == 0:
            continue
        absolute, square = _deviations(x, n, centre)
        state[0] += absolute
        state[1] += square
        counts[0] = _add(x, n, centred, counts[0], means[0], scatters[0])
        dense = _keep_dense(x, n, largest, threshold, other)
        if dense:
            counts[1] = _add(other, dense, centred, counts[1], means[1], scatters[1])
        _scale(x, n, largest, other)
        counts[2] = _add(other, n, centred, counts[2], means[2], scatters[2])


@_compiled(_ORDERED)
def scan_range(rows: F32, finite: bool, basis: F64, offset: F64, extremes: F64) -> None:  # pragma: no cover
    """Third scan: widen the range of all coefficients."""
    k = rows.shape[1]
    x = np.empty((k, BLOCK), np.float32)
    scaled = np.empty((k, BLOCK), np.float32)
    c = np.empty((k, BLOCK))
    largest = np.empty(BLOCK, np.float32)
    low = np.full(BLOCK, np.inf)
    high = np.full(BLOCK, -np.inf)
    for start in range(0, rows.shape[0], BLOCK):
        n = _take(rows, start, min(BLOCK, rows.shape[0] - start), finite, x, largest)
        _scale(x, n, largest, scaled)
        _project(scaled, n, basis, offset, c)
        _widen(c, n, low, high)
    extremes[0] = min(extremes[0], low.min())
    extremes[1] = max(extremes[1], high.max())


@_part
def _widen(c: F64, n: int, low: F64, high: F64) -> None:  # pragma: no cover
    for j in range(c.shape[0]):
        for r in range(n):
            low[r] = min(low[r], c[j, r])
        for r in range(n):
            high[r] = max(high[r], c[j, r])


@_compiled(_ORDERED)
def scan_counts(
    rows: F32, finite: bool, basis: F64, offset: F64, low: float, high: float, counts: I64
) -> None:  # pragma: no cover
    """Fourth scan: count every coefficient in equal bins, the last one closed; others outside are not."""
    k = rows.shape[1]
    x = np.empty((k, BLOCK), np.float32)
    scaled = np.empty((k, BLOCK), np.float32)
    c = np.empty((k, BLOCK))
    place = np.empty(BLOCK, np.int32)
    largest = np.empty(BLOCK, np.float32)
    for start in range(0, rows.shape[0], BLOCK):
        n = _take(rows, start, min(BLOCK, rows.shape[0] - start), finite, x, largest)
        _scale(x, n, largest, scaled)
        _project(scaled, n, basis, offset, c)
        _count(c, n, low, high, place, counts)


@_part
def _count(c: F64, n: int, low: float, high: float, place: Any, counts: I64) -> None:  # pragma: no cover
    bins = counts.shape[1] - 1
    factor = bins / (high - low)
    for j in range(c.shape[0]):
        for r in range(n):
            value = c[j, r]
            inside = low <= value <= high
            # Bin `bins`, one past the last, collects what is outside and is dropped by the caller.
            place[r] = min(int((value - low) * factor), bins - 1) if inside else bins
        for r in range(n):
            counts[j, place[r]] += 1
