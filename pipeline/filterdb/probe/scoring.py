"""Layers are scored: their features are collected, reduced, and put before forests and clusters."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import UsageError
from filterdb.probe.clusters import AGREEMENTS, agreement, clusters, few_clusters_expected
from filterdb.probe.engine import Activations, Tap, Workers, batches
from filterdb.probe.extras import require
from filterdb.probe.forest import RULES, SEED, Alpha, forest_score, min_max_scaled
from filterdb.probe.options import Setup, require_choice, require_whole
from filterdb.probe.pooling import POOLINGS, STEPS, pooled, width_of

WIDEST: Final = 2500
"""Most features of a tree; wider layers are reduced to as many."""

_ZERO: Final = 1e-12
_COLUMNS: Final = 1 << 14
_LARGEST_SEED: Final = (1 << 32) - 1
_FLATTENED: Final = tuple(name for name in POOLINGS if name != "channelwise")


@dataclass(frozen=True, slots=True)
class LayerScore:
    """How plainly the features of one layer tell the labels apart.

    Parameters
    ----------
    layer, op_type, kind
        The layer.
    alpha, alpha_sd
        The sparsity score: the mean of as many forests as were asked for, and their standard deviation. NaN
        where that of one of them is not defined; the deviation also where there is but one.
    alpha_shuffled, alpha_shuffled_sd
        The same of forests that are given the labels in shuffled orders; NaN where none were asked for.
    nodes
        Wavelets of the first forest.
    features, reduced
        How many features the layer has, and the tree has seen.
    ari, ami, homogeneity, completeness, fmi
        How far clusters of the features agree with the labels: adjusted Rand index, adjusted mutual
        information, homogeneity, completeness, Fowlkes-Mallows index. NaN where no clusters were wanted.
    reason
        Why a score is not defined; empty where all that were asked for are.
    """

    layer: str
    op_type: str
    kind: str
    alpha: float
    alpha_sd: float
    alpha_shuffled: float
    alpha_shuffled_sd: float
    nodes: int
    features: int
    reduced: int
    ari: float
    ami: float
    homogeneity: float
    completeness: float
    fmi: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What only the sparsity score can be told.

    Parameters
    ----------
    pooling
        ``flatten``, ``mean``, ``max`` or ``median``.
    rule
        ``plain``, or ``original``: as SparsityProbe's code computes the norms.
    steps
        What counts of a sequence: the ``last`` step, the ``first``, or ``all``, which are then pooled as the
        places of an image are.
    trees
        Of a forest.
    forests
        How many forests alpha is the mean of.
    shuffles
        How often the labels are shuffled, to see what labels that mean nothing give.
    forest_seed
        Of the first forest, and of clusters and drawn components; each further forest has the next seed.
    clusters
        Whether clusters are compared with the labels.
    """

    pooling: str = "flatten"
    rule: str = "plain"
    steps: str = "last"
    trees: int = 1
    forests: int = 1
    shuffles: int = 0
    forest_seed: int = SEED
    clusters: bool = True

    def __post_init__(self) -> None:
        require_choice("pooling", self.pooling, _FLATTENED)
        require_choice("rule", self.rule, RULES)
        require_choice("steps", self.steps, STEPS)
        for name, least in (("trees", 1), ("forests", 1), ("shuffles", 0), ("forest_seed", 0)):
            require_whole(name, getattr(self, name), least)
        if self.forest_seed + max(self.forests, self.shuffles) - 1 > _LARGEST_SEED:
            raise UsageError(
                f"forest_seed is {self.forest_seed}, and each forest takes the next one",
                expected=f"seeds up to {_LARGEST_SEED}",
            )
        if not isinstance(self.clusters, bool):
            raise UsageError(f"clusters is {self.clusters!r}", expected="True or False")


SETTINGS: Final = tuple(setting.name for setting in fields(Scoring))
"""What :func:`sparsity` takes beside the options of all probes."""


