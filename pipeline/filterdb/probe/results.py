"""What the results of all probes are made with: tables with a row a layer, means, and plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def layer_frame(layers: Iterable[object], names: Sequence[str]) -> pd.DataFrame:
    """Return one row a layer, numbered in the order of execution.

    Parameters
    ----------
    layers
        What was found of each.
    names
        The attributes that become columns.
    """
    import pandas as pd

    rows = [
        {"position": place, **{name: getattr(layer, name) for name in names}}
        for place, layer in enumerate(layers)
    ]
    return pd.DataFrame(rows, columns=["position", *names])


def mean_of(values: Iterable[float]) -> float:
    """Return the mean of what is defined; NaN where nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row of a table as JSON can hold it: what is not defined is null."""
    return {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
