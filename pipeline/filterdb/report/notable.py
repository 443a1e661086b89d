"""Models that a reader wants to see: the extremes of several metrics, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from filterdb.report.wording import decimal

MOST: Final = 20
_FEWEST_LAYERS: Final = 3


@dataclass(frozen=True, slots=True)
class Notable:
    """A model, and why it is shown.

    Parameters
    ----------
    model_id
        The model.
    name
        What it is called.
    reasons
        What it is an extreme of.
    """

    model_id: Any
    name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Criterion:
    column: str
    rising: bool
    told: Callable[[Any], str]


_CRITERIA: Final = (
    _Criterion(
        "share", False, lambda r: f"largest share of degenerate layers ({r.degenerate_layers} of {r.layers})"
    ),
    _Criterion("sparsity", False, lambda r: f"most sparse (S = {decimal(r.sparsity)})"),
    _Criterion(
        "variance_entropy_norm",
        True,
        lambda r: f"least varied (H/T_H = {decimal(r.variance_entropy_norm)})",
    ),
    _Criterion("orthogonality", True, lambda r: f"least orthogonal (O = {decimal(r.orthogonality)})"),
    _Criterion("n", False, lambda r: f"most filters ({r.n:,})"),
    _Criterion(
        "share", True, lambda r: f"smallest share of degenerate layers ({r.degenerate_layers} of {r.layers})"
    ),
)


def notable(models: pd.DataFrame, most: int = MOST) -> list[Notable]:
    """Return models that are extreme in something, by turns of the criteria.

    Parameters
    ----------
    models
        One row a model, with its metrics and counts.
    most
        How many are wanted.
    """
    table = models.assign(share=models["degenerate_layers"] / models["layers"])
    large = table[table["layers"] >= _FEWEST_LAYERS]
    table = table if large.empty else large
    rankings = [_ranked(table, criterion) for criterion in _CRITERIA]
    chosen: dict[Any, str] = {}
    for place in range(len(table)):
        for criterion, order in zip(_CRITERIA, rankings, strict=True):
            if place < len(order) and len(chosen) < most:
                chosen.setdefault(order[place], criterion.told(table.loc[order[place]]))
    return [Notable(one, str(table.loc[one, "model"]), (reason,)) for one, reason in chosen.items()]


def _ranked(table: pd.DataFrame, criterion: _Criterion) -> list[Any]:
    """Rank models by a criterion; one that is 0 or missing everywhere ranks none."""
    values = table[criterion.column].dropna()
    if values.nunique() < 2:
        return []
    # Larger models first where the criterion does not decide.
    order = table.loc[values.index].sort_values(
        [criterion.column, "layers", "model"], ascending=[criterion.rising, False, True], kind="stable"
    )
    return list(order.index)
