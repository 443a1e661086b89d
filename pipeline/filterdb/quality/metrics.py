"""Quality metrics as functions of plain arrays; ``docs/metrics.md`` has the formulas."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterdb.stats import Moments, finite_rows, moments_of
from filterdb.types import Filters

SPARSITY_EPS: Final = 0.01


def random_entropy(n: int) -> float:
    """Return T_H: the variance entropy that a layer of n random filters has, as a fit."""
    scale, offset, slope, base = 1.2618047, 2.30436435, 0.88767525, -0.31050834
    return scale / (1 + math.exp(-slope * (math.log2(n) - offset))) + base if n else math.nan


def sparse_filters(filters: Filters, *, eps: float = SPARSITY_EPS) -> NDArray[np.bool_]:
    """Tell which filters are sparse: all their magnitudes below a share of the layer's largest.

    Parameters
    ----------
    filters
        A layer's filters.
    eps
        The share.
    """
    magnitudes = np.abs(filters)
    threshold = magnitudes.max(initial=np.float32(0)) * np.float32(eps)
    if threshold == 0:
        return np.ones(len(filters), dtype=bool)
    return np.asarray((magnitudes < threshold).all(axis=1))


def variance_entropy(moments: Moments) -> tuple[float, str]:
    """Return the entropy of a layer's explained variance, base 10, and a reason where it is degenerate.

    Parameters
    ----------
    moments
        Moments of the layer's filters.
    """
    if moments.n == 0:
        return math.nan, "no filter is left"
    if moments.n == 1:
        return 0.0, "one filter has no variance"
    variance = np.clip(np.linalg.eigvalsh(moments.scatter), 0, None)
    second_moment = variance.sum() + moments.n * float(moments.mean @ moments.mean)
    if variance.sum() <= second_moment * np.finfo(np.float64).eps * moments.n:
        return 0.0, "the filters do not vary"
    share = variance / variance.sum()
    share = share[share > 0]
    return max(0.0, -float(share @ np.log10(share))), ""


def orthogonality(weights: Filters) -> float:
    """Return how orthogonal the rows of a matrix are: 1 where all pairs are, less where they align.

    Parameters
    ----------
    weights
        One row an output channel.
    """
    n = len(weights)
    if n < 2:
        return math.nan
    rows = weights.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return 1 - float(np.abs(rows @ rows.T - np.eye(n)).sum()) / (n * (n - 1))


def norms(filters: Filters) -> dict[str, float]:
    """Return the L1 and L2 norms of a layer's weight, as it is and standardized."""
    values = filters.astype(np.float64).ravel()
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    normal = (values - values.mean()) / deviation if deviation > 0 else np.full(len(values), math.nan)
    return {
        "norm_l1": float(np.abs(values).sum()),
        "norm_l2": float(np.sqrt(values @ values)),
        "norm_l1_norm": float(np.abs(normal).sum()),
        "norm_l2_norm": float(np.sqrt(normal @ normal)),
    }


def layer_quality(filters: Filters, *, out_channels: int) -> dict[str, float | int | str]:
    """Return every metric of one layer by torchconvquality's names, and the reasons of undefined ones.

    Parameters
    ----------
    filters
        The layer's filters; those with NaN or Inf are left out.
    out_channels
        How many output channels they belong to.
    """
    finite = finite_rows(filters)
    sparse = sparse_filters(finite)
    entropy, reason = variance_entropy(moments_of(finite))
    clean, clean_reason = variance_entropy(moments_of(finite[~sparse]))
    whole = len(finite) == len(filters)
    rows = filters.reshape(out_channels, -1)
    return {
        "n": len(filters),
        "sparsity": float(sparse.mean()) if len(finite) else math.nan,
        "variance_entropy": entropy,
        "variance_entropy_norm": _normalized(entropy, len(finite)),
        "variance_entropy_clean": clean,
        "variance_entropy_clean_norm": _normalized(clean, int((~sparse).sum())),
        "orthogonality": orthogonality(rows if whole else rows[np.isfinite(rows).all(axis=1)]),
        **norms(finite),
        "reason": "; ".join(part for part in (reason, clean_reason and f"clean: {clean_reason}") if part),
    }


def _normalized(entropy: float, n: int) -> float:
    """Divide by T_H, which is negative below three filters and then normalizes nothing."""
    return entropy / random_entropy(n) if n > 2 else math.nan
