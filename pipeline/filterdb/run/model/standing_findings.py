"""What the place of a model in a data set comes to, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import pandas as pd

from filterdb.quality import LEAST_PEERS, Rank
from filterdb.run import text_table as text
from filterdb.stats import Cube

EXTREME: Final = 0.95
"""A layer is worth a sentence if it exceeds this share of its peers."""

_WORDS: Final[Mapping[str, str]] = {
    "sparsity": "sparse",
    "variance_entropy": "varied",
    "orthogonality": "orthogonal",
}
_NAMES: Final[Mapping[str, str]] = {
    "sparsity": "sparsity",
    "variance_entropy": "variance entropy",
    "orthogonality": "orthogonality",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What the sentences are made of.

    Parameters
    ----------
    rows, ranks
        The layers, and the rank of each of their metrics.
    drift, nearest, copies
        As :class:`filterdb.run.model.standing.Standing` has them.
    cube
        Statistics and counts of the layers.
    """

    rows: Sequence[Mapping[str, Any]]
    ranks: Sequence[Mapping[str, Rank]]
    drift: Mapping[str, pd.DataFrame]
    nearest: pd.DataFrame
    copies: pd.DataFrame
    cube: Cube


def sentences(told: Told) -> Iterator[str]:
    """Yield the findings, the most important first.

    Parameters
    ----------
    told
        What was found.
    """
    yield from _copies(told.copies)
    yield from _nearest(told.nearest)
    yield from _closest(told.drift)
    yield from _extremes(told)
    yield from _middle(told)
    if outside := int(told.cube.outside.sum()):
        total = int(told.cube.rows["finite"].sum()) * told.cube.counts.shape[1]
        yield (
            f"{outside:,} of {total:,} coefficients ({text.share_cell(outside / total)}) are outside the "
            "range of the results, in no bin: D says nothing of them"
        )


def _copies(copies: pd.DataFrame) -> Iterator[str]:
    """Say which models of the data set are the model itself, and which have layers in common with it."""
    whole = copies["same_model"]
    if whole.any():
        names = text.some(copies.loc[whole, "model"].tolist(), "models")
        layers = text.plural(int(copies.loc[whole, "layers"].sum()), "layer")
        yield f"the model is in the data set, as {names}: {layers} with the same weights are left out"
    parts = copies[~whole]
    if len(parts):
        names = text.some(parts["model"].tolist(), "models")
        layers = text.plural(int(parts["same_layers"].sum()), "layer")
        have = "has" if len(parts) == 1 else "have"
        yield f"{names} {have} {layers} with the same weights, left out of peers and groups"


def _nearest(nearest: pd.DataFrame) -> Iterator[str]:
    if nearest["D"].notna().any():
        first = nearest.iloc[0]
        said = [first[name] for name in ("Task", "Visual Category") if name in nearest.columns]
        about = "".join(f", {text.name_cell(value)}" for value in said if isinstance(value, str))
        yield (
            f"the nearest of {text.plural(len(nearest), 'model')} is "
            f"{text.name_cell(first['model'])}{about} (D = {first['D']:.3f})"
        )


def _closest(drift: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    for axis, table in drift.items():
        known = table[table["D"].notna()]
        groups = [
            f"{text.name_cell(group)} ({'D = ' if place == 0 else ''}{distance:.3f})"
            for place, (group, distance) in enumerate(zip(known["group"], known["D"], strict=True))
        ]
        if groups:
            further = f"; furthest: {groups[-1]}" if len(groups) > 1 else ""
            yield f"closest {text.name_cell(axis)}: {groups[0]}{further}"


def _extremes(told: Told) -> Iterator[str]:
    """Name the layers that are more or less of something than nearly all of their peers."""
    for metric, word in _WORDS.items():
        for how, share in (("more", "below"), ("less", "above")):
            found = [
                (getattr(ranks[metric], share), row)
                for row, ranks in zip(told.rows, told.ranks, strict=True)
                if row["peers"] >= LEAST_PEERS and getattr(ranks[metric], share) >= EXTREME
            ]
            if found:
                yield _extreme(f"{how} {word}", min(part for part, _ in found), [row for _, row in found])


def _extreme(what: str, share: float, rows: Sequence[Mapping[str, Any]]) -> str:
    percent = math.floor(100 * share + 1e-9)
    names = text.some([row["layer"] for row in rows])
    if len(rows) > 1:
        most = "all" if percent == 100 else f"at least {percent} %"
        return f"{what} than {most} of the layers of {_scope(rows, 'their')}: {names}"
    most = "all" if percent == 100 else f"{percent} %"
    return f"{names} is {what} than {most} of the {rows[0]['peers']:,} layers of {_scope(rows, 'its')}"


def _scope(rows: Sequence[Mapping[str, Any]], whose: str) -> str:
    if any(row["depth_decile"] is None for row in rows):
        return f"{whose} size"
    return (
        f"{whose} depth and size" if any(row["peers_factor"] < math.inf for row in rows) else f"{whose} depth"
    )


def _middle(told: Told) -> Iterator[str]:
    """Say where the layers stand on the whole."""
    parts = []
    for metric, name in _NAMES.items():
        known = [ranks[metric].percentile for ranks in told.ranks]
        known = [value for value in known if not math.isnan(value)]
        if known:
            parts.append(f"{median(known):.0f} in {name}")
    if parts and len(told.rows) > 1:
        yield f"median percentile of its layers: {', '.join(parts)}"
