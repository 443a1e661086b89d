"""Figures of what models do with data: how alike layers are, how saturated, how plainly they tell labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing
from filterdb.figures.palette import readable_on
from filterdb.figures.probes_names import shown

_TAIL: Final = "#d55e00"
_PITCH: Final = 0.15
_TALLEST: Final = 14.0
_READABLE: Final = 0.1
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
    (names_a, ops_a), (names_b, ops_b) = (_names(table, side) for side in "ab")
    values = np.full((len(names_a), len(names_b)), np.nan)
    values[table["position_a"], table["position_b"]] = table["cka"]
    room = min(1.5, 0.3 * width)
    cell, height = _cell(len(names_a), len(names_b), width - room - 0.75)
    figure = style.canvas(width, len(names_a) * height + 0.5 + room)
    ax = figure.add_subplot()
    ax.set_facecolor(style.EMPTY)
    low, high = min(0.0, float(np.nanmin(values, initial=0))), max(1.0, float(np.nanmax(values, initial=1)))
    colours = mpl.colormaps[style.SEQUENTIAL]
    image = ax.imshow(
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=low,
        vmax=high,
        origin="lower",
        aspect="equal" if cell == height else "auto",
    )
    longest = labels.characters(room, 6.0)
    _ticks(ax.set_yticks, shown(names_a, ops_a, longest), height)
    _ticks(ax.set_xticks, shown(names_b, ops_b, longest), cell)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)
    if cell >= 0.24 and height >= _READABLE:
        _write(ax, values, lambda value: readable_on(colours((value - low) / (high - low))))
    ax.set_xlabel(labels.shortened([models[1]], labels.characters(width - room, 7))[0])
    ax.set_ylabel(labels.shortened([models[0]], labels.characters(len(names_a) * height + 0.5, 7))[0])
    ax.spines[:].set_visible(False)
    tall = max(1.0, len(names_a) * height / (len(names_b) * cell))
    bar = figure.colorbar(image, ax=ax, aspect=22 * tall, pad=0.02, shrink=0.9)
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


def _write(ax: Axes, values: Any, ink: Callable[[float], str]) -> None:
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            text = f"{value:.2f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=5.5, color=ink(value))


def _names(table: pd.DataFrame, side: str) -> tuple[list[str], list[str]]:
    """Return the names and the operators of the layers of one side, in the order of execution."""
    rows = table.drop_duplicates(f"position_{side}").sort_values(f"position_{side}")
    return [str(name) for name in rows[f"layer_{side}"]], _operators(rows, f"op_{side}")


def _operators(table: pd.DataFrame, column: str) -> list[str]:
    return [str(op) for op in table[column]] if column in table else [""] * len(table)


def _cell(rows: int, columns: int, room: float) -> tuple[float, float]:
    """Return width and height of a cell: a square one, where both sides can then be read.

    Parameters
    ----------
    rows, columns
        How many cells there are.
    room
        Inches for the columns.
    """
    width = min(room / columns, 0.5)
    least = min(rows * _PITCH, 0.5 * room)
    most = max(1.5 * room, min(rows * _PITCH, _TALLEST - 2.0))
    height = min(max(rows * width, least), most) / rows
    return width, width if abs(height - width) < 1e-9 else height


def _ticks(ticks: Callable[..., Any], names: Sequence[str], pitch: float) -> None:
    """Name as many layers as there is room for, evenly."""
    size = _type_size(pitch)
    places = range(0, len(names), max(1, int(np.ceil(size / (pitch * 72)))))
    ticks(list(places), [names[place] for place in places], fontsize=size)


def _type_size(pitch: float) -> float:
    return min(6.0, max(4.0, pitch * 72 * 0.8))


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
    figure, (ax,) = _layers(table, width)
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
        One row a layer in the order of execution: ``layer``, ``alpha``, ``ari``, ``ami``, ``fmi``; perhaps
        ``alpha_sd`` and ``alpha_shuffled``.
    model
        What the model is called.
    width
        Of the figure, in inches.
    """
    agreements = table[list(_AGREEMENTS)].to_numpy(np.float64)
    clustered = not np.isnan(agreements).all()
    figure, axes = _layers(table, width, panels=2 if clustered else 1)
    values = table["alpha"].to_numpy(np.float64)
    explained = ["Higher: the labels are told by fewer, larger steps.", *_scores(axes[0], table, values)]
    if clustered:
        _agreements(axes[1], table, agreements)
        figure.legend(
            handles=axes[1].get_lines(),
            loc="outside upper right",
            ncols=3,
            handlelength=1.2,
            columnspacing=1.0,
        )
    said = _said(values, labels.joined(*explained))
    labels.note(figure, said)
    clusters = (
        ", and how far as many clusters as there are classes agree with the labels (adjusted Rand index,"
        " adjusted mutual information, Fowlkes-Mallows index)"
    )
    caption = labels.joined(
        f"Sparsity score of {labels.counted(len(table), 'layer')} of {model}, in the order of execution"
        f"{clusters if clustered else ''}.",
        said,
    )
    return Drawing(figure, table.reset_index(drop=True), caption)


