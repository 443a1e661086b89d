"""Layers on which torchconvquality and filterdb differ, and the table of docs/metrics.md that says how."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
HEAD: Final = "| layer | key | torchconvquality | filterdb | because |"
Weight = NDArray[np.float32]


class Row(NamedTuple):
    """A row of the table, for one of its keys."""

    layer: str
    key: str
    theirs: str
    ours: str
    because: str


def documented() -> list[Row]:
    """Return the rows of the table."""
    lines = PAGE.read_text("utf-8").split(HEAD)[1].strip().splitlines()[1:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        layer, keys, theirs, ours, because = (cell.strip() for cell in line.strip("|").split("|"))
        rows += [Row(layer, key.strip("`"), theirs, ours, because) for key in keys.split(", ")]
    return rows


def written(value: float) -> str:
    """Write a metric as the table does; what is below 1e-6 is rounding."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return "0" if abs(value) < 1e-6 else f"{value:.4f}"


def _normal(out_channels: int, in_channels: int) -> Weight:
    values = np.random.default_rng(1).normal(0, 0.1, (out_channels, in_channels, 3, 3))
    return values.astype(np.float32)


def _centre_only() -> Weight:
    weight = np.zeros((8, 4, 3, 3), np.float32)
    weight[:, :, 1, 1] = _normal(8, 4)[:, :, 1, 1]
    return weight


def _one_dense() -> Weight:
    weight = _normal(8, 4)
    weight.reshape(-1, 9)[1:] *= np.float32(1e-4)
    return weight


SPECIAL: Final[dict[str, Weight]] = {
    "all zero": np.zeros((8, 4, 3, 3), np.float32),
    "all 0.7": np.full((48, 24, 3, 3), 0.7, np.float32),
    "zero but for the kernels' centre (rank 1)": _centre_only(),
    "all sparse but one filter": _one_dense(),
    "normal values times 1e25": _normal(8, 4) * np.float32(1e25),
    "normal values times 1e-25": _normal(8, 4) * np.float32(1e-25),
    "one filter": _normal(1, 1),
    "two filters, one output channel": _normal(1, 2),
    "three filters, one output channel": _normal(1, 3),
}
"""Weights, by what the table calls them."""
