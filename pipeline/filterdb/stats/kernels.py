"""The inner loops over filters, compiled: no temporaries, no lock, memory read once.

Filters are taken in blocks of fixed height, turned so that each of a filter's values has a row of its own
in the block. Then every loop runs along memory, over one value of many filters, and the processor does
several at once. A block and its working copies fit the nearest cache. Where each value is needed several
times over, three are taken together, so that they are fetched a third as often.

The height of a block is part of every result's last bits: it must not depend on threads or batches.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 256

_ANY_ORDER: Final = {"reassoc", "contract", "nsz"}
_ORDERED: Final = {"contract", "nsz"}
_MAGNITUDE: Final = np.uint32(0x7FFFFFFF)
_INFINITE: Final = np.uint32(0x7F800000)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def _compiled(fastmath: Any) -> Any:
    # As numpy divides: looking for a zero first would take several times as long as the division.
    return numba.njit(nogil=True, cache=True, fastmath=fastmath, error_model="numpy")


_part = numba.njit(inline="always")
"""A part of a scan, written into it before it is compiled.

A scan must be one unit: of several, the compiler makes other code when it has just compiled them than when it
finds them in its cache, and sums would differ in their last bits between a first run and the next.
"""


@_part
def _turn(rows: F32, start: int, n: int, x: F32) -> None:  # pragma: no cover
    """Copy a block of filters, turned."""
    k = rows.shape[1]
    threes = k - k % 3
    for i in range(0, threes, 3):
        for r in range(n):
            x[i, r] = rows[start + r, i]
            x[i + 1, r] = rows[start + r, i + 1]
            x[i + 2, r] = rows[start + r, i + 2]
    for i in range(threes, k):
        for r in range(n):
            x[i, r] = rows[start + r, i]


@_part
def _turn_finite(rows: F32, start: int, n: int, x: F32) -> int:  # pragma: no cover
    """Copy the finite ones of a block's filters, turned; return how many there are."""
    kept = 0
    for r in range(start, start + n):
        finite = True
        for i in range(rows.shape[1]):
            finite = finite and abs(rows[r, i]) <= np.float32(3.4028235e38)
        if finite:
            for i in range(rows.shape[1]):
                x[i, kept] = rows[r, i]
            kept += 1
    return kept


@_part
def _take(rows: F32, start: int, n: int, finite: bool, x: F32) -> int:  # pragma: no cover
    """Copy the finite filters of a block; the quick way where all of them are known to be."""
    if finite:
        _turn(rows, start, n, x)
        return n
    return int(_turn_finite(rows, start, n, x))


@_part
def _magnitudes(x: F32, n: int, largest: F32) -> None:  # pragma: no cover
    """Find each filter's largest magnitude."""
    for r in range(n):
        largest[r] = np.float32(0)
    for i in range(x.shape[0]):
        for r in range(n):
            magnitude = abs(x[i, r])
            largest[r] = magnitude if magnitude > largest[r] else largest[r]


@_part
def _scale(x: F32, n: int, largest: F32, scaled: F64) -> None:  # pragma: no cover
    """Divide each filter by its largest magnitude, in float32; a zero filter stays zero."""
    for r in range(n):
        largest[r] = largest[r] if largest[r] > 0 else np.float32(1)
    for i in range(x.shape[0]):
        for r in range(n):
            scaled[i, r] = x[i, r] / largest[r]


@_part
def _centre(c: F64, n: int, own: F64) -> None:  # pragma: no cover
    """Subtract from a block its own mean."""
    for i in range(c.shape[0]):
        total = 0.0
        for r in range(n):
            total += c[i, r]
        own[i] = total / n
        for r in range(n):
            c[i, r] -= own[i]


