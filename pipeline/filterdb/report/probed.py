"""What probes found in the models of a zoo, in sentences, figures and a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from filterdb.report.blocks import Block, Column, Finding, Findings, Heading, Picture, Prose, Table
from filterdb.report.wording import counted, decimal, listed, percent, text, whole

ENTROPY: Final = "variance_entropy_norm"
"""The metric of filters that a probe's values stand against."""

_EXTREMES: Final = 3
_PAIRS: Final = 5
_ALIKE: Final = 0.95
_TREND_LAYERS: Final = 5

_TITLES: Final = {
    "saturation": "Saturation",
    "sparsity": "Sparsity score",
    "cka": "Similarity of layers (CKA)",
}
_EXPLAINED: Final = {
    "saturation": "Saturation is the share of the directions of a layer's activations that explain nearly "
    "all of their variance: low where a layer has more channels than it uses. A tail is a run of last "
    "layers, each below half of the mean.",
    "sparsity": "The sparsity score alpha says how plainly a layer's features tell the labels apart: higher "
    "where fewer, larger steps of a regression tree do. It is comparable between layers over the same data.",
    "cka": "CKA is 1 where two layers represent the data alike but for a rotation and a scale, and 0 where "
    "independently. A layer that is like the next one has little left to do.",
}
_COLUMNS: Final = {
    "saturation": (("Mean saturation", "saturation"), ("Layers in the tail", "tail")),
    "sparsity": (("Mean alpha", "alpha"), ("Alpha of the last layer", "alpha_last")),
    "cka": (
        ("Mean CKA of all pairs", "cka"),
        ("Of neighbours", "neighbours"),
        ("With the most alike", "best"),
    ),
}
_COUNTS: Final = frozenset({"tail"})


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe found.

    Parameters
    ----------
    what
        ``cka``, ``saturation`` or ``sparsity``.
    data
        What went through the models.
    models
        One row a model: its status, the reason of a failure, and totals.
    layers
        One row a layer: ``model``, ``layer``, ``position`` and ``value``; for CKA with the next one,
        ``layer_b``.
    correlation
        Rank correlation of the value with the variance entropy of the layers' filters, and its interval;
        nothing where no layer has both.
    figures
        Names of its figures.
    """

    what: str
    data: str
    models: pd.DataFrame
    layers: pd.DataFrame
    correlation: tuple[float, float, float] | None
    figures: tuple[str, ...]


def probe_blocks(found: Sequence[Probed], pictures: Mapping[str, Picture]) -> list[Block]:
    """Return what the section about probes shows.

    Parameters
    ----------
    found
        The probes.
    pictures
        Figures by their name.
    """
    blocks: list[Block] = []
    for one in found:
        blocks += [
            Heading(f"probe-{one.what}", _TITLES[one.what]),
            Prose((f"{_EXPLAINED[one.what]} The data: {one.data}.",)),
            Findings(tuple(_findings(one))),
            *(pictures[name] for name in one.figures if name in pictures),
            _table(one),
        ]
    return blocks


def _findings(one: Probed) -> list[Finding]:
    good = one.models[one.models["status"] == "ok"]
    found = [_range(one, good)]
    if one.what == "saturation":
        found.append(_tails(good))
    if one.what == "cka":
        found.append(_alike(one.layers))
    else:
        found.append(_trend(one))
    if one.correlation is not None and not pd.isna(one.correlation[0]):
        found.append(_against(one, one.correlation))
    failed = one.models[one.models["status"] != "ok"]
    if len(failed):
        found.append(_failed(failed))
    return found


def _range(one: Probed, good: pd.DataFrame) -> Finding:
    title, column = _COLUMNS[one.what][0]
    ranked = good.dropna(subset=[column]).sort_values([column, "model"], kind="stable")
    if ranked.empty:
        return Finding(f"In none of {counted(len(good), 'model')} is it defined.")
    head = (
        f"{title} is {decimal(ranked[column].median())} in the median of {counted(len(ranked), 'model')}, "
        f"from {decimal(ranked[column].iloc[0])} to {decimal(ranked[column].iloc[-1])}."
    )
    if len(ranked) < 2 * _EXTREMES:
        return Finding(head)
    low, high = ranked.head(_EXTREMES), ranked.tail(_EXTREMES).iloc[::-1]
    return Finding(head, (f"Lowest: {_named(low, column)}.", f"Highest: {_named(high, column)}."))


def _named(rows: pd.DataFrame, column: str) -> str:
    return listed([f"{row['model']} ({decimal(row[column])})" for row in rows.to_dict("records")])


def _tails(good: pd.DataFrame) -> Finding:
    tails = good[good["tail"].fillna(0) > 0].sort_values(["tail", "model"], ascending=[False, True])
    if tails.empty:
        return Finding("No model has a tail of layers that do little with the data.")
    named = [f"{row['model']} ({counted(int(row['tail']), 'layer')})" for row in tails.to_dict("records")]
    have = "has" if len(tails) == 1 else "have"
    return Finding(
        f"{counted(len(tails), 'model')} {have} a tail of layers that do little with the data.",
        (f"{listed(named)}.",),
        "Another data set may need these layers.",
    )


def _trend(one: Probed) -> Finding:
    """Say in how many models the value rises from layer to layer, by the sign of the rank correlation."""
    rising = falling = 0
    for _, rows in one.layers.dropna(subset=["value"]).groupby("model", sort=True):
        if len(rows) < _TREND_LAYERS or rows["value"].nunique() < 2:
            continue
        sign = rows["position"].rank().corr(rows["value"].rank())
        rising, falling = rising + (sign > 0), falling + (sign < 0)
    total = rising + falling
    if not total:
        return Finding(f"No model has {_TREND_LAYERS} layers, so nothing is said of depth.")
    more, way = max((rising, "rises"), (falling, "falls"))
    return Finding(
        f"From the first to the last layer it {way} in {more:,} of {counted(total, 'model')} of at least "
        f"{_TREND_LAYERS} layers."
    )


def _alike(layers: pd.DataFrame) -> Finding:
    known = layers.dropna(subset=["value"]).sort_values(
        ["value", "model", "position"], ascending=[False, True, True], kind="stable"
    )
    if known.empty:
        return Finding("No two neighbouring layers could be compared.")
    alike = int((known["value"] >= _ALIKE).sum())
    details = tuple(
        f"{row['model']}: {row['layer']} and {row['layer_b']} ({decimal(row['value'])})."
        for row in known.head(_PAIRS).to_dict("records")
    )
    return Finding(
        f"{alike:,} of {counted(len(known), 'pair')} of compared layers ({percent(alike, len(known))}) have "
        f"a CKA of at least {_ALIKE}. The most alike:",
        details,
    )


def _against(one: Probed, correlation: tuple[float, float, float]) -> Finding:
    rank, low, high = correlation
    way = "rises" if rank > 0 else "falls"
    interval = "" if pd.isna(low) else f" (95% interval over models {decimal(low)} to {decimal(high)})"
    sure = not pd.isna(low) and low * high > 0
    entropy = "the variance entropy of a layer's filters (H/T_H)"
    head = f"{_TITLES[one.what]} {way} with {entropy}."
    if not sure:
        head = f"{_TITLES[one.what]} and {entropy} show no clear relation."
    return Finding(head, (f"The rank correlation over layers is {decimal(rank)}{interval}.",))


def _failed(failed: pd.DataFrame) -> Finding:
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in failed.to_dict("records"):
        reasons[str(row["reason"])].append(str(row["model"]))
    details = tuple(f"{listed(names, 3)}: {why}." for why, names in reasons.items())
    return Finding(f"{counted(len(failed), 'model')} could not be probed.", details)


def _table(one: Probed) -> Table:
    columns = _COLUMNS[one.what]
    heads = (
        Column("Model"),
        Column("Layers", "number"),
        *(Column(title, "number") for title, _ in columns),
        Column("Status", "label", facet=True),
    )
    rows = tuple(
        (
            text(row["model"]),
            whole(row.get("layers")),
            *(_cell(row, name) for _, name in columns),
            text(row["status"]),
        )
        for row in one.models.to_dict("records")
    )
    return Table(f"probe-{one.what}-table", f"{_TITLES[one.what]} of every model", heads, rows, tools=True)


def _cell(row: Mapping[Any, Any], name: str) -> str:
    return whole(row.get(name)) if name in _COUNTS else decimal(row.get(name))