def _scores(ax: Axes, table: pd.DataFrame, values: Any) -> list[str]:
    """Draw scores, what forests differ by, and what shuffled labels give; say what is what."""
    places, said = np.arange(len(table)), []
    spread, shuffled = (
        table.get(name, pd.Series(np.nan, table.index)).to_numpy(np.float64)
        for name in ("alpha_sd", "alpha_shuffled")
    )
    ax.plot(values, places, "o-", color=style.ACCENT, markersize=3.4, linewidth=0.9)
    if not np.isnan(spread).all():
        ax.hlines(places, values - spread, values + spread, color=style.ACCENT, linewidth=2.2, alpha=0.45)
        said.append("Bars: standard deviation of forests.")
    if not np.isnan(shuffled).all():
        ax.plot(shuffled, places, "|", color=style.MUTED, markersize=7)
        said.append("Ticks: labels shuffled.")
    _missing(ax, values)
    ax.set_xlabel("sparsity score alpha")
    return said


def _agreements(ax: Axes, table: pd.DataFrame, values: Any) -> None:
    places = np.arange(len(table))
    for (name, title), mark, colour in zip(_AGREEMENTS.items(), _MARKS, _COLOURS, strict=True):
        known = table[name].to_numpy(np.float64)
        ax.plot(known, places, mark, color=colour, markersize=2.4, alpha=0.9, label=title)
    _missing(ax, values.mean(axis=1))
    ax.set_xlim(min(-0.05, float(np.nanmin(values, initial=0)) - 0.02), 1.02)
    ax.set_xlabel("agreement with labels")


def _layers(table: pd.DataFrame, width: float, *, panels: int = 1) -> tuple[Any, Sequence[Axes]]:
    """Return a figure with one line a layer, the first on top; panels side by side share the lines."""
    count = len(table)
    pitch = min(_PITCH, (_TALLEST - 1.0) / max(1, count))
    figure = style.canvas(width, count * pitch + 1.0)
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    longest = labels.characters((0.34 if panels == 1 else 0.3) * width, _type_size(pitch))
    names = shown([str(name) for name in table["layer"]], _operators(table, "op_type"), longest)
    _ticks(axes[0].set_yticks, names, pitch)
    axes[0].set_ylim(count - 0.4, -0.6)
    for ax in axes:
        ax.grid(axis="x")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    return figure, axes


def _missing(ax: Axes, values: Any) -> None:
    for place in np.flatnonzero(np.isnan(values)):
        ax.axhspan(place - 0.4, place + 0.4, color=style.EMPTY, linewidth=0, zorder=0)


def _said(values: Any, text: str) -> str:
    missing = int(np.isnan(values).sum())
    return labels.joined(text, f"Grey: not defined ({labels.counted(missing, 'layer')})." if missing else "")