@_part
def _multiply(c: F64, n: int, products: F64) -> None:  # pragma: no cover
    """Sum up the products of each two values of a block's filters, in the lower triangle."""
    k = c.shape[0]
    threes = k - k % 3
    for i in range(0, threes, 3):
        for j in range(0, i + 1, 3):
            t00 = t01 = t02 = t10 = t11 = t12 = t20 = t21 = t22 = 0.0
            for r in range(n):
                t00 += c[i, r] * c[j, r]
                t01 += c[i, r] * c[j + 1, r]
                t02 += c[i, r] * c[j + 2, r]
                t10 += c[i + 1, r] * c[j, r]
                t11 += c[i + 1, r] * c[j + 1, r]
                t12 += c[i + 1, r] * c[j + 2, r]
                t20 += c[i + 2, r] * c[j, r]
                t21 += c[i + 2, r] * c[j + 1, r]
                t22 += c[i + 2, r] * c[j + 2, r]
            products[i, j], products[i, j + 1], products[i, j + 2] = t00, t01, t02
            products[i + 1, j], products[i + 1, j + 1], products[i + 1, j + 2] = t10, t11, t12
            products[i + 2, j], products[i + 2, j + 1], products[i + 2, j + 2] = t20, t21, t22
    for i in range(threes, k):
        for j in range(i + 1):
            total = 0.0
            for r in range(n):
                total += c[i, r] * c[j, r]
            products[i, j] = total


@_part
def _merge(own: F64, products: F64, n: int, count: int, mean: F64, scatter: F64) -> int:  # pragma: no cover
    """Merge the moments of a block about its own mean into others (Chan)."""
    k = len(own)
    weight = count * (n / (count + n))
    for i in range(k):
        for j in range(i + 1):
            total = products[i, j] + (own[i] - mean[i]) * (own[j] - mean[j]) * weight
            scatter[i, j] += total
            if i != j:
                scatter[j, i] += total
    for i in range(k):
        mean[i] += (own[i] - mean[i]) * (n / (count + n))
    return count + n


@_part
def _keep_dense(x: F32, n: int, largest: F32, threshold: float, dense: F64) -> None:  # pragma: no cover
    """Copy the filters that are not sparse."""
    kept = 0
    for r in range(n):
        if largest[r] >= threshold:
            for i in range(x.shape[0]):
                dense[i, kept] = x[i, r]
            kept += 1


@_part
def _count_dense(n: int, largest: F32, threshold: float) -> int:  # pragma: no cover
    dense = 0
    for r in range(n):
        dense += largest[r] >= threshold
    return dense


@_part
def _select(which: int, x: F32, n: int, largest: F32, threshold: float, to: F64) -> None:  # pragma: no cover
    """Copy what the moments are of: all filters, the dense ones, or all of them scaled."""
    if which == 0:
        for i in range(x.shape[0]):
            for r in range(n):
                to[i, r] = x[i, r]
    elif which == 1:
        _keep_dense(x, n, largest, threshold, to)
    else:
        _scale(x, n, largest, to)


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
def _project(scaled: F64, n: int, basis: F64, offset: F64, c: F64) -> None:  # pragma: no cover
    """Coefficients of scaled filters: ``basis @ scaled - offset``."""
    k = scaled.shape[0]
    threes = k - k % 3
    for j in range(basis.shape[0]):
        for r in range(n):
            c[j, r] = -offset[j]
        for i in range(0, threes, 3):
            b0, b1, b2 = basis[j, i], basis[j, i + 1], basis[j, i + 2]
            for r in range(n):
                c[j, r] = ((c[j, r] + b0 * scaled[i, r]) + b1 * scaled[i + 1, r]) + b2 * scaled[i + 2, r]
        for i in range(threes, k):
            for r in range(n):
                c[j, r] += basis[j, i] * scaled[i, r]


@_part
def _add_finite(rows: F32, start: int, n: int, state: F64) -> None:  # pragma: no cover
    """Add the finite ones of a block's filters to what :func:`scan_extent` finds."""
    k = rows.shape[1]
    for r in range(start, start + n):
        top = np.float32(0)
        finite = True
        for i in range(k):
            magnitude = abs(rows[r, i])
            finite = finite and magnitude <= np.float32(3.4028235e38)
            top = max(top, magnitude)
        if finite:
            state[0] += 1
            state[1] = max(state[1], top)
            for i in range(k):
                state[2] += rows[r, i]
                state[3] += abs(rows[r, i])


