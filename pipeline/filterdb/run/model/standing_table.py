"""Where a model stands, as tables that a person reads and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from filterdb.errors import printable
from filterdb.quality import LEAST_PEERS
from filterdb.run import text_table
from filterdb.run.model import quality_table
from filterdb.run.model.standing import Standing
from filterdb.run.text_table import Column, Row, number_cell, share_cell
from filterdb.types import SkippedLayer

NEAREST: Final = 5
GROUPS: Final = 8
"""How many models and groups of an axis a person is shown; ``--json`` has them all."""

_CELL: Final = 18


def layer_rows(standing: Standing) -> list[dict[str, Any]]:
    """Return the layers as rows, for :func:`filterdb.run.model.quality_table.select`.

    Parameters
    ----------
    standing
        Where the model stands.
    """
    return _plain(standing.layers.reset_index().astype(object))


def summary(
    file: str, standing: Standing, rows: Sequence[Row], skipped: Sequence[SkippedLayer]
) -> dict[str, Any]:
    """Return everything as plain data; what is not defined is null, since JSON knows no NaN.

    Parameters
    ----------
    file
        Where the model is.
    standing
        Where it stands.
    rows, skipped
        What :func:`filterdb.run.model.quality_table.select` returns.
    """
    return {
        "file": file,
        "results": str(standing.results),
        "compared_with": dict(standing.facts),
        "findings": list(standing.findings),
        "notes": list(standing.notes),
        **{
            name: value
            for name, value in quality_table.summary(file, rows, skipped).items()
            if name != "file"
        },
        "drift": {axis: _records(table) for axis, table in standing.drift.items()},
        "nearest": _records(standing.nearest),
        "copies": _records(standing.copies),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return _plain(table.astype(object).where(table.notna(), None))


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def as_text(
    file: str,
    standing: Standing,
    rows: Sequence[Row],
    skipped: Sequence[SkippedLayer],
    *,
    colour: bool = False,
) -> str:
    """Return the findings, a table of the layers, and the distances to groups and models.

    Parameters
    ----------
    file
        Where the model is.
    standing
        Where it stands.
    rows, skipped
        What :func:`filterdb.run.model.quality_table.select` returns.
    colour
        Mark layers with a label by colour too.
    """
    paint = text_table.painter(colour=colour)
    facts = standing.facts
    beside = f"{text_table.plural(facts['layers'], 'layer')} of {text_table.plural(facts['models'], 'model')}"
    lines = [printable(file), f"beside {printable(str(standing.results))}: {beside}", ""]
    lines += text_table.wrapped(standing.findings)
    if rows:
        marks = {"mark": quality_table.mark, "style": quality_table.style}
        lines += ["", *text_table.table_lines(rows, _LAYERS, paint, **marks), *_peers(rows)]
    for axis, table in standing.drift.items():
        lines += ["", *_groups(axis, table, paint)]
    lines += ["", *_models(standing.nearest, paint)]
    lines += quality_table.notes(rows)
    if standing.notes:
        lines += ["", *text_table.wrapped(f"note: {printable(note)}" for note in standing.notes)]
    lines += quality_table.skipped_lines(skipped)
    return "\n".join([*lines, "", paint(quality_table.closing(rows, skipped), text_table.BOLD)])


def _percentile(metric: str) -> Column:
    return Column("pct", lambda row: _whole(row[f"{metric}_percentile"]))


def _whole(value: float) -> str:
    """Return a percentile; one that is not at an end does not look as if it were."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value in (0, 100) else f"{min(max(value, 1), 99):.0f}"


_LAYERS: Final = (
    Column("layer", lambda row: text_table.name_cell(row["layer"]), right=False),
    Column("out x in", lambda row: f"{row['out_channels']}x{row['in_channels']}"),
    Column("sparse", lambda row: share_cell(row["sparsity"])),
    _percentile("sparsity"),
    Column("H", lambda row: number_cell(row["variance_entropy"])),
    _percentile("variance_entropy"),
    Column("orth.", lambda row: number_cell(row["orthogonality"])),
    _percentile("orthogonality"),
    Column("peers", lambda row: f"{row['peers']:,}"),
    Column("labels", lambda row: _labels(row), right=False),
)


def _labels(row: Row) -> str:
    found = [short for name, short in (("random", "random"), ("low_diversity", "low div.")) if row[name]]
    return ", ".join(found) or ("degenerate" if row["degenerate"] else "")


def _peers(rows: Sequence[Row]) -> list[str]:
    """Say what the percentiles are of."""
    known = any(isinstance(row["depth_decile"], str) for row in rows)
    depth = "of the same tenth of depth" if known else "of any depth"
    told = [
        "pct: percentile among the peers, layers of the data set "
        f"{depth} with at most twice as many filters and at least half as many"
    ]
    wider = [row for row in rows if row["peers_factor"] > 2]
    if wider:
        told.append(
            f"up to {_factor(wider)} for {text_table.plural(len(wider), 'layer')} that would have fewer than "
            f"{LEAST_PEERS} peers else"
        )
    return ["", *text_table.wrapped(["; ".join(told)])]


def _factor(rows: Sequence[Row]) -> str:
    most = max(row["peers_factor"] for row in rows)
    return "any number" if math.isinf(most) else f"{most:.0f} times as many or as few"


def _groups(axis: str, table: pd.DataFrame, paint: text_table.Paint) -> list[str]:
    columns = (
        Column(
            f"drift to {text_table.name_cell(axis)}",
            lambda row: text_table.name_cell(row["group"]),
            right=False,
        ),
        Column("D", lambda row: number_cell(row["D"])),
        *(_count(name) for name in ("filters", "layers", "models")),
        Column("", lambda row: _short(row["reason"]), right=False),
    )
    return _ranked(table, columns, GROUPS, "groups", paint)


def _models(table: pd.DataFrame, paint: text_table.Paint) -> list[str]:
    described = [name for name in ("Task", "Visual Category") if name in table and table[name].notna().any()]
    columns = (
        _named("nearest models", "model"),
        Column("D", lambda row: number_cell(row["D"])),
        _count("filters"),
        *(_described(name) for name in described),
        Column("", lambda row: _shared(row), right=False),
    )
    return _ranked(table, columns, NEAREST, "models", paint)


def _ranked(
    table: pd.DataFrame, columns: Sequence[Column], shown: int, what: str, paint: text_table.Paint
) -> list[str]:
    """Return the first rows as a table, and how many more there are."""
    rows = _plain(table.head(shown).astype(object))
    more = len(table) - shown
    rest = [f"  and {more:,} more {what}; --json lists them all"] if more > 0 else []
    return [*text_table.table_lines(rows, columns, paint), *rest]


def _named(title: str, name: str) -> Column:
    return Column(title, lambda row: text_table.name_cell(row[name]), right=False)


def _count(name: str) -> Column:
    return Column(name, lambda row: f"{row[name]:,}")


def _described(name: str) -> Column:
    return Column(name, lambda row: _short(row[name]) if isinstance(row[name], str) else "-", right=False)


def _shared(row: Row) -> str:
    if row["same_layers"]:
        return text_table.plural(row["same_layers"], "same layer")
    return _short(row["reason"])


def _short(value: str) -> str:
    return text_table.cut(printable(value), _CELL)
