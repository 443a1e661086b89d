"""The tables that readers sort and filter: every model, every pair of groups, the layers of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.report.blocks import Cell, Column, Fold, Link, Table
from filterdb.report.drift import verdict
from filterdb.report.holdings import STATUSES
from filterdb.report.notable import Notable
from filterdb.report.pixels import strip
from filterdb.report.wording import NONE, axis_title, counted, decimal, percent, text, whole

MOST_PAIRS: Final = 1_000
_FACET_VALUES: Final = 60
"""A column of more values is searched, not chosen from."""

_METRICS: Final = (
    ("Sparsity", "sparsity"),
    ("H/T_H", "variance_entropy_norm"),
    ("Orthogonality", "orthogonality"),
)


def model_table(
    files: pd.DataFrame,
    models: pd.DataFrame,
    groups: Mapping[str, Mapping[Any, str]],
    shown: Sequence[Notable],
) -> Table:
    """Return a row for every model, those without filters and those that failed too.

    Parameters
    ----------
    files
        One row a file of the zoo.
    models
        Metrics of those that have filters.
    groups
        What each model is, by the name of a column.
    shown
        Models whose layers the page shows, too.
    """
    folded = {one.model_id: f"model-{place}" for place, one in enumerate(shown)}
    columns = (
        Column("Model"),
        *(Column(name, facet=len(set(found.values())) <= _FACET_VALUES) for name, found in groups.items()),
        Column("Layers", "number"),
        Column("Filters", "number"),
        *(Column(title, "number") for title, _ in _METRICS),
        Column("Degenerate", "number"),
        Column("Status", "label", facet=True),
    )
    measured = models.to_dict("index")
    rows = []
    for model_id, file in files.to_dict("index").items():
        name = text(file["name"])
        first: Cell = Link(name, folded[model_id]) if model_id in folded else name
        named = [found.get(model_id, NONE) for found in groups.values()]
        status = STATUSES.get(str(file["status"]), text(file["status"]))
        rows.append((first, *named, *_measured(measured.get(model_id)), status))
    return Table("models-table", "Every model of the data set", columns, tuple(rows), tools=True)


def _measured(row: Mapping[Any, Any] | None) -> tuple[str, ...]:
    if row is None:
        return ("0", "0", *[NONE] * (len(_METRICS) + 1))
    share = row["degenerate_layers"] / row["layers"] if row["layers"] else np.nan
    metrics = (decimal(row[metric]) for _, metric in _METRICS)
    return whole(row["layers"]), whole(row["n"]), *metrics, percent(share)


def pair_table(pairs: Mapping[str, pd.DataFrame], *, most: int = MOST_PAIRS) -> Table:
    """Return a row for every pair of groups; of very many, those with the largest D.

    Parameters
    ----------
    pairs
        The long table of every axis.
    most
        Rows that are shown.
    """
    table = pd.concat([one.assign(axis=name) for name, one in pairs.items()], ignore_index=True)
    shown = table.sort_values("D", ascending=False, kind="stable").head(most)
    columns = (
        Column("Pair"),
        Column("Axis", "label", facet=True),
        Column("D", "number"),
        Column("95% interval", "number"),
        Column("By chance", "number"),
        Column("Excess", "number"),
        Column("p, Holm", "number"),
        Column("Verdict", "label", facet=True),
        Column("Models", "label"),
    )
    rows = tuple(_pair_row(row) for row in shown.to_dict("records"))
    note = ""
    if len(shown) < len(table):
        note = (
            f"The {len(shown):,} largest of {counted(len(table), 'pair')}; the files shift/*.csv of the "
            "results have them all."
        )
    return Table("pairs-table", "Pairs of groups, the largest D first", columns, rows, tools=True, note=note)


def _pair_row(row: Mapping[Any, Any]) -> tuple[Cell, ...]:
    tested = not pd.isna(row["p_holm"])
    interval = f"{decimal(row['low'])} to {decimal(row['high'])}" if tested else NONE
    return (
        f"{row['group_a']} – {row['group_b']}",
        axis_title(row["axis"]),
        decimal(row["D"]),
        interval,
        decimal(row["null_mean"]),
        decimal(row["excess"]),
        decimal(row["p_holm"]),
        verdict(float(row["p_holm"]), float(row["D"])),
        f"{row['models_a']:,} and {row['models_b']:,}",
    )


def layer_fold(
    place: int, one: Notable, layers: pd.DataFrame, kernels: Mapping[int, NDArray[np.float32]]
) -> Fold:
    """Return the layers of a model, with the first kernels of each.

    Parameters
    ----------
    place
        Of the model on the page.
    one
        The model, and why it is shown.
    layers
        Its layers, with metrics and labels.
    kernels
        By the place of a layer in ``layers``: its first kernels, n x height x width. Only those layers
        are shown.
    """
    columns = (
        Column("Layer"),
        Column("Depth", "number"),
        Column("Filters", "number"),
        Column("Sparsity", "number"),
        Column("H/T_H", "number"),
        Column("Orthogonality", "number"),
        Column("Label"),
        Column("First kernels", "image"),
    )
    rows: list[tuple[Cell, ...]] = []
    depths = layers.index.get_level_values("conv_depth")
    for row_place, found in kernels.items():
        row = layers.iloc[row_place]
        metrics = (decimal(row[metric]) for _, metric in _METRICS)
        alt = f"The first {len(found)} of {int(row['n']):,} kernels of {row['layer_name']}"
        rows.append(
            (
                text(row["layer_name"]),
                whole(depths[row_place]),
                whole(row["n"]),
                *metrics,
                _label(row),
                strip(found, alt=alt),
            )
        )
    note = ""
    if len(rows) < len(layers):
        note = f"{len(rows)} of its {counted(len(layers), 'layer')}, evenly over depth."
    table = Table(f"layers-{place}", f"Layers of {one.name}", columns, tuple(rows), note=note)
    return Fold(f"model-{place}", one.name, "; ".join(one.reasons), (table,))


def _label(layer: pd.Series[Any]) -> str:
    """Return the label of a layer; one that is random is degenerate by that alone."""
    if layer["random"]:
        return "random"
    names = [name for name in ("low_diversity", "degenerate") if layer[name]]
    return ", ".join(names).replace("_", " ") or NONE
