"""The alpha score: how sparse the wavelets of a tree are that tells labels by features."""

from __future__ import annotations

from dataclasses import dataclass, replace
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

_NO_SPLIT: Final = "no split tells the labels apart"
_MORE: Final = "more rows, or more trees (--trees), are needed"

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
    return forest_score(min_max_scaled(features), labels, rule=rule, trees=trees, seed=seed)


def forest_score(
    scaled: NDArray[np.float32], labels: NDArray[np.intp], *, rule: str, trees: int, seed: int
) -> Alpha:
    """Return the score of features that :func:`min_max_scaled` has scaled; the rest as for `alpha_score`."""
    wanted = one_hot(labels)
    if wanted.shape[1] < 2:
        return Alpha(np.nan, (), 0, "all labels are the same")
    draws = np.random.RandomState(seed)
    grown = [grow(scaled, wanted, draws.randint(np.iinfo(np.int32).max)) for _ in range(trees)]
    norms = np.concatenate([wavelet_norms(one, scaled, rule) for one in grown])
    found = score_of(norms, trees=trees, rule=rule)
    return replace(found, reason=_why(found, grown, scaled, wanted)) if found.reason else found


@dataclass(frozen=True, slots=True)
class Grown:
    """One tree of a forest.

    Parameters
    ----------
    tree
        The regression tree.
    means
        Of the labels that passed each node: a row a node, a column a class.
    classes
        How many classes were drawn.
    """

    tree: Any
    means: Floats
    classes: int

    @property
    def splits(self) -> int:
        """How many splits it has."""
        return len(self.means) // 2


def grow(scaled: NDArray[np.float32], wanted: Floats, seed: int) -> Grown:
    """Return the tree that scikit-learn's random forest grows from a seed, to the bit.

    The forest itself swaps the filters of all warnings, which threads must not do side by side.

    Parameters
    ----------
    scaled
        One row of features a row of data.
    wanted
        What :func:`one_hot` returns.
    seed
        Of the bootstrap, and of the order of features.
    """
    drawn = np.random.RandomState(seed).randint(0, len(scaled), len(scaled))
    counts = np.bincount(drawn, minlength=len(scaled)).astype(np.float64)
    # The column of a class that was not drawn is 0 where rows count: it changes no split, and costs time.
    there = np.flatnonzero(wanted[counts > 0].any(axis=0))
    tree = require("sklearn.tree").DecisionTreeRegressor(max_depth=DEPTH, random_state=seed)
    tree.fit(scaled, wanted[:, there], sample_weight=counts)
    means = np.zeros((tree.tree_.node_count, wanted.shape[1]))
    means[:, there] = tree.tree_.value[:, :, 0]
    return Grown(tree, means, len(there))


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


def wavelet_norms(grown: Grown, scaled: NDArray[np.float32], rule: str) -> Floats:
    """Return the norm of every node but the root: its distance from its parent, by its share of rows.

    Parameters
    ----------
    grown
        A tree.
    scaled
        All rows of features.
    rule
        As for :func:`alpha_score`.
    """
    inner, means = grown.tree.tree_, grown.means
    parents = np.full(inner.node_count, -1)
    for children in (inner.children_left, inner.children_right):
        holders = np.flatnonzero(children >= 0)
        parents[children[holders]] = holders
    passed = np.asarray(grown.tree.decision_path(scaled).sum(axis=0)).reshape(-1) / len(scaled)
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
        return Alpha(np.nan, (), len(norms), _NO_SPLIT)
    angles = np.degrees(np.arctan([-_derivative(norms, tau, trees) for tau in TAUS]))
    alphas = []
    for nearness in ANGLES:
        near = np.flatnonzero(np.abs(angles + 90) <= nearness)
        if not near.size:
            return Alpha(np.nan, (), len(norms), _too_few(len(norms), nearness, angles))
        alphas.append(1 / TAUS[near[-1]] - 0.5)
    return Alpha(float(np.mean(alphas)), tuple(map(float, alphas)), len(norms))


def _too_few(count: int, nearness: float, angles: Floats) -> str:
    off = np.abs(angles + 90).min()
    return (
        f"{count:,} wavelet{' is' if count == 1 else 's are'} too few for a score: no tau has an angle within"
        f" {nearness:.2f} degrees of -90, the nearest is {off:.2f} off"
    )


def _why(found: Alpha, grown: list[Grown], scaled: NDArray[np.float32], wanted: Floats) -> str:
    """Return why there is no score, and what would give one."""
    rows, whose = len(scaled), "its tree" if len(grown) == 1 else "each tree"
    if all(one.classes < 2 for one in grown):
        return f"the rows that {whose} draws of these {rows:,} are all of one class; {_MORE}"
    if found.reason == _NO_SPLIT:
        return found.reason
    if not all(_all_told(one, scaled, wanted) for one in grown):
        return f"{found.reason}; {_MORE}"
    most = max(one.splits for one in grown)
    return (
        f"the labels of all {rows:,} rows are told apart by no more than {most:,}"
        f" split{'' if most == 1 else 's'} of {whose}, and {found.reason}; more trees have more (--trees)"
    )


def _all_told(grown: Grown, scaled: NDArray[np.float32], wanted: Floats) -> bool:
    """Return whether every row, drawn or not, ends where all that were drawn are of its class."""
    return bool((grown.means[grown.tree.apply(scaled)] == wanted).all())


def _derivative(norms: Floats, tau: float, trees: int) -> float:
    with np.errstate(divide="ignore", over="ignore"):
        total = np.power(norms, tau).sum() ** (1 / tau - 1)
        return float(total * np.power(norms, tau - 1).sum() / trees)
