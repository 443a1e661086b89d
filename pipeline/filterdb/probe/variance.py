"""Saturation: how many of a layer's directions its activations use."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, Unpack, get_args

import numpy as np
from threadpoolctl import threadpool_limits

from filterdb.onnxgraph.probing import open_inside
from filterdb.probe.covariance import Covariance, Floats
from filterdb.probe.data import Data, require_images
from filterdb.probe.engine import Activations, Tap, Workers, batches
from filterdb.probe.grams import VARIANCE
from filterdb.probe.options import Options, Setup, require_choice, require_path, require_share
from filterdb.probe.pooling import BLOCK_BYTES, POOLINGS, STEPS, pooled, width_of
from filterdb.probe.results import layer_frame, mean_of
from filterdb.probe.runtime import Array
from filterdb.types import SkippedLayer

if TYPE_CHECKING:
    import pandas as pd

    from filterdb.figures import Drawing

Rule: TypeAlias = Literal["plain", "delve"]

RULES: Final[tuple[str, ...]] = get_args(Rule)
TAIL: Final = 0.5
"""A tail is below this share of the mean saturation."""

_ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class LayerSaturation:
    """What the activations of one layer span.

    Parameters
    ----------
    layer, op_type, kind
        The layer.
    saturation
        `dimension` / `features`; NaN where it is not defined.
    dimension
        Intrinsic dimension: how many leading eigenvalues of the covariance it takes.
    features
        How many features the layer has.
    observations
        How many rows of features went into the covariance, of which it can have no more directions.
    trace, determinant, log_determinant
        Of the covariance; the logarithm is minus infinity where it is singular.
    tail
        Whether it belongs to the tail.
    reason
        Why there is no saturation; empty where there is.
    """

    layer: str
    op_type: str
    kind: str
    saturation: float
    dimension: int
    features: int
    observations: int
    trace: float
    determinant: float
    log_determinant: float
    tail: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SaturationResult:
    """The saturation of every chosen layer, in the order of execution.

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
    delta, pooling, rule, steps
        As they were asked for.
    rows
        Rows of data that were used.
    images
        What became of images; None of arrays.
    settings
        All else that was asked for.
    spectra
        The eigenvalues of each layer's covariance, the largest first; none where there is no covariance.
    ends
        Places of layers that give the model's result, which belong to no tail.
    """

    model: str
    data: str
    layers: tuple[LayerSaturation, ...]
    skipped: tuple[SkippedLayer, ...]
    delta: float
    pooling: str
    rule: str
    rows: int
    steps: str = "last"
    images: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    spectra: tuple[Floats, ...] = field(default=(), repr=False, compare=False)
    ends: frozenset[int] = frozenset()

    column: ClassVar[str] = "saturation"
    unit: ClassVar[str] = "layers"

    def to_frame(self) -> pd.DataFrame:
        """Return one row a layer; those of :attr:`skipped`, which have no activations, have none."""
        return layer_frame(self.layers, LayerSaturation.__slots__)

    def at(self, delta: float) -> SaturationResult:
        """Return what another share of the variance gives; nothing is run again.

        Parameters
        ----------
        delta
            The share.
        """
        require_share("delta", delta)
        layers = [
            layer if layer.reason else _used(layer, values, delta, self.rule)
            for layer, values in zip(self.layers, self.spectra, strict=True)
        ]
        return replace(self, layers=_with_tail(layers, self.ends), delta=float(delta))

    def figure(self) -> Drawing:
        """Draw the saturation of each layer, with the tail marked."""
        from filterdb.figures.probes import saturation_bars

        return saturation_bars(self.to_frame(), model=Path(self.model).stem, delta=self.delta)

    def facts(self) -> dict[str, Any]:
        """Return what it was made from, as plain data."""
        known = ("model", "data", "rows", "pooling", "steps", "rule", "delta", "images", "settings")
        return {name: getattr(self, name) for name in known}

    def totals(self) -> dict[str, float]:
        """Return the mean saturation of the layers, and how many belong to the tail."""
        return {
            "layers": len(self.layers),
            "saturation": mean_of(layer.saturation for layer in self.layers),
            "tail": sum(layer.tail for layer in self.layers),
        }


def saturation(
    model: str | os.PathLike[str],
    *,
    data: Data = None,
    layers: Sequence[str] = (),
    delta: float = 0.99,
    pooling: str = "channelwise",
    rule: str = "plain",
    steps: str = "last",
    **options: Unpack[Options],
) -> SaturationResult:
    """Return the share of the directions of each layer that explain nearly all of its variance.

    Parameters
    ----------
    model
        The model file.
    data
        What goes through the model; scikit-learn's digits where not given.
    layers
        Names of layers, with ``*`` and ``?``.
    delta
        The share of the variance that is to be explained.
    pooling
        ``channelwise``, ``mean``, ``max``, ``median`` or ``flatten``.
    rule
        ``plain``, or ``delve``: as delve counts.
    steps
        What counts of a sequence: the ``last`` step, the ``first``, or ``all``, which are then treated as the
        places of an image are.
    **options
        As for :class:`~filterdb.probe.options.Setup`.

    Raises
    ------
    UsageError
        If an option or the data cannot be used.
    ModelError
        If the model cannot be used.
    """
    setup = checked(layers, delta, pooling, rule, steps, **options)
    require_path("model", model)
    with threadpool_limits(1, "blas"):
        activations = Activations(open_inside(model), data, setup, pooling=pooling)
        require_images(setup, activations.source)
        found = _measure(activations, setup, delta, pooling, steps, rule)
    ends = frozenset(tap.position for tap in activations.taps if tap.layer.final)
    return SaturationResult(
        model=str(activations.model.path),
        data=activations.source.about,
        layers=_with_tail([layer for layer, _ in found], ends),
        skipped=activations.skipped,
        delta=delta,
        pooling=pooling,
        rule=rule,
        rows=len(activations.rows),
        steps=steps,
        images=activations.source.images,
        settings=setup.facts(),
        spectra=tuple(values for _, values in found),
        ends=ends,
    )


def checked(
    layers: Sequence[str],
    delta: float,
    pooling: str,
    rule: str,
    steps: str = "last",
    **options: Unpack[Options],
) -> Setup:
    """Return the setup that the arguments of :func:`saturation` ask for.

    Raises
    ------
    UsageError
        If one of them cannot be used.
    """
    require_share("delta", delta)
    require_choice("pooling", pooling, POOLINGS)
    require_choice("rule", rule, RULES)
    require_choice("steps", steps, STEPS)
    return Setup.of(layers, options)


def _measure(
    activations: Activations, setup: Setup, delta: float, pooling: str, steps: str, rule: str
) -> list[tuple[LayerSaturation, Floats]]:
    found = {}
    groups = activations.passes(activations.at_once())
    with (
        setup.progress("saturation", len(groups) * len(activations.rows), "rows") as shown,
        Workers(setup, BLOCK_BYTES) as workers,
    ):
        for group in groups:
            sums = _Sums(group, setup, pooling, steps)
            reader = activations.open(group)
            for part in batches(activations.rows, setup.batch):
                for layers in reader.parts(part):
                    workers.each(sums.add, layers)
                shown.advance(len(part))
            for tap in group:
                found[tap.position] = _layer(tap, sums.of.pop(tap.position), sums.width(tap), delta, rule)
    return [found[place] for place in sorted(found)]


class _Sums:
    """The covariances of some layers, where there is room for them."""

    def __init__(self, taps: Sequence[Tap], setup: Setup, pooling: str, steps: str) -> None:
        self._pooling, self._steps = pooling, steps
        self.of: dict[int, Covariance | None] = {}
        for tap in taps:
            width = self.width(tap)
            # The covariance, and the copy that its eigenvalues are computed in.
            fits = 16 * width * width <= setup.memory
            self.of[tap.position] = Covariance(width) if fits else None

    def width(self, tap: Tap) -> int:
        return width_of(tap.shape, tap.layer.axes, self._pooling, self._steps)

    def add(self, tap: Tap, values: Array) -> None:
        sums = self.of[tap.position]
        if sums is not None:
            sums.add(pooled(values, tap.layer.axes, self._pooling, self._steps))


def dimension_of(eigenvalues: Floats, delta: float, rule: str) -> int:
    """Return how many leading eigenvalues explain a share of their sum.

    Parameters
    ----------
    eigenvalues
        The largest first.
    delta
        The share.
    rule
        ``plain``: as few as reach the share. ``delve``: those before the share is reached, so one less.
    """
    total = eigenvalues.sum()
    if total <= 0:
        return 0
    shares = np.cumsum(eigenvalues / total)
    if rule == "delve":
        return int(np.count_nonzero(shares < delta))
    # Equal eigenvalues reach a share exactly, but for the rounding of their sum.
    return min(int(np.searchsorted(shares, delta - _ROUNDING)) + 1, len(eigenvalues))


def _layer(
    tap: Tap, sums: Covariance | None, width: int, delta: float, rule: str
) -> tuple[LayerSaturation, Floats]:
    """Return what a layer spans, and the eigenvalues of its covariance; none where there is no covariance."""
    reason = _reason(sums, width)
    known = (tap.layer.name, tap.layer.op_type, tap.layer.kind)
    count = 0 if sums is None else sums.count
    if sums is None or not sums.finite:
        none = (math.nan, math.nan, math.nan)
        return LayerSaturation(*known, math.nan, 0, width, count, *none, reason=reason), np.empty(0)
    values = sums.eigenvalues()
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        log = float(np.log(values).sum())
        determinant = float(np.exp(log))
    share = 0.0 if rule == "delve" else math.nan
    trace = float(np.trace(sums.scatter)) / sums.count
    layer = LayerSaturation(*known, share, 0, width, count, trace, determinant, log, reason=reason)
    return layer if reason else _used(layer, values, delta, rule), values


def _used(layer: LayerSaturation, eigenvalues: Floats, delta: float, rule: str) -> LayerSaturation:
    dimension = dimension_of(eigenvalues, delta, rule)
    return replace(layer, dimension=dimension, saturation=dimension / layer.features)


def _reason(sums: Covariance | None, width: int) -> str:
    if sums is None:
        need = 16 * width * width / 1e9
        return f"the covariance of {width:,} features needs {need:,.1f} GB; see --memory and --pooling"
    if not sums.finite:
        return "its activations hold NaN or infinity"
    if sums.square == 0:
        return "all its activations are zero"
    if np.trace(sums.scatter) / sums.count <= VARIANCE * sums.square:
        return "its activations do not vary"
    return ""


def _with_tail(layers: Sequence[LayerSaturation], ends: Collection[int]) -> tuple[LayerSaturation, ...]:
    """Mark the tail: the last layers, if all are far less saturated than the model is on average.

    The layer that gives the model's result is left out: its width is that of the task.
    """
    inner = [place for place in range(len(layers)) if place not in ends]
    known = [layers[place].saturation for place in inner if not math.isnan(layers[place].saturation)]
    tail: set[int] = set()
    if known:
        bound = TAIL * sum(known) / len(known)
        for place in reversed(inner):
            if not layers[place].saturation < bound and not math.isnan(layers[place].saturation):
                break
            tail.add(place)
    return tuple(_marked(layer, place in tail) for place, layer in enumerate(layers))


def _marked(layer: LayerSaturation, tail: bool) -> LayerSaturation:
    return replace(layer, tail=tail and not math.isnan(layer.saturation))
