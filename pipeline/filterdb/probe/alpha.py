"""The sparsity score of layers: how plainly their features tell labels apart."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from filterdb.errors import UsageError
from filterdb.onnxgraph.probing import open_inside
from filterdb.probe.data import Data, Labels, encode, require_images
from filterdb.probe.engine import Activations, Tap, batches
from filterdb.probe.extras import require
from filterdb.probe.forest import RULES, SEED, Alpha, alpha_score
from filterdb.probe.options import Options, Setup, require_choice, require_path, require_whole
from filterdb.probe.pooling import POOLINGS, pooled
from filterdb.probe.results import layer_frame, mean_of
from filterdb.types import SkippedLayer

if TYPE_CHECKING:
    import pandas as pd

    from filterdb.figures import Drawing

WIDEST: Final = 2500
"""Most features of a tree; wider layers are reduced to as many."""

AGREEMENTS: Final = ("ari", "ami", "homogeneity", "completeness", "fmi")
_ZERO: Final = 1e-12
_CLUSTERINGS: Final = 10
_COLUMNS: Final = 1 << 14
_FLATTENED: Final = tuple(name for name in POOLINGS if name != "channelwise")


@dataclass(frozen=True, slots=True)
class LayerScore:
    """How plainly the features of one layer tell the labels apart.

    Parameters
    ----------
    layer, op_type, kind
        The layer.
    alpha
        The sparsity score; NaN where it is not defined.
    nodes
        Wavelets of the tree.
    features, reduced
        How many features the layer has, and the tree has seen.
    ari, ami, homogeneity, completeness, fmi
        How far clusters of the features agree with the labels: adjusted Rand index, adjusted mutual
        information, homogeneity, completeness, Fowlkes-Mallows index.
    reason
        Why there is no score; empty where there is.
    """

    layer: str
    op_type: str
    kind: str
    alpha: float
    nodes: int
    features: int
    reduced: int
    ari: float
    ami: float
    homogeneity: float
    completeness: float
    fmi: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SparsityResult:
    """The sparsity score of every chosen layer, in the order of execution.

    Parameters
    ----------
    model
        The model file.
    data
        Where the data comes from.
    layers
        The layers.
    skipped
        Chosen layers that cannot be looked at.
    classes
        How many labels there are.
    pooling, rule, trees
        As they were asked for.
    rows
        Rows of data that were used.
    images
        What became of images; None of arrays.
    settings
        All else that was asked for.
    """

    model: str
    data: str
    layers: tuple[LayerScore, ...]
    skipped: tuple[SkippedLayer, ...]
    classes: int
    pooling: str
    rule: str
    trees: int
    rows: int
    images: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    column: ClassVar[str] = "alpha"
    unit: ClassVar[str] = "layers"

    def to_frame(self) -> pd.DataFrame:
        """Return one row a layer."""
        return layer_frame(self.layers, LayerScore.__slots__)

    def figure(self) -> Drawing:
        """Draw the score of each layer."""
        from filterdb.figures.probes import sparsity_scores

        return sparsity_scores(self.to_frame(), model=Path(self.model).stem)

    def facts(self) -> dict[str, Any]:
        """Return what it was made from, as plain data."""
        known = ("model", "data", "rows", "pooling", "rule", "classes", "trees", "images", "settings")
        return {name: getattr(self, name) for name in known}

    def totals(self) -> dict[str, float]:
        """Return the mean score of the layers, and the score of the last layer that has one."""
        scores = [layer.alpha for layer in self.layers if not math.isnan(layer.alpha)]
        last = scores[-1] if scores else math.nan
        return {"layers": len(self.layers), "alpha": mean_of(scores), "alpha_last": last}


def sparsity(
    model: str | os.PathLike[str],
    *,
    data: Data = None,
    labels: Labels = None,
    layers: Sequence[str] = (),
    pooling: str = "flatten",
    rule: str = "plain",
    trees: int = 1,
    forest_seed: int = SEED,
    **options: Unpack[Options],
) -> SparsityResult:
    """Return the sparsity score of each layer, and how far clusters of its features agree with the labels.

    Parameters
    ----------
    model
        The model file.
    data
        What goes through the model; scikit-learn's digits where not given.
    labels
        One label a row of the data; those beside the data where not given.
    layers
        Names of layers, with ``*`` and ``?``.
    pooling
        ``flatten``, ``mean``, ``max`` or ``median``.
    rule
        ``plain``, or ``original``: as SparsityProbe's code computes the norms.
    trees, forest_seed
        Of the forest.
    **options
        As for :class:`~filterdb.probe.options.Setup`.

    Raises
    ------
    UsageError
        If an option, the data or the labels cannot be used.
    ModelError
        If the model cannot be used.
    """
    require_whole("forest_seed", forest_seed, 0)
    setup = checked(layers, pooling, rule, trees, **options)
    require_path("model", model)
    with threadpool_limits(1, "blas"):
        activations = Activations(open_inside(model), data, setup)
        require_images(setup, activations.source)
        classes = encode(labels, activations.source)[activations.rows]
        if len(np.unique(classes)) < 2:
            raise UsageError(
                "all labels are the same", where=activations.source.about, expected="two classes or more"
            )
        found = _Scores(activations, setup, classes, pooling, rule, trees, forest_seed).all()
    return SparsityResult(
        model=str(activations.model.path),
        data=activations.source.about,
        layers=tuple(found),
        skipped=activations.skipped,
        classes=len(np.unique(classes)),
        pooling=pooling,
        rule=rule,
        trees=trees,
        rows=len(activations.rows),
        images=activations.source.images,
        settings=setup.facts(labels=labels, forest_seed=forest_seed),
    )


def checked(layers: Sequence[str], pooling: str, rule: str, trees: int, **options: Unpack[Options]) -> Setup:
    """Return the setup that the arguments of :func:`sparsity` ask for.

    Raises
    ------
    UsageError
        If one of them cannot be used.
    """
    require_choice("pooling", pooling, _FLATTENED)
    require_choice("rule", rule, RULES)
    require_whole("trees", trees, 1)
    return Setup.of(layers, options)


@dataclass(frozen=True, slots=True)
class _Scores:
    activations: Activations
    setup: Setup
    classes: NDArray[np.intp]
    pooling: str
    rule: str
    trees: int
    seed: int

    def all(self) -> list[LayerScore]:
        """Score the layers, as many at once as fit with all their rows."""
        rows = self.activations.rows
        groups = self.activations.passes(len(rows), itemsize=4)
        found: list[LayerScore] = []
        with self.setup.progress("sparsity score", len(self.activations.taps), "layers") as shown:
            for group in groups:
                kept = self._collect(group)
                for tap in group:
                    found.append(self._score(tap, kept.pop(tap.position, None)))
                    shown.advance()
        return found

    def _collect(self, group: Sequence[Tap]) -> dict[int, NDArray[np.float32]]:
        rows = self.activations.rows
        reader = self.activations.open(group)
        kept: dict[int, NDArray[np.float32]] = {}
        for start, part in zip(
            range(0, len(rows), self.setup.batch), batches(rows, self.setup.batch), strict=True
        ):
            for tap, values in reader.read(part):
                features = pooled(values, tap.layer.axes, self.pooling)
                if 4 * len(rows) * features.shape[1] > self.setup.memory:
                    continue
                if not start:
                    kept[tap.position] = np.empty((len(rows), features.shape[1]), np.float32)
                kept[tap.position][start : start + len(part)] = features
        return kept

    def _score(self, tap: Tap, features: NDArray[np.float32] | None) -> LayerScore:
        if features is None:
            need = 4 * len(self.activations.rows) * tap.width / 1e9
            return _unscored(tap, tap.width, f"its features need {need:,.1f} GB; see --memory and --pooling")
        width = features.shape[1]
        if not np.isfinite(features).all():
            return _unscored(tap, width, "its activations hold NaN or infinity")
        if (features == features[0]).all():
            return _unscored(tap, width, "its activations do not vary")
        reduced = reduce(features, seed=self.seed)
        score = alpha_score(reduced, self.classes, rule=self.rule, trees=self.trees, seed=self.seed)
        agreement = agreements(reduced, self.classes, seed=self.seed)
        return _scored(tap, score, width, reduced.shape[1], agreement)


def _scored(tap: Tap, score: Alpha, width: int, reduced: int, agreement: Mapping[str, float]) -> LayerScore:
    return LayerScore(
        layer=tap.layer.name,
        op_type=tap.layer.op_type,
        kind=tap.layer.kind,
        alpha=score.alpha,
        nodes=score.nodes,
        features=width,
        reduced=reduced,
        reason=score.reason,
        **agreement,
    )


def _unscored(tap: Tap, width: int, reason: str) -> LayerScore:
    return _scored(tap, Alpha(math.nan, (), 0, reason), width, 0, dict.fromkeys(AGREEMENTS, math.nan))


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


def agreements(features: NDArray[Any], classes: NDArray[np.intp], *, seed: int = SEED) -> dict[str, float]:
    """Return how far as many clusters as there are classes agree with these, by :data:`AGREEMENTS`.

    Parameters
    ----------
    features
        One row a row of data, not scaled: distances of the layer itself.
    classes
        The number of each row's class.
    seed
        Of the clusters.
    """
    means = require("sklearn.cluster").KMeans(
        n_clusters=len(np.unique(classes)), n_init=_CLUSTERINGS, random_state=seed
    )
    found = _clusters(means, features)
    metrics = require("sklearn.metrics")
    homogeneity, completeness, _ = metrics.homogeneity_completeness_v_measure(classes, found)
    values = (
        metrics.adjusted_rand_score(classes, found),
        metrics.adjusted_mutual_info_score(classes, found),
        homogeneity,
        completeness,
        metrics.fowlkes_mallows_score(classes, found),
    )
    return dict(zip(AGREEMENTS, map(float, values), strict=True))


def _clusters(means: Any, features: NDArray[Any]) -> NDArray[np.intp]:
    # Sums of several threads would not be the same for every number of them.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Fewer distinct rows than clusters, which a layer of dead channels may have, are still clusters.
        warnings.filterwarnings("ignore", message="Number of distinct clusters")
        return np.asarray(means.fit_predict(features), np.intp)
