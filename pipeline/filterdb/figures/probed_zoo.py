"""Figures of what a probe found in every model of a zoo: one strip a model, and layers against a metric."""

from __future__ import annotations

from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing

_PITCH: Final = 0.13
_TALLEST: Final = 13.0
_MOST: Final = 120
_SCATTER: Final = 3.2
_DRAWS: Final = 999
_FEWEST_MODELS: Final = 5


@style.drawn
def zoo_strips(table: pd.DataFrame, *, value: str, title: str, width: float = style.COLUMN) -> Drawing:
    """Draw the layers of every model as a strip, from the first to the last, coloured by a value.

    Parameters
    ----------
    table
        One row a layer: ``model``, ``position`` and the value.
    value
        The column.
    title
        What it is called.
    width
        Of the figure, in inches.
    """
    means = table.groupby("model", sort=True)[value].mean().sort_values(kind="stable", na_position="last")
    names = _evenly(means.index.tolist(), _MOST)
    pitch = min(_PITCH, (_TALLEST - 1.0) / len(names))
    figure = style.canvas(width, len(names) * pitch + 1.0)
    ax = figure.add_subplot()
    numbers = table[value].to_numpy(np.float64)
    low = min(0.0, float(np.nanmin(numbers, initial=0)))
    high = max(1.0, float(np.nanmax(numbers, initial=1)))
    cells, colours = _cells(table, names, value)
    ax.add_collection(
        PolyCollection(
            list(cells),
            array=np.ma.masked_invalid(colours),
            cmap=mpl.colormaps[style.SEQUENTIAL].with_extremes(bad=style.EMPTY),
            clim=(low, high),
            linewidths=0,
            antialiased=False,
        )
    )
    ax.set_xlim(0, 1)
    ax.set_ylim(len(names) - 0.4, -0.6)
    size = min(6.0, max(3.5, pitch * 72 * 0.85))
    longest = labels.characters(0.36 * width, size)
    # Models of a family begin alike, and end with what tells them apart.
    short = labels.shortened([labels.ends(name, longest) for name in names], longest)
    ax.set_yticks(range(len(names)), short, fontsize=size)
    ax.tick_params(axis="y", length=0)
    ax.set_xticks([0, 1], ["first layer", "last layer"])
    first, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(ax.collections[0], ax=ax, location="top", aspect=40, pad=0.01, shrink=0.9)
    bar.outline.set_visible(False)
    bar.set_label(title)
    missing = int(np.isnan(numbers).sum())
    said = labels.joined(
        f"n = {labels.counted(len(table), 'layer')} of {labels.counted(len(means), 'model')}.",
        f"Grey: not defined ({labels.counted(missing, 'layer')})." if missing else "",
        f"{len(names):,} of the models are shown, evenly." if len(names) < len(means) else "",
    )
    labels.note(figure, said)
    caption = labels.joined(
        f"{title[0].upper()}{title[1:]}, of every layer of every model: one strip a model, its layers in the "
        "order of execution from left to right, the models ordered by their mean.",
        said,
    )
    return Drawing(figure, table[["model", "position", value]].reset_index(drop=True), caption)


def _evenly(names: list[str], most: int) -> list[str]:
    if len(names) <= most:
        return names
    places = np.unique(np.linspace(0, len(names) - 1, most).round().astype(int))
    return [names[place] for place in places]


def _cells(
    table: pd.DataFrame, names: list[str], value: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a rectangle a layer, those of a model side by side, and their values."""
    rows = {name: row for row, name in enumerate(names)}
    shown = table[table["model"].isin(rows)].sort_values(["model", "position"], kind="stable")
    place = shown.groupby("model", sort=False).cumcount().to_numpy(np.float64)
    count = shown.groupby("model", sort=False)["position"].transform("size").to_numpy(np.float64)
    row = shown["model"].map(rows).to_numpy(np.float64)
    left, right = place / count, (place + 1) / count
    top, bottom = row - 0.4, row + 0.4
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    cells = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
    return cells, shown[value].to_numpy(np.float64)


@style.drawn
def layers_against(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    titles: tuple[str, str],
    depth: str = "conv_depth_norm",
    seed: int = 0,
    width: float = style.COLUMN,
) -> Drawing:
    """Draw what a probe found in each layer against a metric of its filters, coloured by its depth.

    Parameters
    ----------
    table
        One row a layer: ``model``, the two columns and the depth, from 0 to 1.
    x, y
        The columns.
    titles
        What the axes are called.
    depth
        The column of the depth.
    seed
        Of the bootstrap over models.
    width
        Of the figure, in inches.
    """
    known = table.dropna(subset=[x, y]).reset_index(drop=True)
    figure = style.canvas(width, min(0.86 * width, _SCATTER))
    ax = figure.add_subplot()
    ax.grid(visible=True)
    points = ax.scatter(
        known[x],
        known[y],
        c=known[depth],
        cmap=style.SEQUENTIAL,
        vmin=0,
        vmax=1,
        s=7,
        alpha=0.8,
        linewidths=0,
    )
    ax.set_xlabel(titles[0])
    ax.set_ylabel(titles[1])
    bar = figure.colorbar(points, ax=ax, aspect=28, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("depth of the layer, from first to last")
    rank, low, high = rank_correlation(known, x, y, seed=seed)
    count = known["model"].nunique()
    n = f"n = {labels.counted(len(known), 'layer')} of {labels.counted(count, 'model')}."
    said = labels.joined(n, _correlation(rank, low, high, count))
    labels.note(figure, said)
    caption = labels.joined(f"{titles[1]} against {titles[0]}, of every layer that has both.", said)
    return Drawing(figure, known[["model", x, y, depth]], caption)


def _correlation(rank: float, low: float, high: float, models: int) -> str:
    if np.isnan(rank):
        return "No rank correlation is defined."
    if np.isnan(low):
        return f"Rank correlation {rank:.2f}; {labels.counted(models, 'model')} are too few for an interval."
    return f"Rank correlation {rank:.2f} (95% interval over models {low:.2f} to {high:.2f})."


def rank_correlation(table: pd.DataFrame, x: str, y: str, *, seed: int = 0) -> tuple[float, float, float]:
    """Return Spearman's correlation of two columns, and its bootstrap interval over whole models.

    Layers of a model are alike, so that drawing layers one by one would promise too much.

    Parameters
    ----------
    table
        One row a layer, with its ``model``; nothing is missing.
    x, y
        The columns.
    seed
        Of the draws.
    """
    ranks = table[[x, y]].rank().to_numpy(np.float64)
    estimate = _pearson(ranks, np.ones(len(ranks)))
    codes, models = pd.factorize(table["model"], sort=True)
    if len(models) < _FEWEST_MODELS or np.isnan(estimate):
        return estimate, np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(len(models), size=(_DRAWS, len(models)))
    values: Any = [
        _pearson(ranks, np.bincount(draw, minlength=len(models))[codes].astype(np.float64)) for draw in drawn
    ]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return estimate, float(low), float(high)


def _pearson(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    total = weights.sum()
    if total == 0:
        return np.nan
    centred = values - (weights @ values) / total
    covariance = (centred * weights[:, None]).T @ centred
    scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return float(covariance[0, 1]) / scale if scale > 0 else np.nan
