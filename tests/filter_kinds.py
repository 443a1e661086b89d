"""Filters of many kinds, on which the fast code and the plain definitions must agree."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from filterdb.config import demo_folder

Filters = NDArray[np.float32]
Make = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


@functools.cache
def trained(k: int) -> Filters:
    """Every filter of k values in the zoo that ships with the package, broken file left out."""
    parts = []
    for path in sorted(demo_folder().glob("zoo/*.onnx")):
        if path.name == "broken.onnx":
            continue
        weights = (numpy_helper.to_array(w, str(path.parent)) for w in onnx.load(path).graph.initializer)
        parts += [w.reshape(-1, k) for w in weights if w.ndim == 4 and w.shape[2] * w.shape[3] == k]
    return np.concatenate(parts).astype(np.float32)


def _random(rng: np.random.Generator, n: int, k: int) -> NDArray[np.float64]:
    return rng.normal(0, 0.05, (n, k)) * np.linspace(1, 0.4, k)


def _trained(rng: np.random.Generator, n: int, k: int) -> NDArray[np.float64]:
    # No model has kernels of 2 or 8 values: there the values of others are divided otherwise.
    filters = trained(k) if k in (1, 9, 25) else trained(9)[: 8 * k].reshape(-1, k)
    start = int(rng.integers(0, max(1, len(filters) - n)))
    return np.resize(filters[start : start + n], (n, k)).astype(np.float64)


def _low_rank(rng: np.random.Generator, n: int, k: int) -> NDArray[np.float64]:
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, k))


def _sparse(rng: np.random.Generator, n: int, k: int) -> NDArray[np.float64]:
    return _random(rng, n, k) * np.where(rng.random(n) < 0.4, 1e-5, 1)[:, None]


def _with_zeros(rng: np.random.Generator, n: int, k: int) -> NDArray[np.float64]:
    return _random(rng, n, k) * (rng.random(n) < 0.6)[:, None]


def _duplicates(rng: np.random.Generator, n: int, k: int) -> NDArray[np.float64]:
    return _random(rng, max(1, n // 5), k)[rng.integers(0, max(1, n // 5), n)]


def _mixed(rng: np.random.Generator, n: int, k: int) -> NDArray[np.float64]:
    return _random(rng, n, k) * 10.0 ** rng.uniform(-30, 30, n)[:, None]


KINDS: Final[dict[str, Make]] = {
    "random": _random,
    "trained": _trained,
    "constant": lambda rng, n, k: np.full((n, k), 0.1),
    "zero": lambda rng, n, k: np.zeros((n, k)),
    "one filter again and again": lambda rng, n, k: np.tile(rng.normal(0, 0.1, k), (n, 1)),
    "large mean": lambda rng, n, k: 1000 + _random(rng, n, k) / 0.05 * 1e-3,
    "huge": lambda rng, n, k: np.clip(_random(rng, n, k) * 1e39, -3.4e38, 3.4e38),
    "denormal": lambda rng, n, k: _random(rng, n, k) * 1e-39,
    "mixed magnitudes": _mixed,
    "low rank": _low_rank,
    "sparse": _sparse,
    "zero filters": _with_zeros,
    "duplicates": _duplicates,
}
"""What makes n x k values, in double precision, of each kind."""

WITHOUT_VARIANCE: Final = ("constant", "zero", "one filter again and again")


def filters_of(kind: str, n: int, k: int = 9, *, seed: int = 0) -> Filters:
    """Return n filters of k values, float32, the same for the same seed."""
    return np.ascontiguousarray(KINDS[kind](np.random.default_rng([seed, n, k]), n, k), dtype=np.float32)
