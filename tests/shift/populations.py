"""Small zoos of counted records, in which every record has a distribution of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

COMPONENTS, BINS, WIDTH = 2, 12, 0.5
WEIGHTS = np.array([0.7, 0.3])
PLACES = np.linspace(-3, 3, BINS)


def records(seed: int, shifts: list[float], *, spread: float = 0.3, largest: int = 900) -> np.ndarray:
    """One record a shift, each with a distribution of its own and a size of its own."""
    rng = np.random.default_rng(seed)
    centre = np.array(shifts)[:, None, None] + spread * rng.standard_normal((len(shifts), COMPONENTS, 1))
    p = np.exp(-0.5 * (PLACES - centre) ** 2)
    p /= p.sum(axis=-1, keepdims=True)
    sizes = rng.integers(largest // 3, largest, len(shifts))
    return np.stack([rng.multinomial(n, one) for n, one in zip(sizes, p, strict=True)])


def between(seed: int = 0) -> dict[str, Any]:
    """Three groups of seven models of two records."""
    codes = np.repeat([0, 1, 2], 14)
    return {
        "counts": records(seed, (codes * 0.2).tolist()),
        "codes": codes,
        "models": np.repeat(np.arange(21), 2),
    }


def within(seed: int = 0) -> dict[str, Any]:
    """Eight models with two records in each of three groups, and one model in the first group alone."""
    codes = np.append(np.tile([0, 0, 1, 1, 2, 2], 8), [0, 0])
    return {
        "counts": records(seed, (codes * 0.2).tolist()),
        "codes": codes,
        "models": np.append(np.repeat(np.arange(8), 6), [8, 8]),
    }


def uneven(seed: int = 0) -> dict[str, Any]:
    """Models with one to seven records, which lie in any of three groups."""
    rng = np.random.default_rng([seed, 3])
    models = np.repeat(np.arange(16), rng.integers(1, 8, 16))
    codes = rng.integers(0, 3, len(models))
    return {"counts": records(seed, (codes * 0.2).tolist()), "codes": codes, "models": models}
