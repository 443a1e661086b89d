"""Figures of quality: metrics of layers by group, and the models that have the most worn-out layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing
from filterdb.figures.palette import group_colours

_TITLES: Final = {
    "sparsity": "sparsity",
    "variance_entropy": "variance entropy H",
    "variance_entropy_norm": "H / T_H",
    "variance_entropy_clean": "H without sparse filters",
    "orthogonality": "orthogonality",
}
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
Values = dict[str, list[NDArray[np.float64]]]
"""What is known of each metric, group by group."""

_SINGLE: Final = "; dots: single layers of small groups"

_DOTS: Final = 12
"""Groups of no more layers are shown layer by layer, for which quartiles would say more than there is."""


@style.drawn
def metrics_by_group(
    layers: pd.DataFrame,
    codes: NDArray[np.int64],
    groups: pd.DataFrame,
    *,
    axis: str,
    metrics: Sequence[str] = ("sparsity", "variance_entropy"),
    ordered: bool = False,
    width: float = style.DOUBLE,
    most: int = 20,
) -> Drawing:
    """Draw how metrics of layers are distributed in each group.

    Parameters
    ----------
    layers
        One row a layer, with the metrics as columns.
    codes
        The group of each layer: a row of ``groups``, or less than 0 for none.
    groups
        One row a group: its name and sizes.
    axis
        What the groups are groups of.
    metrics
        Columns of ``layers``, a panel each.
    ordered
        The groups have an order of their own, and lie side by side.
    width
        Of the figure, in inches.
    most
        Groups that are shown; of more, the largest.
    """
    shown = labels.largest(groups, most)
    colours = group_colours(groups["group"].tolist(), ordered=ordered)
    chosen = [colours[groups["group"].iloc[group]] for group in shown]
    values = {
        name: [_known(layers[name].to_numpy(np.float64)[codes == group]) for group in shown]
        for name in metrics
    }
    figure = _upright if ordered else _lying
    drawn, brief = figure(values, chosen, groups.iloc[shown], width, axis)
    held = int(np.isin(codes, shown).sum())
    missing = {name: held - sum(map(len, one)) for name, one in values.items()}
    undefined = [f"{n:,} of {_title(name)}" for name, n in missing.items() if n]
    few = any(0 < len(part) <= _DOTS for one in values.values() for part in one)
    said = labels.joined(
        f"Box: quartiles and median of layers; whiskers: 5% to 95%{_SINGLE if few else ''}.",
        f"Undefined and left out: {', '.join(undefined)}." if undefined else "",
        labels.left_out(len(groups), len(shown)),
    )
    labels.note(drawn, labels.joined(said, brief))
    what = " and ".join(map(_title, metrics))
    caption = (
        f"{what[0].upper()}{what[1:]} of layers by {labels.spaced(axis)}. {said} n = {labels.sample(groups)}."
    )
    return Drawing(drawn, _table(layers, codes, groups, metrics), caption)


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric.replace("_", " "))


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _lying(
    values: Values,
    colours: list[str],
    groups: pd.DataFrame,
    width: float,
    _axis: str,
) -> tuple[Any, str]:
    """Draw boxes that lie, one below the other, so that long names fit."""
    figure = style.canvas(width, 0.27 * len(groups) + 0.75)
    panels = figure.subplots(1, len(values), sharey=True, squeeze=False)[0]
    for ax, (metric, one) in zip(panels, values.items(), strict=True):
        _boxes(ax, one, colours, "horizontal")
        ax.grid(axis="x")
        ax.set_xlabel(_title(metric))
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        _limits(ax.set_xlim, metric, one)
        ax.locator_params(axis="x", nbins=4 if width < style.WIDE else 6)
    panels[0].set_ylim(len(groups) - 0.4, -0.6)
    return figure, labels.name_rows(panels[0], range(len(groups)), groups, room=min(1.6, 0.33 * width))


def _upright(
    values: Values,
    colours: list[str],
    groups: pd.DataFrame,
    width: float,
    axis: str,
) -> tuple[Any, str]:
    """Draw boxes that stand side by side, so that a trend along an order is seen."""
    side_by_side = width >= style.WIDE and len(values) > 1
    down = 1 if side_by_side else len(values)
    figure = style.canvas(width, down * 1.65 + 0.75)
    panels = figure.subplots(down, len(values) // down, sharex=True, squeeze=False).flat
    for ax, (metric, one) in zip(panels, values.items(), strict=True):
        _boxes(ax, one, colours, "vertical")
        ax.grid(axis="y")
        ax.set_ylabel(_title(metric))
        _limits(ax.set_ylim, metric, one)
        medians = [np.median(part) if len(part) else np.nan for part in one]
        ax.plot(range(len(one)), medians, color=style.INK, linewidth=0.6, linestyle=(0, (3, 2)), zorder=2)
    names = labels.shortened(groups["group"].tolist(), 14)
    for ax in figure.axes if side_by_side else figure.axes[-1:]:
        ax.set_xticks(range(len(groups)), names)
        space = (width / (2 if side_by_side else 1) - 0.6) / max(1, len(groups))
        if max(map(labels.columns, names), default=0) * 0.05 > space:
            for label in ax.get_xticklabels():
                label.set(rotation=45, ha="right", va="top", rotation_mode="anchor")
        ax.set_xlabel(f"{labels.spaced(axis)} (layers: {_range(groups)})")
    return figure, ""


def _range(groups: pd.DataFrame) -> str:
    if "layers" not in groups or not len(groups):
        return "?"
    low, high = int(groups["layers"].min()), int(groups["layers"].max())
    return f"{low:,} to {high:,} each"


def _limits(set_: Any, metric: str, values: Sequence[NDArray[np.float64]]) -> None:
    """Show what boxes and whiskers reach, and no more; a share begins at zero."""
    ends = [
        np.quantile(one, (0.05, 0.95)) if len(one) > _DOTS else (one.min(), one.max())
        for one in values
        if len(one)
    ]
    low, high = (np.min(ends), np.max(ends)) if ends else (0.0, 1.0)
    low = 0.0 if metric == "sparsity" else low
    margin = 0.05 * (high - low) or 0.05
    set_(low - margin, high + margin)


def _boxes(ax: Axes, values: Sequence[NDArray[np.float64]], colours: Sequence[str], orientation: str) -> None:
    stats: list[dict[str, Any]] = []
    for one in values:
        low, q1, median, q3, high = np.quantile(one, _QUANTILES) if len(one) > _DOTS else [np.nan] * 5
        stats.append({"whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high, "fliers": []})
    boxes = ax.bxp(
        stats,
        positions=range(len(values)),
        orientation=orientation,  # type: ignore[arg-type]
        widths=0.58,
        showfliers=False,
        showcaps=False,
        manage_ticks=False,
        patch_artist=True,
        whiskerprops={"color": style.MUTED, "linewidth": 0.8},
        medianprops={"color": style.INK, "linewidth": 1.2},
    )
    for box, colour in zip(boxes["boxes"], colours, strict=True):
        box.set(facecolor=colour, edgecolor=style.INK, linewidth=0.5, alpha=0.85)
    for place, (one, colour) in enumerate(zip(values, colours, strict=True)):
        if not 0 < len(one) <= _DOTS:
            continue
        spread = place + 0.3 * ((np.arange(len(one)) * 0.618034) % 1 - 0.5)
        along = (one, spread) if orientation == "horizontal" else (spread, one)
        ax.plot(*along, "o", ms=2.6, color=colour, mec="white", mew=0.3, zorder=3)
        middle = float(np.median(one))
        line = ([middle, middle], [place - 0.29, place + 0.29])
        ax.plot(*(line if orientation == "horizontal" else line[::-1]), color=style.INK, linewidth=1.2)


def _table(
    layers: pd.DataFrame, codes: NDArray[np.int64], groups: pd.DataFrame, metrics: Sequence[str]
) -> pd.DataFrame:
    rows = []
    for metric in metrics:
        column = layers[metric].to_numpy(np.float64)
        for group, name in enumerate(groups["group"]):
            held = column[codes == group]
            one = _known(held)
            quantiles = np.quantile(one, _QUANTILES) if len(one) else [np.nan] * len(_QUANTILES)
            rows.append(
                {
                    "metric": metric,
                    "group": name,
                    "layers": len(held),
                    "undefined": len(held) - len(one),
                    "mean": float(one.mean()) if len(one) else np.nan,
                    **{f"q{round(q * 100):02d}": v for q, v in zip(_QUANTILES, quantiles, strict=True)},
                }
            )
    return pd.DataFrame(rows)


@style.drawn
def degenerate_by_model(
    models: pd.DataFrame,
    *,
    groups: Sequence[str | None] | None = None,
    names: Sequence[str] = (),
    axis: str = "",
    width: float = style.COLUMN,
    most: int = 30,
) -> Drawing:
    """Draw which models have the largest share of degenerate layers.

    Parameters
    ----------
    models
        One row a model: ``model``, ``layers`` and ``degenerate_layers``.
    groups
        The group of each model, for its colour.
    names
        All groups, so that colours are those of the other figures.
    axis
        What the groups are groups of.
    width
        Of the figure, in inches.
    most
        Models that are shown.
    """
    table = models.reset_index()[["model", "layers", "degenerate_layers"]].copy()
    table["degenerate"] = table["degenerate_layers"] / table["layers"].where(table["layers"] > 0)
    table["group"] = [None] * len(table) if groups is None else list(groups)
    order = ["degenerate", "degenerate_layers", "model"]
    table = table.sort_values(order, ascending=[False, False, True], kind="stable").reset_index(drop=True)
    rows = table[table["degenerate_layers"] > 0].head(most)
    colours = group_colours(list(names))
    figure = style.canvas(width, max(1, len(rows)) * 0.17 + 1.0)
    ax = figure.add_subplot()
    ax.grid(axis="x")
    hues = [colours.get(str(group), style.MUTED) for group in rows["group"]]
    ax.barh(range(len(rows)), rows["degenerate"], color=hues, height=0.72)
    columns = (rows[name].tolist() for name in ("degenerate", "degenerate_layers", "layers"))
    for place, (share, worn, layers) in enumerate(zip(*columns, strict=True)):
        ax.text(
            share + 0.012,
            place,
            f"{worn:,} of {layers:,}",
            va="center",
            fontsize=style.SMALL,
            color=style.MUTED,
        )
    names_ = labels.shortened(rows["model"].tolist(), labels.characters(0.36 * width, style.SMALL))
    ax.set_yticks(range(len(rows)), names_, fontsize=style.SMALL)
    ax.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    ax.set_xlim(0, 1.0 if not len(rows) or rows["degenerate"].max() < 0.85 else 1.16)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    ax.set_xlabel("share of degenerate layers")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    _group_legend(figure, rows, colours, axis)
    with_any = int((table["degenerate_layers"] > 0).sum())
    said = labels.joined(
        f"{with_any:,} of {labels.counted(len(table), 'model')} have a degenerate layer"
        + (f"; the {len(rows)} with the largest share are shown." if with_any > len(rows) else "."),
    )
    labels.note(figure, said)
    caption = (
        "Share of each model's layers that are degenerate: their filters are as varied as random ones, or of "
        f"low diversity and many of them sparse. {said}"
    )
    return Drawing(figure, table, caption)


def _group_legend(figure: Any, rows: pd.DataFrame, colours: dict[str, str], axis: str) -> None:
    from matplotlib.patches import Patch

    found = [name for name in colours if (rows["group"] == name).any()]
    if not found:
        return
    width = figure.get_size_inches()[0]
    across = 2 if width < style.WIDE else 4
    short = labels.shortened(found, labels.characters((width - 0.4) / across - 0.25, 6.0))
    handles = [Patch(color=colours[name], label=text) for name, text in zip(found, short, strict=True)]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=across,
        title=axis or None,
        title_fontsize=6.0,
        handlelength=0.9,
        handleheight=0.8,
        columnspacing=1.0,
    )
