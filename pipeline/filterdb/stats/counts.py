"""Counts of coefficients in equal bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 65_536


def coefficient_counts(
    coefficients: NDArray[np.float64], *, low: float, high: float, bins: int
) -> NDArray[np.int64]:
    """Count each column's values in equal bins over one range, the last bin closed.

    Parameters
    ----------
    coefficients
        Rows of coefficients.
    low, high
        The range; values outside are not counted.
    bins
        How many bins.
    """
    edges = np.linspace(low, high, bins + 1)
    return np.stack([np.histogram(column, edges)[0] for column in coefficients.T]).astype(np.int64)
