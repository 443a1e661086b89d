"""Which records of a data set hold the very weights of a model, so that it is not compared with itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.stats import Cube, RecordStats

_CLOSE: Final = 1e-9
"""Sums of the same filters differ by less, on whatever processors they were computed."""

NONE: Final = -1


def same_weights(
    frame: pd.DataFrame, cube: Cube, layers: Sequence[tuple[str, RecordStats]]
) -> NDArray[np.int64]:
    """Return, for each record, the place of the layer that has the same weights; -1 where none has.

    A hash tells. Where the data set knows none, as published files do not, statistics do: the number of
    filters and the largest magnitude to the last bit, the sum of magnitudes and the mean but for rounding.

    Parameters
    ----------
    frame, cube
        The records.
    layers
        Hash and statistics of each layer of the model.
    """
    hashes = _hashes(frame)
    places = {digest: place for place, (digest, _) in reversed(list(enumerate(layers)))}
    found = np.array([places.get(digest, NONE) for digest in hashes], np.int64)
    unknown = hashes.isna().to_numpy()
    if unknown.any():
        rows = np.flatnonzero(unknown)
        found[rows] = _by_statistics(cube, rows, [stats for _, stats in layers])
    return found


def knows_hashes(frame: pd.DataFrame) -> bool:
    """Tell whether every record has a hash."""
    return bool(_hashes(frame).notna().all())


def _hashes(frame: pd.DataFrame) -> pd.Series[Any]:
    if "weights_sha256" in frame.columns:
        return frame["weights_sha256"].astype(object)
    return pd.Series(None, index=frame.index, dtype=object)


def _by_statistics(cube: Cube, rows: NDArray[np.int64], layers: Sequence[RecordStats]) -> NDArray[np.int64]:
    names = ("n", "finite", "largest", "l1")
    n, finite, largest, l1 = (np.asarray(cube.rows[name])[rows] for name in names)
    found = np.full(len(rows), NONE, np.int64)
    for place, stats in enumerate(layers):
        alike = (n == stats.n) & (finite == stats.finite) & (largest == stats.largest) & (found == NONE)
        alike &= np.abs(l1 - stats.l1) <= _CLOSE * stats.l1
        for at in np.flatnonzero(alike).tolist():
            mean = cube.rows["raw_mean"][rows[at]]
            if (np.abs(mean - stats.raw.mean) <= _CLOSE * stats.largest).all():
                found[at] = place
    return found
