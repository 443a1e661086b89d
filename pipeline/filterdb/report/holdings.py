"""What a data set holds, and what of the zoo is not in it, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from filterdb.report.blocks import Block, Column, Facts, Fold, Prose, Table
from filterdb.report.wording import axis_title, counted, listed, text, whole

FAILED: Final = ("failed", "crashed")
STATUSES: Final = {"ok": "ok", "no_filters": "no filters", "failed": "failed", "crashed": "crashed"}


def key_facts(meta: pd.DataFrame, models: pd.DataFrame, n_filters: int, *, whole_zoo: bool = True) -> Facts:
    """Return the few numbers that say how large a data set is.

    Parameters
    ----------
    meta, models
        One row a layer, and one a file of the zoo.
    n_filters
        How many filters there are.
    whole_zoo
        The data set tells of the models without filters, too.
    """
    with_filters = int((models["n_records"] > 0).sum())
    failed = int(models["status"].isin(FAILED).sum())
    facts = [
        ("filters", f"{n_filters:,}"),
        ("layers", f"{len(meta):,}"),
        ("models with filters", f"{with_filters:,}"),
    ]
    if whole_zoo:
        facts += [
            ("models without", f"{len(models) - with_filters - failed:,}"),
            ("models that failed", f"{failed:,}"),
        ]
    return Facts(tuple(facts), large=True)


def group_tables(groups: Mapping[str, pd.DataFrame], stems: Mapping[str, str]) -> list[Block]:
    """Return how many filters, layers and models each group of each axis has.

    Parameters
    ----------
    groups
        One row a group, by the axis' name.
    stems
        What an axis is called in names within the page.
    """
    made: list[Block] = []
    for name, table in groups.items():
        title = axis_title(name)
        title = title[:1].upper() + title[1:]
        ordered = table if name == "depth_decile" else table.sort_values("filters", ascending=False)
        rows = tuple(
            (str(row["group"]), whole(row["filters"]), whole(row["layers"]), whole(row["models"]))
            for row in ordered.to_dict("records")
        )
        columns = (
            Column(title),
            *(Column(title, "number") for title in ("Filters", "Layers", "Models")),
        )
        content = Table(
            f"groups-{stems[name]}", f"Groups of {axis_title(name)}", columns, rows, tools=len(rows) > 12
        )
        made.append(Fold(f"fold-groups-{stems[name]}", title, counted(len(rows), "group"), (content,)))
    return made


def missing_blocks(
    models: pd.DataFrame, skipped: pd.DataFrame, *, weights: Sequence[str] = (), notes: Sequence[str] = ()
) -> list[Block]:
    """Say what of the zoo is not in the data set, and why.

    Parameters
    ----------
    models
        One row a file of the zoo.
    skipped
        One row a layer that has no record.
    weights
        What :func:`weight_sentences` says.
    notes
        What the analysis noted.
    """
    made: list[Block] = [Prose((" ".join([*_sentences(models, skipped), *weights]),))]
    failed = models[models["status"].isin(FAILED)]
    if len(failed):
        rows = tuple(
            (text(path), STATUSES.get(str(status), str(status)), text(reason))
            for path, status, reason in zip(failed["path"], failed["status"], failed["reason"], strict=True)
        )
        columns = (Column("File"), Column("Status"), Column("Reason"))
        made.append(Table("failed", "Models that failed", columns, rows, tools=len(rows) > 12))
    if len(skipped):
        counts = skipped.groupby("reason").agg(layers=("reason", "size"), models=("model_id", "nunique"))
        counts = counts.sort_values(["layers"], ascending=False, kind="stable").reset_index()
        rows = tuple(
            (text(row["reason"]), whole(row["layers"]), whole(row["models"]))
            for row in counts.to_dict("records")
        )
        columns = (Column("Reason"), Column("Layers", "number"), Column("Models", "number"))
        table = Table("skipped", "Convolutions without a record, by reason", columns, rows)
        made.append(
            Fold("fold-skipped", "Convolutions without a record", counted(len(skipped), "layer"), (table,))
        )
    if notes:
        made.append(Prose(tuple(f"Note: {note}." for note in notes)))
    return made


def _sentences(models: pd.DataFrame, skipped: pd.DataFrame) -> list[str]:
    """Say in sentences what is missing; what is not known is not said."""
    failed = models[models["status"].isin(FAILED)]
    without = models[models["status"] == "no_filters"]
    said = []
    if len(failed):
        said.append(
            f"{counted(len(failed), 'model')} of {len(models):,} could not be read; the table says why."
        )
    else:
        said.append(f"All {counted(len(models), 'model')} could be read.")
    if len(without):
        names = listed(without["name"].astype(str).tolist())
        has = "has" if len(without) == 1 else "have"
        said.append(f"{counted(len(without), 'model')} {has} no filter of this size: {names}.")
    known = models["has_metadata"].dropna()
    lacking = models.loc[known.index[~known.astype(bool)], "name"].astype(str).tolist()
    if lacking and len(lacking) == len(models):
        said.append("No model has metadata, so that columns such as Task are empty.")
    elif lacking:
        has = "has" if len(lacking) == 1 else "have"
        said.append(f"{counted(len(lacking), 'model')} {has} no metadata: {listed(lacking)}.")
    if not len(skipped):
        said.append("Every convolution that was found has a record.")
    return said


def weight_sentences(meta: pd.DataFrame) -> list[str]:
    """Say which weights repeat others, and which values are no numbers; nothing where that is not known."""
    said = []
    if meta["duplicate_of"].notna().any():
        repeated = int((meta["duplicate_of"] >= 0).sum())
        verb = "repeats" if repeated == 1 else "repeat"
        said.append(
            f"{counted(repeated, 'layer')} {verb} the weights of an earlier one; they count like all others."
            if repeated
            else "No two layers have the same weights."
        )
    if meta["nonfinite"].notna().any():
        values = int(meta["nonfinite"].sum())
        if values:
            said.append(f"{counted(values, 'value')} are NaN or infinite; their filters are in no statistic.")
    return said
