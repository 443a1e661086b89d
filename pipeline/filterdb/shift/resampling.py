"""Draws at random: labels permuted as if nothing differed, and models drawn again as if sampled again.

Each pair of groups has streams of its own, keyed by a seed and by names. A row of random numbers makes a
draw, and sums are exact, so that neither threads nor the division into chunks change a bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from filterdb.errors import UsageError
from filterdb.shift.units import F64, Ints, Pair, Strata

MEMORY = 4 << 20
"""Bytes that the temporary arrays of one chunk may take: enough for BLAS, few enough for a cache, and for the
allocator to give the same pages again; with four times as many, draws took 1.7 times as long."""

_TEMPORARIES = 4
"""How many arrays of the size of one group's counts are alive while a chunk is drawn."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How uncertainty is computed.

    Parameters
    ----------
    seed
        Key of all random streams.
    permutations
        Draws of the null distribution. The smallest p is 1 / (permutations + 1), before Holm's factor.
    draws
        Draws of the bootstrap.
    level
        Coverage of the interval.
    memory
        Bytes of temporary arrays of each thread; it changes no bit of the result.
    threads
        How many pairs are computed at once, as many as there are processors where not given; it changes no
        bit of the result.
    """

    seed: int = 0
    permutations: int = 999
    draws: int = 999
    level: float = 0.95
    memory: int = MEMORY
    threads: int | None = None

    def __post_init__(self) -> None:
        least = min(self.permutations, self.draws, self.memory, 1 if self.threads is None else self.threads)
        if self.seed < 0 or least < 1 or not 0 < self.level < 1:
            raise UsageError(
                f"resampling cannot work with {self}",
                expected="seed >= 0; permutations, draws, memory and threads >= 1; 0 < level < 1",
            )

    def stream(self, *key: str) -> np.random.Generator:
        """Return the random numbers of this key."""
        digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
        return np.random.default_rng(np.random.SeedSequence([self.seed, int.from_bytes(digest, "little")]))


def permuted(strata: Strata, rng: np.random.Generator, total: int, memory: int) -> Iterator[F64]:
    """Yield chunks of the first group's sums under permuted labels, one row a draw.

    Parameters
    ----------
    strata
        What is relabelled.
    rng
        Random numbers.
    total
        Number of draws.
    memory
        Bytes of temporary arrays.
    """
    items, width = strata.items.shape
    for rows in _chunks(total, 3 * items + _TEMPORARIES * width, memory):
        sums = choose(rng, rows, strata.sizes, strata.needs) @ strata.items
        sums += strata.fixed
        yield sums


def choose(rng: np.random.Generator, rows: int, sizes: Ints, needs: Ints) -> F64:
    """Choose some items of each stratum, independently in each row; 1 where chosen.

    Selection sampling: an item is taken with the odds of those still needed among those still to come. One
    uniform number an item makes the draws of a row independent of how rows are divided into chunks.

    Parameters
    ----------
    rng
        Random numbers.
    rows
        How often to choose.
    sizes, needs
        How many items each stratum has, falling, and how many of them to choose. Columns of the result are in
        the order of :class:`Strata`.
    """
    chosen = rng.random((rows, int(sizes.sum()))).T.copy()
    missing = np.repeat(needs.astype(np.float64)[:, None], rows, axis=1)
    begin = 0
    for step in range(int(sizes[0])):
        live = int(np.count_nonzero(sizes > step))
        item = chosen[begin : begin + live]
        item *= (sizes[:live] - step)[:, None]
        np.less(item, missing[:live], out=item)
        missing[:live] -= item
        begin += live
    return chosen.T


def bootstrapped(pair: Pair, rng: np.random.Generator, total: int, memory: int) -> Iterator[tuple[F64, F64]]:
    """Yield chunks of both groups' sums over models that are drawn with replacement, one row a draw.

    One model fewer is drawn than there are: so the variance of a draw is that of the estimate, not
    (n - 1) / n of it, which matters where models are few.

    Parameters
    ----------
    pair
        The groups. Models with records in both are drawn for both at once.
    rng
        Random numbers.
    total
        Number of draws.
    memory
        Bytes of temporary arrays.
    """
    first, second = pair.sums()
    sizes = [len(first)] if pair.held[2] else [len(first), len(second)]
    for rows in _chunks(total, 3 * sum(sizes) + _TEMPORARIES * first.shape[1], memory):
        uniform = np.split(rng.random((rows, sum(sizes) - len(sizes))), [sizes[0] - 1], axis=1)
        times = [draw_times(part, n) for part, n in zip(uniform, sizes, strict=False)]
        yield times[0] @ first, times[-1] @ second


def draw_times(uniform: F64, n: int) -> F64:
    """Turn uniform numbers, one row a draw, into how often each of ``n`` models is drawn."""
    drawn = (uniform * n).astype(np.int64) + n * np.arange(len(uniform))[:, None]
    return np.bincount(drawn.ravel(), minlength=n * len(uniform)).reshape(-1, n).astype(np.float64)


def _chunks(total: int, numbers: int, memory: int) -> Iterator[int]:
    """Divide draws into chunks that fit, given how many numbers each takes."""
    step = max(1, memory // (8 * numbers))
    yield from (min(step, total - start) for start in range(0, total, step))
