"""The alpha score: how sparse the wavelets of a tree are that tells labels by features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from filterdb.probe.extras import require

Rule: TypeAlias = Literal["plain", "original"]

RULES: Final[tuple[str, ...]] = get_args(Rule)
SEED: Final = 2
DEPTH: Final = 15
TAUS: Final = np.arange(30, 200) / 100
"""Where the derivative is taken: 0.30, 0.31, ..., 1.99."""

ANGLES: Final = np.arange(10, 40, 3) / 100
"""How near to -90 degrees it must be: 0.10, 0.13, ..., 0.37."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alpha:
    """The score of one layer.

    Parameters
    ----------
    alpha
        The mean of `alphas`; NaN where it is not defined.
    alphas
        One for each of :data:`ANGLES`.
    nodes
        How many wavelets there are.
    reason
        Why there is no score; empty where there is.
    """

    alpha: float
    alphas: tuple[float, ...]
    nodes: int
    reason: str = ""


def alpha_score(
    features: NDArray[Any], labels: NDArray[np.intp], *, rule: str = "plain", trees: int = 1, seed: int = SEED
) -> Alpha:
    """Return how sparse the wavelets of a forest are.

    Parameters
    ----------
    features
        One row a row of data.
    labels
        The number of each row's class.
    rule
        ``plain``, or ``original``: as SparsityProbe's code computes the norms.
    trees, seed
        Of the forest.
    """
    scaled = min_max_scaled(features)
    wanted = one_hot(labels)
    if wanted.shape[1] < 2:
        return Alpha(np.nan, (), 0, "all labels are the same")
    forest = require("sklearn.ensemble").RandomForestRegressor(
        n_estimators=trees, max_depth=DEPTH, max_features=1.0, bootstrap=True, random_state=seed, n_jobs=1
    )
    forest.fit(scaled, wanted)
    norms = np.concatenate([wavelet_norms(tree, scaled, rule) for tree in forest.estimators_])
    return score_of(norms, trees=trees, rule=rule)


def one_hot(labels: NDArray[np.intp]) -> Floats:
    """Return one column a class: 1 in the rows that are of it, else 0."""
    return np.asarray(labels[:, None] == np.unique(labels)[None, :], np.float64)


def min_max_scaled(features: NDArray[Any]) -> NDArray[np.float32]:
    """Return features from 0 to 1; one that is constant becomes 0."""
    low = features.min(axis=0).astype(np.float64)
    span = features.max(axis=0) - low
    scaled = np.empty(features.shape, np.float32)
    # Trees compute in float32; blocks of rows keep what is float64 small.
    for start in range(0, len(features), 256):
        part = features[start : start + 256] - low
        np.divide(part, span, out=part, where=span > 0)
        scaled[start : start + 256] = np.where(span > 0, part, 0.0)
    return scaled


def wavelet_norms(tree: Any, scaled: NDArray[np.float32], rule: str) -> Floats:
    """Return the norm of every node but the root: its distance from its parent, by its share of rows.

    Parameters
    ----------
    tree
        A fitted regression tree.
    scaled
        All rows of features.
    rule
        As for :func:`alpha_score`.
    """
    inner = tree.tree_
    means = inner.value[:, :, 0]
    parents = np.full(inner.node_count, -1)
    for children in (inner.children_left, inner.children_right):
        holders = np.flatnonzero(children >= 0)
        parents[children[holders]] = holders
    passed = np.asarray(tree.decision_path(scaled).sum(axis=0)).reshape(-1) / len(scaled)
    nodes = np.arange(1, inner.node_count)
    steps = means[nodes] - means[parents[nodes]]
    if rule == "original":
        steps[parents[nodes] == 0] -= means[0]
    return np.asarray(np.linalg.norm(steps, axis=1) * np.sqrt(passed[nodes]), np.float64)


def score_of(norms: Floats, *, trees: int = 1, rule: str = "plain") -> Alpha:
    """Return the score of the norms of wavelets.

    Parameters
    ----------
    norms
        Of all nodes but roots.
    trees
        How many trees they are of.
    rule
        ``plain`` leaves wavelets of norm 0 out, which carry nothing; ``original`` keeps them, and below
        tau = 1 they alone decide.
    """
    if rule == "plain":
        norms = norms[norms > 0]
    if not norms.any():
        return Alpha(np.nan, (), len(norms), "no split tells the labels apart")
    angles = np.degrees(np.arctan([-_derivative(norms, tau, trees) for tau in TAUS]))
    alphas = []
    for nearness in ANGLES:
        near = np.flatnonzero(np.abs(angles + 90) <= nearness)
        if not near.size:
            return Alpha(np.nan, (), len(norms), _too_flat(len(norms), nearness, angles))
        alphas.append(1 / TAUS[near[-1]] - 0.5)
    return Alpha(float(np.mean(alphas)), tuple(map(float, alphas)), len(norms))


def _too_flat(count: int, nearness: float, angles: Floats) -> str:
    off = np.abs(angles + 90).min()
    return (
        f"no tau has an angle within {nearness:.2f} degrees of -90: that of {count:,}"
        f" wavelet{'' if count == 1 else 's'} is {off:.2f} off; so few splits tell the labels apart already"
    )


def _derivative(norms: Floats, tau: float, trees: int) -> float:
    with np.errstate(divide="ignore", over="ignore"):
        total = np.power(norms, tau).sum() ** (1 / tau - 1)
        return float(total * np.power(norms, tau - 1).sum() / trees)
