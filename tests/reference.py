"""Every definition of the analysis, written straight from its formula: plain, slow, in float64.

The fast code is held to this, so nothing here may be shared with it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def finite(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    return filters[np.isfinite(filters).all(axis=1)]


def scaled(filters: NDArray[np.float32]) -> F64:
    rows = []
    for row in filters:
        largest = np.abs(row).max()
        rows.append(row / largest if largest > 0 else row * 0)
    return np.array(rows, dtype=np.float64).reshape(-1, filters.shape[1])


def threshold(n: int) -> float:
    """T_H(n)."""
    return 1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(n) - 2.30436435))) - 0.31050834


def sparse(filters: NDArray[np.float32], eps: float = 0.01) -> NDArray[np.bool_]:
    largest = float(np.abs(filters).max()) if len(filters) else 0.0
    t = np.float32(largest * eps) if largest > 0 else np.float32(1)
    return np.array([all(abs(w) < t for w in row) for row in filters], dtype=bool)


def entropy(filters: NDArray[np.float32]) -> float:
    if len(filters) == 0 or filters.shape[1] == 1:
        return math.nan
    rows = filters.astype(np.float64)
    if (rows == rows[0]).all():
        return 0.0
    centred = rows - rows.mean(axis=0)
    variance = np.linalg.svd(centred, compute_uv=False) ** 2 / (len(rows) - 1)
    shares = variance / variance.sum()
    return -sum(p * math.log10(p) for p in shares if p > 0)


def orthogonality(weight: NDArray[np.float32]) -> float:
    """``weight`` is out x in x 3 x 3."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    n = len(rows)
    if n < 2:
        return math.nan
    unit = np.array([row / np.linalg.norm(row) if np.any(row) else row for row in rows])
    return 1 - np.abs(unit @ unit.T - np.eye(n)).sum() / (n * (n - 1))


def quality(weight: NDArray[np.float32]) -> dict[str, float]:
    """All eleven metrics of a layer without NaN and Inf."""
    filters = weight.reshape(-1, weight.shape[2] * weight.shape[3])
    n, is_sparse = len(filters), sparse(filters)
    clean = filters[~is_sparse]
    values = weight.astype(np.float64).ravel()
    varies = bool((values != values[0]).any())
    normal = (values - values.mean()) / values.std(ddof=1) if varies else values * math.nan
    h, h_clean = entropy(filters), entropy(clean)
    # T_H is a fit to filters of nine values, and is below zero for one and two filters.
    fitted, fitted_clean = (filters.shape[1] == 9 and count > 2 for count in (n, len(clean)))
    return {
        "n": n,
        "sparsity": is_sparse.mean(),
        "variance_entropy": h,
        "variance_entropy_norm": h / threshold(n) if fitted else math.nan,
        "variance_entropy_clean": h_clean,
        "variance_entropy_clean_norm": h_clean / threshold(len(clean)) if fitted_clean else math.nan,
        "orthogonality": orthogonality(weight),
        "norm_l1": np.abs(values).sum(),
        "norm_l2": math.sqrt((values**2).sum()),
        "norm_l1_norm": np.abs(normal).sum(),
        "norm_l2_norm": math.sqrt((normal**2).sum()),
    }


def basis(filters: NDArray[np.float32]) -> tuple[F64, F64, F64]:
    """Mean, components by falling variance (rows), explained variance ratio."""
    s = scaled(finite(filters))
    mean = s.mean(axis=0)
    _, singular, components = np.linalg.svd(s - mean, full_matrices=False)
    for row in components:
        largest = np.abs(row).max()
        first = next(v for v in row if abs(v) >= largest * (1 - 1e-9))
        row *= 1 if first > 0 else -1
    variance = singular**2
    total = variance.sum()
    return mean, components, variance / total if total > 0 else np.full(len(variance), 1 / len(variance))


def coefficients(filters: NDArray[np.float32], mean: F64, components: F64) -> F64:
    return (scaled(finite(filters)) - mean) @ components.T


def histogram(c: F64, low: float, high: float, bins: int = 70) -> NDArray[np.int64]:
    """Component x bin."""
    return np.stack([np.histogram(column, bins, (low, high))[0] for column in c.T])


def drift(counts_p: NDArray[np.int64], counts_q: NDArray[np.int64], weights: F64, width: float) -> float:
    """D between two groups."""
    eps = float(np.finfo(np.float32).eps)
    total = 0.0
    for p, q, w in zip(counts_p, counts_q, weights, strict=True):
        p, q = (c / (c.sum() * width) for c in (p, q))
        p, q = (np.where(d == 0, eps, d) for d in (p, q))
        p, q = p / p.sum(), q / q.sum()
        total += w * ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())
    return total


def coordinates(filters: NDArray[np.float32], policy: str = "paper") -> tuple[F64, F64, float, float, F64]:
    """Mean, components, both ends of the bins, weights of the components."""
    mean, components, explained = basis(filters)
    if policy == "fixed":
        return mean, components, -3.0, 3.0, np.full(filters.shape[1], 1 / filters.shape[1])
    c = coefficients(filters, mean, components)
    return mean, components, float(c.min()), float(c.max()), explained


def shift(
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    where: tuple[F64, F64, float, float, F64],
    bins: int = 70,
) -> float:
    """D between two sets of filters in given coordinates, whichever data these were fitted to."""
    mean, components, low, high, weights = where
    counts = [histogram(coefficients(one, mean, components), low, high, bins) for one in (p, q)]
    return drift(*counts, weights, (high - low) / bins)


def outside(filters: NDArray[np.float32], where: tuple[F64, F64, float, float, F64]) -> int:
    """How many coefficients are in no bin."""
    mean, components, low, high, _ = where
    c = coefficients(filters, mean, components)
    return int(((c < low) | (c > high)).sum())
