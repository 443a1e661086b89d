"""The sparsity score of layers: how plainly their features tell labels apart."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
from threadpoolctl import threadpool_limits

from filterdb.errors import UsageError
from filterdb.onnxgraph.probing import open_inside
from filterdb.probe.data import Data, Labels, encode, require_images
from filterdb.probe.engine import Activations
from filterdb.probe.forest import SEED
from filterdb.probe.options import Options, Setup, require_path
from filterdb.probe.results import layer_frame, mean_of
from filterdb.probe.scoring import SETTINGS, LayerScore, Scores, Scoring
from filterdb.types import SkippedLayer

if TYPE_CHECKING:
    import pandas as pd

    from filterdb.figures import Drawing


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
    scoring
        What was asked for.
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
    scoring: Scoring
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
        known = {name: getattr(self, name) for name in ("model", "data", "rows", "classes")}
        known |= {name: getattr(self.scoring, name) for name in SETTINGS}
        return known | {"images": self.images, "settings": self.settings}

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
    steps: str = "last",
    trees: int = 1,
    forests: int = 1,
    shuffles: int = 0,
    forest_seed: int = SEED,
    clusters: bool = True,
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
    pooling, rule, steps, trees, forests, shuffles, forest_seed, clusters
        As for :class:`Scoring`.
    **options
        As for :class:`~filterdb.probe.options.Setup`.

    Raises
    ------
    UsageError
        If an option, the data or the labels cannot be used.
    ModelError
        If the model cannot be used.
    """
    scoring = Scoring(
        pooling=pooling, rule=rule, steps=steps, trees=trees, forests=forests, shuffles=shuffles,
        forest_seed=forest_seed, clusters=clusters,
    )  # fmt: skip
    setup = Setup.of(layers, options)
    require_path("model", model)
    with threadpool_limits(1, "blas"):
        activations = Activations(open_inside(model), data, setup, pooling=pooling)
        require_images(setup, activations.source)
        classes = encode(labels, activations.source)[activations.rows]
        if len(np.unique(classes)) < 2:
            raise UsageError(
                "all labels are the same", where=activations.source.about, expected="two classes or more"
            )
        found = Scores(activations, setup, classes, scoring).all()
    return SparsityResult(
        model=str(activations.model.path),
        data=activations.source.about,
        layers=tuple(found),
        skipped=activations.skipped,
        classes=len(np.unique(classes)),
        scoring=scoring,
        rows=len(activations.rows),
        images=activations.source.images,
        settings=setup.facts(labels=labels, forest_seed=forest_seed),
    )


def checked(layers: Sequence[str], own: Mapping[str, Any], **options: Unpack[Options]) -> Setup:
    """Return the setup that the arguments of :func:`sparsity` ask for.

    Raises
    ------
    UsageError
        If one of them cannot be used.
    """
    Scoring(**own)
    return Setup.of(layers, options)
