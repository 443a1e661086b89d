"""The paper's measure for a great many draws, compiled: each bin is read once, and nothing is written.

It is :func:`~filterdb.shift.divergence.paper` but for the last bits.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_FRACTION: Final = 52
_HALF: Final = 1 << 51

_part = numba.njit(inline="always")
"""A part that is written into what calls it; see :mod:`filterdb.stats.kernels` for why."""


@_part
def _factors(counts: Any, width: float, floor: float) -> tuple[float, float]:  # pragma: no cover
    """Return what makes densities of counts, and what makes those sum to 1 once floored; NaN without counts.

    It sums and stores nothing: the compiler divides a loop that does both in two, a fast and a plain one, and
    takes the plain one where the arrays lie close together, so that the last bits of a sum would depend on
    where memory was free.
    """
    total = 0.0
    for k in range(counts.shape[0]):
        total += counts[k]
    factor = 1 / (total * width) if total > 0 else np.nan
    mass = 0.0
    for k in range(counts.shape[0]):
        value = counts[k] * factor
        mass += floor if value == 0 else value
    return factor, 1 / mass


@_part
def _log_ratio(gap: float, add: float, power: float) -> float:  # pragma: no cover
    """Return log(a / b) + power log 2 where gap is a - b and add is a + b, for a / b between 2/3 and 3/2.

    The series of the inverse hyperbolic tangent: what is left out is below 2e-17 of the result.
    """
    s = gap / add
    z = s * s
    t = 1 / 23
    t = t * z + 1 / 21
    t = t * z + 1 / 19
    t = t * z + 1 / 17
    t = t * z + 1 / 15
    t = t * z + 1 / 13
    t = t * z + 1 / 11
    t = t * z + 1 / 9
    t = t * z + 1 / 7
    t = t * z + 1 / 5
    t = t * z + 1 / 3
    return power * 0.6931471805599453 + 2 * (s + s * z * t)


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def kl_symmetric_floored(
    p: F64, q: F64, width: float, floor: float, work: F64, out: F64
) -> None:  # pragma: no cover
    """Compare counts, row by row: KL(p || q) + KL(q || p) of their floored densities.

    Parameters
    ----------
    p, q
        Rows x bins.
    width
        Width of a bin.
    floor
        What an empty bin holds, in density units.
    work
        4 x bins of scratch memory.
    out
        Takes the divergence of each row; NaN where there is no count.
    """
    bins = p.shape[1]
    high, low, raised, power = work[0], work[1], work[2], work[3]
    high_bits, low_bits, raised_bits = high.view(np.int64), low.view(np.int64), raised.view(np.int64)
    for row in range(p.shape[0]):
        density_p, share_p = _factors(p[row], width, floor)
        density_q, share_q = _factors(q[row], width, floor)
        for k in range(bins):
            a, b = p[row, k] * density_p, q[row, k] * density_q
            a = (floor if a == 0 else a) * share_p
            b = (floor if b == 0 else b) * share_q
            high[k], low[k] = (a, b) if a > b else (b, a)
        for k in range(bins):
            # The bits of a number are nearly its logarithm: they tell which power of two brings the lower
            # one up to the higher.
            steps = (high_bits[k] - low_bits[k] + _HALF) >> _FRACTION
            raised_bits[k] = low_bits[k] + (steps << _FRACTION)
            power[k] = steps
        total = 0.0
        for k in range(bins):
            logarithm = _log_ratio(high[k] - raised[k], high[k] + raised[k], power[k])
            total += (high[k] - low[k]) * logarithm
        out[row] = total
