"""Figures of the filters themselves: the first of every layer of a model, and all of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing

_PIXELS: Final = 4
"""Pixels of the image that a value of a filter takes, so that the space between filters can be narrower."""

_SPACE: Final = 3
"""Pixels between two filters."""

_ACROSS: Final = (24, 12)
"""Filters of a layer side by side, on a whole page and in a column."""

_BETWEEN: Final = "#c9ced4"


@style.drawn
def first_filters(
    filters: Sequence[NDArray[Any]],
    names: Sequence[str],
    *,
    model: str,
    sizes: Sequence[int] | None = None,
    width: float = style.DOUBLE,
    most: int = 60,
) -> Drawing:
    """Draw the first filters of every layer of a model, each scaled by its largest magnitude.

    Parameters
    ----------
    filters
        The first filters of each layer: filters x height x width, of any number.
    names
        Of the layers.
    model
        Name of the model.
    sizes
        How many filters each layer has.
    width
        Of the figure, in inches.
    most
        Layers that are shown: the first.
    """
    shown = list(filters)[:most]
    sizes = list(sizes or [len(one) for one in filters])
    across = 1 if width < style.WIDE or len(shown) <= 36 else 2
    shown = [one[: _ACROSS[across - 1 or int(width < style.WIDE)]] for one in shown]
    down = max(1, -(-len(shown) // across))
    count = max((len(one) for one in shown), default=1)
    shape = shown[0].shape[1:] if shown else (3, 3)
    room = min(1.7, 0.38 * width / across**0.5)
    inside = (width - across * (room + 0.15)) / across
    pitch = inside / count
    cell = np.array(shape) * _PIXELS + _SPACE
    row = min(max(pitch * cell[0] / cell[1], 0.105), 8.8 / down)
    figure = style.canvas(width, down * row + 0.9)
    panels = figure.subplots(1, across, squeeze=False)[0]
    for column, ax in enumerate(panels):
        part = slice(column * down, (column + 1) * down)
        _strip(ax, shown[part], down, count, shape)
        texts = labels.shortened(list(names)[:most][part], labels.characters(room - 0.42, style.SMALL))
        rows = [f"{a}  {labels.compact(b)}" for a, b in zip(texts, sizes[part], strict=False)]
        ax.set_yticks((np.arange(len(rows)) + 0.5) * cell[0] - _SPACE / 2, rows)
        ax.tick_params(length=0, labelsize=min(style.SMALL, row * 72 * 0.85))
        ax.set_xticks([])
    figure.suptitle(labels.shortened([model], labels.characters(width - 0.3, 7.5))[0])
    said = labels.joined(
        f"The first {count} filters of each layer, from the input to the output, each scaled by its largest "
        "magnitude: red positive, white zero, blue negative. Beside the name: filters of the layer.",
        f"The first {len(shown)} of {len(filters)} layers." if len(filters) > len(shown) else "",
    )
    labels.note(figure, said)
    style.trim(figure)
    return Drawing(figure, _filter_table(shown, names), f"Filters of {model}. {said}")


def _strip(ax: Axes, layers: Sequence[NDArray[Any]], down: int, count: int, shape: tuple[int, ...]) -> None:
    cell = np.array(shape) * _PIXELS + _SPACE
    image = np.full((down * cell[0] - _SPACE, count * cell[1] - _SPACE), np.nan, np.float32)
    for row, layer in enumerate(layers):
        for column, one in enumerate(layer[:count]):
            finite = np.abs(one[np.isfinite(one)])
            scale = float(finite.max(initial=0)) or 1.0
            _place(image, one / scale, row, column)
    _show(ax, image, 1.0)
    for row in range(down):
        held = min(len(layers[row]), count) if row < len(layers) else 0
        _blank(ax, row * cell[0] - _SPACE, held * cell[1] - (_SPACE if held else 0), cell[0] + _SPACE, image)


@style.drawn
def layer_kernels(
    weight: NDArray[Any],
    *,
    name: str,
    width: float = style.COLUMN,
    most: tuple[int, int] = (32, 32),
) -> Drawing:
    """Draw the kernels of a layer: a row an output channel, a column an input channel, on one scale.

    Parameters
    ----------
    weight
        Output channels x input channels x height x width.
    name
        Of the layer.
    width
        Of the figure, in inches.
    most
        Output and input channels that are shown: the first.
    """
    out, into = weight.shape[:2]
    part = weight[: most[0], : most[1]]
    rows = part.reshape(-1, *part.shape[2:])
    # A depthwise layer would be one long column.
    across = part.shape[1] if part.shape[1] > 1 else max(1, int(np.ceil(np.sqrt(len(rows)))))
    cell = np.array(weight.shape[2:]) * _PIXELS + _SPACE
    down = -(-len(rows) // across)
    image = np.full((down * cell[0] - _SPACE, across * cell[1] - _SPACE), np.nan, np.float32)
    for place, one in enumerate(rows):
        _place(image, one, *divmod(place, across))
    finite = np.abs(part[np.isfinite(part)])
    limit = float(finite.max(initial=0)) or 1.0
    # A kernel need not be larger than half an inch.
    inside = min(width - 0.85, across * 0.5)
    tall = min(inside * image.shape[0] / image.shape[1], 7.5)
    figure = style.canvas(width, max(tall, 0.9) + 0.9)
    ax = figure.add_subplot()
    shown = _show(ax, image, limit)
    over = len(rows) - (down - 1) * across
    _blank(ax, (down - 1) * cell[0] - _SPACE / 2, over * cell[1] - _SPACE, cell[0], image)
    ax.set_xticks([])
    ax.set_yticks([])
    grid = across == part.shape[1]
    ax.set_xlabel("input channel →" if grid and across > 1 else "channel, row by row →")
    ax.set_ylabel("← output channel" if grid and across > 1 else "")
    ax.set_title(labels.titled(name, labels.characters(width - 0.7, 7.0)))
    bar = figure.colorbar(shown, ax=ax, shrink=min(1.0, 1.5 / max(tall, 0.9)), aspect=16, pad=0.02)
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
    bar.outline.set_linewidth(0.4)
    n = f"{out:,} × {into:,} kernels of {weight.shape[2]}×{weight.shape[3]}"
    cut = "" if part.shape == weight.shape else f"The first {part.shape[0]} × {part.shape[1]} are shown."
    said = labels.joined(f"{n}, output × input channels. One scale, centred on zero.", cut)
    labels.note(figure, said)
    style.trim(figure)
    return Drawing(figure, _weight_table(part), f"Kernels of {name}. {said}")


def _place(image: NDArray[np.float32], one: NDArray[Any], row: int, column: int) -> None:
    large = np.repeat(np.repeat(one, _PIXELS, axis=0), _PIXELS, axis=1)
    top, left = row * (large.shape[0] + _SPACE), column * (large.shape[1] + _SPACE)
    image[top : top + large.shape[0], left : left + large.shape[1]] = large


def _blank(ax: Axes, top: float, left: float, height: float, image: NDArray[np.float32]) -> None:
    """Take the ground from where a row has no filter."""
    width = image.shape[1] - left
    if width > _SPACE:
        place = (left - 0.5, top - 0.5)
        ax.add_patch(mpl.patches.Rectangle(place, width + 1, height, color="white", linewidth=0))


def _show(ax: Axes, image: NDArray[np.float32], limit: float) -> Any:
    shown = ax.imshow(
        np.ma.masked_invalid(image), cmap=style.DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest"
    )
    ax.set_facecolor(_BETWEEN)
    ax.spines[:].set_visible(False)
    return shown


def _filter_table(layers: Sequence[NDArray[Any]], names: Sequence[str]) -> pd.DataFrame:
    frames = []
    for name, layer in zip(names, layers, strict=False):
        flat = np.asarray(layer).reshape(len(layer), -1)
        frame = pd.DataFrame(flat, columns=[f"value_{i}" for i in range(flat.shape[1])])
        frame.insert(0, "filter", np.arange(len(flat)))
        frame.insert(0, "layer", name)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["layer", "filter"])


def _weight_table(part: NDArray[Any]) -> pd.DataFrame:
    out, into = np.indices(part.shape[:2]).reshape(2, -1)
    flat = part.reshape(len(out), -1)
    values = pd.DataFrame(flat, columns=[f"value_{i}" for i in range(flat.shape[1])])
    return pd.concat([pd.DataFrame({"output": out, "input": into}), values], axis="columns")
