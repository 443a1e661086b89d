"""The compiled measure: no bit of it depends on where its arrays lie in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.shift.compiled import kl_symmetric_floored

WIDTH, FLOOR = 0.5, 0.01

FARTHEST = 64
"""Numbers between two arrays beyond which the compiler takes them for apart, and some more."""


def compared(p: np.ndarray, q: np.ndarray, order: list[int], gap: int) -> float:
    """Compare two rows that lie in one piece of memory together with the scratch, a gap between them."""
    bins = len(p)
    sizes = [bins, bins, 4 * bins]
    memory = np.zeros(sum(sizes) + 2 * gap)
    places, at = {}, 0
    for what in order:
        places[what] = memory[at : at + sizes[what]]
        at += sizes[what] + gap
    places[0][:], places[1][:] = p, q
    out = np.empty(1)
    kl_symmetric_floored(places[0][None], places[1][None], WIDTH, FLOOR, places[2].reshape(4, bins), out)
    return float(out[0])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 2, 0]])
@given(bins=st.integers(1, 80), seed=st.integers(0, 1 << 32))
@settings(max_examples=25)
def test_neighbours_in_memory_change_no_bit(order: list[int], bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.integers(0, 900, (2, bins)).astype(np.float64) + (np.arange(bins) == 0)
    found = {compared(p, q, order, gap) for gap in range(FARTHEST)}
    assert len(found) == 1
