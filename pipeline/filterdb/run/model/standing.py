"""Where a model stands: one model beside the layers, groups and models of a data set.

What is compared was measured in the same way. The model's layers are counted in the basis and the bins of
the results, so that D between it and a group is the D of an analysis.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb import quality, shift, stats
from filterdb.errors import ModelError, UsageError
from filterdb.measure import MeasuredLayer, MeasuredModel, measure_layers, reader
from filterdb.run import text_table as text
from filterdb.run.model import standing_findings as findings
from filterdb.run.model.same_weights import NONE, knows_hashes, same_weights
from filterdb.run.model.standing_drift import Held, count_copies, drift_to_groups, nearest_models
from filterdb.stats import Cube, RecordStats
from filterdb.stats.cube import pack
from filterdb.store import filters_sha256
from filterdb.types import Filters, RowRange, SkippedLayer

if TYPE_CHECKING:
    from filterdb.api import FilterDB, Results
    from filterdb.weights import ModuleLike, TensorLike

RANKED: Final = tuple(name for name in quality.METRICS if name != "n")
"""Metrics that have a percentile."""

_FEW: Final = 10
"""Filters a bin, below which D is mostly that of the empty bins."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Standing:
    """Where a model stands in a data set.

    Parameters
    ----------
    results
        The results that it is compared with.
    layers
        One row a layer: what ``filterdb.measure_quality`` says of it; ``depth`` and ``depth_decile``;
        ``peers``, the number of layers that it is compared with, and ``peers_factor``, by which their number
        of filters differs at most; the percentile of each metric among them, such as
        ``sparsity_percentile``; ``outside``, its coefficients in no bin; and ``same_weights``, the first
        layer of the data set that has its very weights.
    drift
        By axis: one row a group, the nearest first, with D between the whole model and the group.
    nearest
        One row a model of the data set, the nearest first, with D between whole models.
    copies
        One row a model of the data set that has layers with the same weights: ``same_layers`` of its
        ``layers``, and ``same_model`` where either has no other. Such layers are neither peers nor members
        of groups, and a model that has no other layer is not among the nearest.
    findings
        What this comes to, in sentences.
    notes
        What to know of how it was compared.
    skipped
        Convolutions that were not measured, and why.
    facts
        Coordinates, measure, weighting, and how much there was to compare.
    cube
        Statistics and counts of the model's layers, as a results folder has them.
    """

    results: Path
    layers: pd.DataFrame
    drift: Mapping[str, pd.DataFrame]
    nearest: pd.DataFrame
    copies: pd.DataFrame
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    skipped: tuple[SkippedLayer, ...]
    facts: Mapping[str, Any]
    cube: Cube

    def __repr__(self) -> str:
        head = f"Standing of {text.plural(len(self.layers), 'layer')} against {self.results}"
        return "\n".join([f"<{head}>", *(f"  {finding}" for finding in self.findings)])


