"""The three probes as their formulas are written: float64, one step at a time, no code of the package."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    """The unbiased estimate, of matrices whose diagonals are zero."""
    n = len(k)
    one = np.ones((n, 1))
    value = np.trace(k @ m)
    value += ((one.T @ k @ one) * (one.T @ m @ one)).item() / ((n - 1) * (n - 2))
    value -= 2 * (one.T @ k @ m @ one).item() / (n - 2)
    return value / (n * (n - 3))


def gram(features: np.ndarray) -> np.ndarray:
    flat = features.reshape(len(features), -1).astype(np.float64)
    k = flat @ flat.T
    for i in range(len(k)):
        k[i, i] = 0.0
    return k


def minibatch_cka(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """CKA of two layers, given their features batch by batch."""
    kk = km = mm = 0.0
    for x, y in zip(a, b, strict=True):
        k, m = gram(x), gram(y)
        kk += hsic(k, k) / len(a)
        km += hsic(k, m) / len(a)
        mm += hsic(m, m) / len(a)
    return km / math.sqrt(kk * mm)


def rows_of(values: np.ndarray, pooling: str, *, sequence: bool = False) -> np.ndarray:
    """Activations, channels second, as rows of features."""
    if values.ndim == 2:
        return values.astype(np.float64)
    if sequence:
        return values[:, values.shape[1] - 1, :].astype(np.float64)
    rows = []
    for one in values.astype(np.float64):
        channels = [channel.reshape(-1) for channel in one]
        if pooling == "channelwise":
            rows += [list(column) for column in zip(*channels, strict=True)]
        elif pooling == "flatten":
            rows.append(np.concatenate(channels))
        elif pooling == "median":
            rows.append([sorted(channel)[(len(channel) - 1) // 2] for channel in channels])
        else:
            rows.append([getattr(channel, pooling)() for channel in channels])
    return np.asarray(rows)


def saturation(rows: np.ndarray, delta: float, *, delve: bool = False) -> tuple[int, float, float]:
    """Dimension, trace and determinant, by eigendecomposition of the covariance."""
    covariance = np.cov(rows, rowvar=False, bias=True).reshape(rows.shape[1], rows.shape[1])
    values = sorted(np.linalg.eigh(covariance)[0].clip(min=0), reverse=True)
    total, reached, count = sum(values), 0.0, 0
    for value in values:
        reached += value / total
        if delve and reached >= delta:
            break
        count += 1
        if not delve and reached >= delta:
            break
    return count, float(np.trace(covariance)), float(np.prod(values))


def wavelets(
    features: np.ndarray, labels: np.ndarray, *, original: bool, trees: int = 1, seed: int = 2
) -> list[float]:
    """Norms of the wavelets, by walking down each tree with every row."""
    low, high = features.min(axis=0), features.max(axis=0)
    scaled = np.zeros(features.shape)
    for column in range(features.shape[1]):
        if high[column] > low[column]:
            scaled[:, column] = (features[:, column] - low[column]) / (high[column] - low[column])
    onehot = pd.get_dummies(pd.Series(labels)).to_numpy(np.float64)
    forest = RandomForestRegressor(n_estimators=trees, max_depth=15, random_state=seed).fit(scaled, onehot)
    norms: list[float] = []
    for tree in forest.estimators_:
        norms += _norms(tree.tree_, scaled.astype(np.float32), original)
    return norms


def _norms(tree: Any, rows: np.ndarray, original: bool) -> list[float]:
    found = []

    def walk(node: int, inside: np.ndarray, extra: np.ndarray) -> None:
        if tree.children_left[node] < 0:
            return
        left = inside & (rows[:, tree.feature[node]] <= tree.threshold[node])
        for child, there in ((tree.children_left[node], left), (tree.children_right[node], inside & ~left)):
            step = tree.value[child][:, 0] - tree.value[node][:, 0] - extra
            found.append(math.sqrt((step**2).sum()) * math.sqrt(there.sum() / len(rows)))
            walk(child, there, np.zeros_like(extra))

    root = tree.value[0][:, 0]
    walk(0, np.ones(len(rows), bool), root if original else np.zeros_like(root))
    return found


def alpha(norms: list[float], trees: int = 1) -> float:
    taus = [0.30 + 0.01 * step for step in range(170)]
    angles = []
    for tau in taus:
        total = sum(norm**tau for norm in norms)
        d = (1 / trees) * total ** (1 / tau - 1) * sum(norm ** (tau - 1) for norm in norms)
        angles.append(math.degrees(math.atan(-d)))
    alphas = []
    for step in range(10):
        eps = 0.10 + 0.03 * step
        near = [tau for tau, angle in zip(taus, angles, strict=True) if abs(angle + 90) <= eps]
        if not near:
            return math.nan
        alphas.append(1 / max(near) - 1 / 2)
    return sum(alphas) / len(alphas)
