"""Figures of what models do with data: how alike layers are, how saturated, how plainly they tell labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing
from filterdb.figures.palette import readable_on

_TAIL: Final = "#d55e00"
_PITCH: Final = 0.15
_TALLEST: Final = 14.0
_AGREEMENTS: Final = {"ari": "ARI", "ami": "AMI", "fmi": "FMI"}
_MARKS: Final = ("s", "^", "D")
_COLOURS: Final = ("#e69f00", "#009e73", "#cc79a7")


@style.drawn
def cka_heatmap(table: pd.DataFrame, *, models: tuple[str, str], width: float = style.COLUMN) -> Drawing:
    """Draw the CKA of every layer of one model with every layer of another.

    Parameters
    ----------
    table
        One row a pair: ``position_a``, ``position_b``, ``layer_a``, ``layer_b``, ``cka``.
    models
        What the two are called.
    width
        Of the figure, in inches.
    """
    names_a, names_b = (_names(table, side) for side in "ab")
    values = np.full((len(names_a), len(names_b)), np.nan)
    values[table["position_a"], table["position_b"]] = table["cka"]
    room = min(1.5, 0.3 * width)
    cell = min((width - room - 0.75) / len(names_b), 0.5)
    figure = style.canvas(width, min(_TALLEST, len(names_a) * cell + 1.5))
    ax = figure.add_subplot()
    ax.set_facecolor(style.EMPTY)
    low, high = min(0.0, float(np.nanmin(values, initial=0))), max(1.0, float(np.nanmax(values, initial=1)))
    colours = mpl.colormaps[style.SEQUENTIAL]
    image = ax.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, origin="lower")
    _ticks(ax, names_a, names_b, room, cell)
    if cell >= 0.24:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ink = readable_on(colours((value - low) / (high - low)))
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=5.5, color=ink)
    ax.set_xlabel(labels.shortened([models[1]], labels.characters(width - room, 7))[0])
    ax.set_ylabel(labels.shortened([models[0]], labels.characters(len(names_a) * cell + 0.5, 7))[0])
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=ax, aspect=22, pad=0.02, shrink=0.9)
    bar.outline.set_visible(False)
    bar.set_label("CKA")
    missing = int(np.isnan(values).sum())
    said = f"Grey: not defined ({missing} of {values.size} pairs)." if missing else ""
    labels.note(figure, said or "Layers are in the order of execution.")
    caption = labels.joined(
        f"CKA of {labels.counted(len(names_a), 'layer')} of {models[0]} (up) with "
        f"{labels.counted(len(names_b), 'layer')} of {models[1]} (across), in the order of execution: 1 "
        "where two layers represent the data alike but for a rotation and a scale, 0 where independently.",
        said,
    )
    return Drawing(figure, table.reset_index(drop=True), caption)


def _names(table: pd.DataFrame, side: str) -> list[str]:
    rows = table.drop_duplicates(f"position_{side}").sort_values(f"position_{side}")
    return [str(name) for name in rows[f"layer_{side}"]]


def _fitting(names: Sequence[str], longest: int) -> list[str]:
    """Shorten names of layers: they begin alike, and exporters end them with the operator."""
    short = [name.strip("/").rpartition("/")[0] or name for name in names]
    return labels.shortened(
        [name if len(name) <= longest else f"…{name[-longest + 1 :]}" for name in short], longest
    )


def _ticks(ax: Axes, names_a: Sequence[str], names_b: Sequence[str], room: float, cell: float) -> None:
    """Name as many layers as there is room for, evenly."""
    size = min(6.0, max(4.0, cell * 72 * 0.8))
    step = max(1, int(np.ceil(size / (cell * 72))))
    for names, ticks in ((names_a, ax.set_yticks), (names_b, ax.set_xticks)):
        places = range(0, len(names), step)
        fitting = _fitting(names, labels.characters(room, size))
        ticks(list(places), [fitting[place] for place in places], fontsize=size)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)


@style.drawn
def saturation_bars(
    table: pd.DataFrame, *, model: str, delta: float = 0.99, width: float = style.COLUMN
) -> Drawing:
    """Draw the saturation of each layer, and mark the tail.

    Parameters
    ----------
    table
        One row a layer in the order of execution: ``layer``, ``saturation``, ``tail``, ``reason``.
    model
        What the model is called.
    delta
        The share of the variance that the directions explain.
    width
        Of the figure, in inches.
    """
    figure, ax = _layers(table, width)
    values = table["saturation"].to_numpy(np.float64)
    tail = table["tail"].to_numpy(bool)
    colours = np.where(tail, _TAIL, style.ACCENT)
    ax.barh(range(len(table)), np.nan_to_num(values), color=list(colours), height=0.72)
    if tail.any():
        first = int(np.flatnonzero(tail)[0])
        ax.axhline(first - 0.5, color=_TAIL, linewidth=0.7, linestyle=(0, (4, 2)), gid="tail")
        ax.text(1.0, first - 0.45, "tail", color=_TAIL, fontsize=style.SMALL, ha="right", va="top")
    _missing(ax, values)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"saturation (share of directions that explain {delta:.0%} of the variance)", loc="right")
    count = int(tail.sum())
    said = _said(values, f"Orange: the tail, {labels.counted(count, 'layer')}." if count else "No tail.")
    labels.note(figure, said)
    caption = labels.joined(
        f"Saturation of {labels.counted(len(table), 'layer')} of {model}, in the order of execution: the "
        f"share of the directions of each layer's activations that explain {delta:.0%} of their variance.",
        "The tail: the last layers, if each is below half of the mean.",
        said,
    )
    return Drawing(figure, table.reset_index(drop=True), caption)


@style.drawn
def sparsity_scores(table: pd.DataFrame, *, model: str, width: float = style.COLUMN) -> Drawing:
    """Draw the sparsity score of each layer, and how far clusters of its features agree with the labels.

    Parameters
    ----------
    table
        One row a layer in the order of execution: ``layer``, ``alpha``, ``ari``, ``ami``, ``fmi``.
    model
        What the model is called.
    width
        Of the figure, in inches.
    """
    figure, ax = _layers(table, width)
    values = table["alpha"].to_numpy(np.float64)
    places = np.arange(len(table))
    ax.plot(values, places, "o-", color=style.ACCENT, markersize=3.4, linewidth=0.9, label="alpha")
    _missing(ax, values)
    other = ax.twiny()
    for (name, title), mark, colour in zip(_AGREEMENTS.items(), _MARKS, _COLOURS, strict=True):
        known = table[name].to_numpy(np.float64)
        other.plot(known, places, mark, color=colour, markersize=2.4, alpha=0.9, label=title)
    other.set_xlim(min(-0.05, float(np.nanmin(table[list(_AGREEMENTS)].to_numpy(), initial=0)) - 0.02), 1.02)
    other.set_xlabel("agreement of clusters with the labels")
    other.spines["top"].set_visible(True)
    ax.set_xlabel("sparsity score alpha")
    handles = [*ax.get_lines()[:1], *other.get_lines()]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=1.4, columnspacing=1.0)
    said = _said(values, "Higher: the labels are told by fewer, larger steps.")
    labels.note(figure, said)
    caption = labels.joined(
        f"Sparsity score of {labels.counted(len(table), 'layer')} of {model}, in the order of execution, and "
        "how far as many clusters as there are classes agree with the labels (adjusted Rand index, adjusted "
        "mutual information, Fowlkes-Mallows index).",
        said,
    )
    return Drawing(figure, table.reset_index(drop=True), caption)


def _layers(table: pd.DataFrame, width: float) -> tuple[Any, Axes]:
    """Return a figure with one line a layer, the first on top."""
    count = len(table)
    pitch = min(_PITCH, (_TALLEST - 1.0) / max(1, count))
    figure = style.canvas(width, count * pitch + 1.0)
    ax = figure.add_subplot()
    ax.grid(axis="x")
    size = min(6.0, max(4.0, pitch * 72 * 0.8))
    step = max(1, int(np.ceil(size / (pitch * 72))))
    places = range(0, count, step)
    names = _fitting([str(name) for name in table["layer"]], labels.characters(0.34 * width, size))
    ax.set_yticks(list(places), [names[place] for place in places], fontsize=size)
    ax.set_ylim(count - 0.4, -0.6)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return figure, ax


def _missing(ax: Axes, values: Any) -> None:
    for place in np.flatnonzero(np.isnan(values)):
        ax.axhspan(place - 0.4, place + 0.4, color=style.EMPTY, linewidth=0, zorder=0)


def _said(values: Any, text: str) -> str:
    missing = int(np.isnan(values).sum())
    return labels.joined(text, f"Grey: not defined ({labels.counted(missing, 'layer')})." if missing else "")