def compare_model(
    model: str | os.PathLike[str] | ModuleLike | Mapping[str, Any] | TensorLike,
    results: str | os.PathLike[str] | Results | FilterDB,
    *,
    by: str | Sequence[str] | None = None,
) -> Standing:
    """Put a model beside the layers, the groups and the models of an analyzed data set.

    Parameters
    ----------
    model
        What :func:`measure_quality` takes: a path, a PyTorch module, a state dict, or an array.
    results
        A results folder, or what :func:`open` or :func:`open_results` returned; of a selection, only the
        selected layers are compared with.
    by
        Axes whose groups it is compared with; where not given, those of the analysis, with its condition.

    Raises
    ------
    UsageError
        If an axis cannot be made, or nothing is left to compare with.
    ModelError
        If the model cannot be used, or has no layer with kernels of the data set's size.
    StoreError
        If there are no results, or they are damaged or of another format version.

    Examples
    --------
    >>> standing = filterdb.compare_model("model.onnx", "build/demo/results")
    >>> standing.layers[["sparsity", "sparsity_percentile", "peers"]]
    >>> standing.drift["Task"].head(3)
    >>> standing.nearest.head(5)
    """
    held = Held.of(results)
    found = _measured(model, held)
    known = [(layer.observed.sha256, layer.stats) for layer in found.layers]
    same = same_weights(held.frame, held.cube, known)
    own = same != NONE
    if not (held.chosen & ~own).any():
        count = np.count_nonzero(held.chosen)
        raise UsageError(
            "nothing is left to compare the model with: "
            + (
                f"each of the {count:,} layers has the weights of one of its own"
                if count
                else "the selection is empty"
            ),
            where=held.path,
            expected="results of other models too",
        )
    cube = _cube_of(found.layers, held)
    others = replace(held, chosen=held.chosen & ~own)
    rows, ranks = _layers(found.layers, others, same, cube)
    drift, notes = drift_to_groups(others, cube, by)
    copies = count_copies(held, same, len(dict(known)))
    nearest = nearest_models(held, own, cube, copies)
    told = findings.Told(rows, ranks, drift, nearest, copies, cube)
    return Standing(
        held.path,
        _frame(rows),
        drift,
        nearest,
        copies,
        tuple(findings.sentences(told)),
        (*_notes(found, held, rows, by), *notes),
        tuple(found.skipped),
        _facts(held, others, found),
        cube,
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """What a layer's filters are asked for while they are in memory."""

    sha256: str
    counts: NDArray[np.uint32]


def _measured(model: Any, held: Held) -> MeasuredModel:
    """Measure the layers whose kernels have the data set's size; all others are skipped, by name."""
    where = held.coordinates
    kernel = where.kernel

    def observe(filters: Filters, record: RecordStats) -> _Counts | None:
        if filters.shape[1] != kernel.size:
            # An array that is given alone, which is measured whatever its size.
            return None
        task = stats.Task(RowRange(0, len(filters)), 0, record.finite == record.n)
        range_ = (where.low, where.high, where.bins)
        counted = stats.count(reader(filters), [task], where.basis.coordinates, *range_)
        return _Counts(filters_sha256(filters), counted[0])

    found = measure_layers(model, kernel, eps=stats.SPARSITY_EPS, observe=observe)
    good = [layer for layer in found.layers if layer.shape[2:] == kernel.shape]
    odd = [layer for layer in found.layers if layer.shape[2:] != kernel.shape]
    skipped = [*found.skipped, *(_other_kernel(layer, str(kernel)) for layer in odd)]
    if not good:
        listed = "; ".join(f"{layer.name or 'the array'}: {layer.reason}" for layer in skipped[:3])
        raise ModelError(
            f"the model has no layer to compare: {listed or 'it has no convolution'}",
            where=model if isinstance(model, str | os.PathLike) else None,
            expected=f"a layer with kernels of {kernel}, the size of the data set's filters",
        )
    return replace(found, layers=good, skipped=skipped)


def _other_kernel(layer: MeasuredLayer, kernel: str) -> SkippedLayer:
    size = "x".join(map(str, layer.shape[2:]))
    return SkippedLayer(layer.name, layer.op_type, size, f"the kernel is {size}, not {kernel}")


def _cube_of(layers: Sequence[MeasuredLayer], held: Held) -> Cube:
    """Lay the model out as a cube of its own, in the coordinates of the results."""
    where = held.coordinates
    records = pack([layer.stats for layer in layers], where.kernel.size)
    counts = np.stack([layer.observed.counts for layer in layers])
    return Cube.of(records, counts, where.low, where.high)


def _layers(
    layers: Sequence[MeasuredLayer], others: Held, same: NDArray[np.int64], cube: Cube
) -> tuple[list[dict[str, Any]], list[dict[str, quality.Rank]]]:
    """Describe each layer, and rank its metrics among its peers."""
    frame, kept = others.frame, np.flatnonzero(others.chosen)
    depths = frame.index.get_level_values("conv_depth_norm").to_numpy(np.float64)
    sizes, deciles = frame["n"].to_numpy(np.int64)[kept], shift.depth_deciles(depths)[kept]
    metrics = {name: frame[name].to_numpy(np.float64)[kept] for name in RANKED}
    mine = shift.depth_deciles(np.array([layer.depth for layer in layers]))
    thresholds, outside = others.thresholds, cube.outside
    rows, ranks = [], []
    for place, layer in enumerate(layers):
        found = layer.quality(thresholds)
        decile = int(mine[place]) if mine[place] >= 0 else None
        peers = quality.find_peers(int(found["n"]), decile, sizes, deciles)
        ranked = {name: quality.rank(found[name], values[peers.rows]) for name, values in metrics.items()}
        facts = {
            "depth": layer.depth,
            "depth_decile": None if decile is None else shift.DECILES[decile],
            "peers": len(peers.rows),
            "peers_factor": peers.factor,
            **{f"{name}_percentile": one.percentile for name, one in ranked.items()},
            "outside": int(outside[place]),
            "same_weights": _twin(frame, same, place),
        }
        # What is said of the layer ends with the reason, which is long: the new facts come before it.
        known = found.row()
        reason = known.pop("reason")
        rows.append({"layer": layer.name, **known, **facts, "reason": reason})
        ranks.append(ranked)
    return rows, ranks


def _twin(frame: pd.DataFrame, same: NDArray[np.int64], place: int) -> str | None:
    rows = np.flatnonzero(same == place)
    if not len(rows):
        return None
    model, layer = (frame[name].iloc[rows[0]] for name in ("model", "layer_name"))
    return str(model) if pd.isna(layer) else f"{model}: {layer}"


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    texts = dict.fromkeys(("depth_decile", "same_weights", "reason", "layer"), "str")
    return frame.astype(texts).set_index("layer")


def _notes(found: MeasuredModel, held: Held, rows: Sequence[Mapping[str, Any]], by: object) -> list[str]:
    """Say what is to be known of how the layers were compared."""
    notes = []
    if all(math.isnan(layer.depth) for layer in found.layers):
        notes.append("the depth of a single array is not known: its peers are layers of any depth")
    elif not found.graph:
        notes.append("without a graph, the depth of a layer is its place in the order of the layers")
    filters = sum(layer.stats.finite for layer in found.layers)
    if filters < _FEW * held.coordinates.bins:
        notes.append(
            f"{filters:,} filters are few for {held.coordinates.bins} bins: every D is larger than it would "
            "be with more, so that the order says more than the values"
        )
    alone = [row["layer"] for row in rows if not row["peers"]]
    if alone:
        notes.append(f"no layer of the data set is as deep as {text.some(alone)}: there are no percentiles")
    if not knows_hashes(held.frame):
        notes.append("the data set knows no hashes: whether it holds the same weights, statistics tell")
    if by is None and (where := held.settings.get("where")) is not None:
        notes.append(f"the groups are of the layers that the analysis was restricted to: {where}")
    return notes


def _facts(held: Held, others: Held, found: MeasuredModel) -> dict[str, Any]:
    frame = held.frame[others.chosen]
    bare = all(math.isnan(layer.depth) for layer in found.layers)
    return {
        "coordinates": held.coordinates.identity,
        "range": [held.coordinates.low, held.coordinates.high],
        "measure": held.measure,
        "weighting": held.weighting,
        "depth": "graph" if found.graph else "unknown" if bare else "order",
        "layers": len(frame),
        "models": int(frame.index.get_level_values("model_id").nunique()),
        "left_out": int(np.count_nonzero(held.chosen) - len(frame)),
    }