class Scores:
    """The scores of all chosen layers.

    Parameters
    ----------
    activations
        The model and its data.
    setup
        How it is run.
    classes
        The number of each row's class.
    scoring
        How features are scored.
    """

    def __init__(
        self, activations: Activations, setup: Setup, classes: NDArray[np.intp], scoring: Scoring
    ) -> None:
        self._activations, self._setup, self._classes, self._scoring = activations, setup, classes, scoring
        # The draw is not the one of the rows, and the first orders are the same for any number of them.
        draws = np.random.default_rng([setup.seed, 1])
        self._orders = [draws.permutation(classes) for _ in range(scoring.shuffles)]
        self._count = len(np.unique(classes))
        self._turn, self._stopped = threading.Lock(), threading.Event()

    def all(self) -> list[LayerScore]:
        """Score the layers, as many at once as fit with all their rows."""
        groups = self._activations.passes(self._activations.at_once(), kept=self._kept)
        found: dict[int, LayerScore] = {}
        with (
            few_clusters_expected(),
            self._setup.progress("sparsity score", len(self._activations.taps), "layers") as shown,
            Workers(self._setup, self._each()) as workers,
        ):

            def score(tap: Tap, features: NDArray[Any]) -> None:
                found[tap.position] = self._score(tap, features)
                with self._turn:
                    shown.advance()

            try:
                for group in groups:
                    fitting = [tap for tap in group if self._kept(tap)]
                    features = self._collect(fitting)
                    workers.each(score, ((tap, features.pop(tap.position)) for tap in fitting))
                    for tap in group:
                        if not self._kept(tap):
                            found[tap.position] = self._too_large(tap)
                            shown.advance()
            except BaseException:
                # A layer may take minutes: what is under way ends with the forest that it is at.
                self._stopped.set()
                raise
        return [found[place] for place in sorted(found)]

    def _need(self, tap: Tap) -> int:
        """Return the bytes of a layer's features."""
        return 4 * len(self._activations.rows) * self._width(tap)

    def _kept(self, tap: Tap) -> int:
        """Return the bytes of a layer's features, or 0 where they are too many to be kept."""
        need = self._need(tap)
        return need if need <= self._setup.memory else 0

    def _width(self, tap: Tap) -> int:
        return width_of(tap.shape, tap.layer.axes, self._scoring.pooling, self._scoring.steps)

    def _each(self) -> int:
        """Return about what a thread takes: features reduced, scaled and copied, and labels."""
        rows = len(self._activations.rows)
        widest = max(min(self._width(tap), WIDEST) for tap in self._activations.taps)
        return 8 * rows * (3 * widest + self._count)

    def _collect(self, taps: Sequence[Tap]) -> dict[int, NDArray[np.float32]]:
        if not taps:
            return {}
        rows, size = self._activations.rows, self._setup.batch
        reader = self._activations.open(taps)
        kept = {tap.position: np.empty((len(rows), self._width(tap)), np.float32) for tap in taps}
        how, start = self._scoring, 0
        for batch in batches(rows, size):
            for layers in reader.parts(batch):
                for tap, values in layers:
                    kept[tap.position][start : start + len(values)] = pooled(
                        values, tap.layer.axes, how.pooling, how.steps
                    )
                start += len(values)
        return kept

    def _too_large(self, tap: Tap) -> LayerScore:
        need = self._need(tap) / 1e6
        return _unscored(
            tap, self._width(tap), f"its features need {need:,.1f} MB; see --memory and --pooling"
        )

    def _score(self, tap: Tap, features: NDArray[np.float32]) -> LayerScore:
        width = features.shape[1]
        if not np.isfinite(features).all():
            return _unscored(tap, width, "its activations hold NaN or infinity")
        if (features == features[0]).all():
            return _unscored(tap, width, "its activations do not vary")
        scoring = self._scoring
        reduced = reduce(features, seed=scoring.forest_seed)
        scaled = min_max_scaled(reduced)
        told = self._alphas(scaled, [self._classes] * scoring.forests)
        shuffled = self._alphas(scaled, self._orders)
        agree: Mapping[str, float] = _NO_CLUSTERS
        if scoring.clusters and not self._stopped.is_set():
            found = clusters(reduced, self._count, scoring.forest_seed)
            with self._turn:
                agree = agreement(found, self._classes)
        return _scored(tap, told, shuffled, width, reduced.shape[1], agree)

    def _alphas(self, scaled: NDArray[np.float32], labels: Sequence[NDArray[np.intp]]) -> list[Alpha]:
        """Return the score of a forest for each order of the labels, each with a seed of its own."""
        rule, trees, seed = self._scoring.rule, self._scoring.trees, self._scoring.forest_seed
        return [
            forest_score(scaled, order, rule=rule, trees=trees, seed=seed + place)
            for place, order in enumerate(labels)
            if not self._stopped.is_set()
        ]


_NO_CLUSTERS: Final[Mapping[str, float]] = dict.fromkeys(AGREEMENTS, math.nan)


def _scored(
    tap: Tap,
    told: Sequence[Alpha],
    shuffled: Sequence[Alpha],
    width: int,
    reduced: int,
    agree: Mapping[str, float],
) -> LayerScore:
    alpha, alpha_sd = _mean_and_sd(told)
    alpha_shuffled, alpha_shuffled_sd = _mean_and_sd(shuffled)
    reason = _reason(told)
    if not reason and (missing := _reason(shuffled)):
        reason = f"with shuffled labels: {missing}"
    return LayerScore(
        layer=tap.layer.name,
        op_type=tap.layer.op_type,
        kind=tap.layer.kind,
        alpha=alpha,
        alpha_sd=alpha_sd,
        alpha_shuffled=alpha_shuffled,
        alpha_shuffled_sd=alpha_shuffled_sd,
        nodes=told[0].nodes if told else 0,
        features=width,
        reduced=reduced,
        reason=reason,
        **agree,
    )


def _unscored(tap: Tap, width: int, reason: str) -> LayerScore:
    return _scored(tap, [Alpha(math.nan, (), 0, reason)], (), width, 0, _NO_CLUSTERS)


def _mean_and_sd(scores: Sequence[Alpha]) -> tuple[float, float]:
    values = [score.alpha for score in scores]
    # The mean of those that happen to be defined would be that of the higher ones, or of the lower ones.
    if not values or any(map(math.isnan, values)):
        return math.nan, math.nan
    return math.fsum(values) / len(values), statistics.stdev(values) if len(values) > 1 else math.nan


def _reason(scores: Sequence[Alpha]) -> str:
    missing = [score.reason for score in scores if score.reason]
    if not missing or len(scores) == 1:
        return "".join(missing)
    return f"{len(missing)} of {len(scores)} forests have no score, the first as {missing[0]}"


def reduce(features: NDArray[Any], *, most: int = WIDEST, seed: int = SEED) -> NDArray[Any]:
    """Return features as they are or, where they are too many, their leading singular components.

    Parameters
    ----------
    features
        One row a row of data.
    most
        How many a tree may see.
    seed
        Of the randomized decomposition of more rows than `most`.
    """
    if features.shape[1] <= most:
        return features
    if len(features) > most:
        decomposition = require("sklearn.decomposition").TruncatedSVD(n_components=most, random_state=seed)
        return np.asarray(decomposition.fit_transform(features))
    # All components there are: those of the small matrix of products, exactly, without any draw.
    gram = np.zeros((len(features), len(features)))
    for start in range(0, features.shape[1], _COLUMNS):
        part = features[:, start : start + _COLUMNS].astype(np.float64)
        gram += part @ part.T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > _ZERO * values[0]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