@_compiled(_ANY_ORDER)
def scan_extent(rows: F32, state: F64) -> None:  # pragma: no cover
    """First scan: add to (finite filters, largest magnitude, sum of values, sum of magnitudes)."""
    k = rows.shape[1]
    values = rows.reshape(rows.size)
    patterns = values.view(np.uint32)
    bits = np.empty(1, np.uint32)
    largest = bits.view(np.float32)
    for start in range(0, rows.shape[0], BLOCK):
        n = min(BLOCK, rows.shape[0] - start)
        # The bits of magnitudes are ordered as numbers are, with Inf and NaN above them all.
        top = np.uint32(0)
        total = 0.0
        magnitude = 0.0
        block = values[start * k : (start + n) * k]
        block_patterns = patterns[start * k : (start + n) * k]
        for at in range(block.size):
            pattern = block_patterns[at] & _MAGNITUDE
            top = pattern if pattern > top else top
            total += block[at]
            magnitude += abs(block[at])
        if top >= _INFINITE:
            _add_finite(rows, start, n, state)
            continue
        bits[0] = top
        state[0] += n
        state[1] = max(state[1], largest[0])
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
    work = np.empty((k, BLOCK))
    largest = np.empty(BLOCK, np.float32)
    own, products = np.empty(k), np.empty((k, k))
    for start in range(0, rows.shape[0], BLOCK):
        n = _take(rows, start, min(BLOCK, rows.shape[0] - start), finite, x)
        if n == 0:
            continue
        _magnitudes(x, n, largest)
        absolute, square = _deviations(x, n, centre)
        state[0] += absolute
        state[1] += square
        dense = _count_dense(n, largest, threshold)
        for which in range(3):
            chosen = dense if which == 1 else n
            # Where all filters are dense, what was just computed holds for them.
            if which != 1 or 0 < dense < n:
                _select(which, x, n, largest, threshold, work)
                _centre(work, chosen, own)
                _multiply(work, chosen, products)
            if chosen:
                counts[which] = _merge(own, products, chosen, counts[which], means[which], scatters[which])


@_compiled(_ORDERED)
def scan_range(rows: F32, finite: bool, basis: F64, offset: F64, extremes: F64) -> None:  # pragma: no cover
    """Third scan: widen the range of all coefficients."""
    k = rows.shape[1]
    x = np.empty((k, BLOCK), np.float32)
    scaled = np.empty((k, BLOCK))
    c = np.empty((k, BLOCK))
    largest = np.empty(BLOCK, np.float32)
    low = np.full(BLOCK, np.inf)
    high = np.full(BLOCK, -np.inf)
    for start in range(0, rows.shape[0], BLOCK):
        n = _take(rows, start, min(BLOCK, rows.shape[0] - start), finite, x)
        _magnitudes(x, n, largest)
        _scale(x, n, largest, scaled)
        _project(scaled, n, basis, offset, c)
        for j in range(k):
            for r in range(n):
                low[r] = min(low[r], c[j, r])
                high[r] = max(high[r], c[j, r])
    extremes[0] = min(extremes[0], low.min())
    extremes[1] = max(extremes[1], high.max())


@_compiled(_ORDERED)
def scan_counts(
    rows: F32, finite: bool, basis: F64, offset: F64, low: float, high: float, counts: I64
) -> None:  # pragma: no cover
    """Fourth scan: count every coefficient in equal bins, the last one closed; others outside are not."""
    k = rows.shape[1]
    x = np.empty((k, BLOCK), np.float32)
    scaled = np.empty((k, BLOCK))
    c = np.empty((k, BLOCK))
    place = np.empty(BLOCK, np.int32)
    largest = np.empty(BLOCK, np.float32)
    for start in range(0, rows.shape[0], BLOCK):
        n = _take(rows, start, min(BLOCK, rows.shape[0] - start), finite, x)
        _magnitudes(x, n, largest)
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
