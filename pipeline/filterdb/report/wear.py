"""What the quality of layers says, in sentences: what is degenerate, where, and what depth does."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import special

from filterdb.report.blocks import Finding
from filterdb.report.wording import chance, counted, decimal, listed, percent

_SHOWN: Final = 5
_FEWEST_LAYERS: Final = 3
"""Layers a model needs to be called degenerate as a whole."""

_FEWEST_FILTERS: Final = 64
"""Filters a layer needs before it is named: of a few, any metric may be anything."""

_TREND_LAYERS: Final = 5
"""Layers a model needs before it has a trend."""

_LEVEL: Final = 0.05
_EXTREMES: Final = (
    ("sparsity", False, "Most sparse", "S"),
    ("variance_entropy", True, "Least varied", "H"),
    ("variance_entropy_norm", False, "Most like random", "H/T_H"),
)
_TRENDS: Final = {"sparsity": "Sparsity", "variance_entropy_norm": "Variance entropy, relative to random,"}


def quality_findings(layers: pd.DataFrame, models: pd.DataFrame, labels: dict[str, float]) -> list[Finding]:
    """Return what the quality of layers and models says.

    Parameters
    ----------
    layers
        One row a layer: metrics, labels, and ``conv_depth_norm`` in the index.
    models
        One row a model: its name, number of layers and of degenerate layers.
    labels
        Thresholds of the labels.
    """
    found = [_degenerate(layers, labels)]
    if layers["degenerate"].any():
        found.append(_models(models))
    found += [finding for finding in (_extremes(layers), _depth(layers)) if finding is not None]
    return found


def _degenerate(layers: pd.DataFrame, labels: dict[str, float]) -> Finding:
    total, degenerate = len(layers), layers[layers["degenerate"]]
    if degenerate.empty:
        return Finding(f"None of {counted(total, 'layer')} is degenerate.")
    worn = degenerate["low_diversity"] & (degenerate["sparsity"] >= labels.get("sparse", 0.14))
    share = percent(len(degenerate), total)
    head = f"{len(degenerate):,} of {counted(total, 'layer')} ({share}) are degenerate."
    return Finding(
        head,
        (
            f"{counted(int((~worn).sum()), 'layer')}: filters as varied as random ones.",
            f"{counted(int(worn.sum()), 'layer')}: filters of low diversity, many of them sparse.",
        ),
        "The bound for random is a fit that misses some truly random layers of 64 to 256 filters; a label "
        "near it is a hint, no verdict. An untrained layer is degenerate by the first rule, and rightly so.",
    )


def _models(models: pd.DataFrame) -> Finding:
    """Name the models with the largest share of degenerate layers."""
    table = models[models["layers"] >= _FEWEST_LAYERS]
    table = table.assign(share=table["degenerate_layers"] / table["layers"])
    table = table[table["share"] > 0].sort_values(
        ["share", "layers"], ascending=[False, False], kind="stable"
    )
    if table.empty:
        return Finding(f"No model of at least {_FEWEST_LAYERS} layers has a degenerate one.")
    full = int((table["share"] == 1).sum())
    head = (
        f"In {counted(full, 'model')} every layer is degenerate."
        if full
        else "In no model is every layer degenerate."
    )
    named = [
        f"{row['model']} ({row['degenerate_layers']:,} of {row['layers']:,})"
        for row in table.head(_SHOWN).to_dict("records")
    ]
    what = "The largest of them" if full >= len(named) else "The largest shares"
    return Finding(head, (f"{what}: {listed(named)} (models of at least {_FEWEST_LAYERS} layers).",))


def _extremes(layers: pd.DataFrame) -> Finding | None:
    """Name the layers that are most sparse, least varied and most like random ones."""
    large = layers[layers["n"] >= _FEWEST_FILTERS]
    details = []
    for metric, rising, title, symbol in _EXTREMES:
        known = large[large[metric].notna()]
        if metric == "sparsity":
            known = known[known[metric] > 0]
        ranked = known.sort_values(metric, ascending=rising, kind="stable").head(3)
        names = [
            f"{row['model']} / {row['layer_name']} ({symbol} = {decimal(row[metric])})"
            for row in ranked.to_dict("records")
        ]
        if names:
            details.append(f"{title}: {listed(names)}.")
    if not details:
        return None
    return Finding(
        f"Layers that stand out, of those with at least {_FEWEST_FILTERS} filters.", tuple(details)
    )


def _depth(layers: pd.DataFrame) -> Finding | None:
    """Say whether metrics follow depth, with the model as the unit."""
    sentences, clear = [], []
    for metric, title in _TRENDS.items():
        rhos = trends(layers, metric)
        if not len(rhos):
            continue
        sentence, is_clear = _trend(layers, metric, title, rhos)
        sentences.append(sentence)
        if is_clear:
            clear.append("sparsity" if metric == "sparsity" else "variance entropy")
    if not sentences:
        return None
    verb = "follows" if len(clear) == 1 else "follow"
    said = listed(clear)
    head = (
        f"{said[:1].upper()}{said[1:]} {verb} depth." if clear else "No metric follows depth beyond chance."
    )
    return Finding(
        head,
        tuple(sentences),
        f"Trends are Spearman's rank correlations within models of at least {_TREND_LAYERS} layers; models, "
        "not layers, are counted.",
    )


def trends(layers: pd.DataFrame, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the rank correlation of a metric with depth in every model where it has one.

    Parameters
    ----------
    layers
        One row a layer, with ``model_id`` and ``conv_depth_norm`` in the index.
    metric
        The metric.
    """
    ids = layers.index.get_level_values("model_id").to_numpy()
    depth = layers.index.get_level_values("conv_depth_norm").to_numpy(np.float64)
    values = layers[metric].to_numpy(np.float64)
    found = []
    for model in np.unique(ids):
        chosen = (ids == model) & np.isfinite(values) & np.isfinite(depth)
        x, y = depth[chosen], values[chosen]
        if len(x) >= _TREND_LAYERS and len(set(x)) > 1 and len(set(y)) > 1:
            found.append(_spearman(x, y))
    return np.array(found)


def _spearman(x: Any, y: Any) -> float:
    a, b = (pd.Series(values).rank().to_numpy(np.float64) for values in (x, y))
    return float(np.corrcoef(a, b)[0, 1])


def sign_test(rising: int, falling: int) -> float:
    """Return the two-sided p that as many of either sign come about by tossing a coin.

    Parameters
    ----------
    rising, falling
        How many there are of either sign.
    """
    tail = float(special.bdtr(min(rising, falling), rising + falling, 0.5))
    return min(1.0, 2 * tail)


def _trend(layers: pd.DataFrame, metric: str, title: str, rhos: Any) -> tuple[str, bool]:
    rising, falling = int((rhos > 0).sum()), int((rhos < 0).sum())
    p = sign_test(rising, falling)
    way, many = ("rises", rising) if rising >= falling else ("falls", falling)
    depth = layers.index.get_level_values("conv_depth_norm").to_numpy(np.float64)
    first, last = (layers.loc[chosen, metric].median() for chosen in (depth <= 0.1, depth > 0.9))
    end = "" if p < _LEVEL else ", which chance explains as well"
    sentence = (
        f"{title} {way} with depth in {many:,} of {counted(len(rhos), 'model')} (median rank correlation "
        f"{decimal(np.median(rhos), 2)}; sign test {chance(p)}{end}). Its median is {decimal(first)} in the "
        f"first tenth of depth and {decimal(last)} in the last."
    )
    return sentence, p < _LEVEL
