"""What the shifts between groups say, in sentences: how large, between whom, and what may be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from filterdb.report.blocks import Finding
from filterdb.report.wording import axis_title, chance, counted, decimal, listed

LEVEL: Final = 0.05
"""From this adjusted p on, a pair is not told apart from chance."""

FEWEST_MODELS: Final = 5
"""Models a group needs before anything is said about chance."""

_SHOWN: Final = 5
_INTERVALS: Final = (
    "The interval is of the distance between the populations that the models stand for, less what chance "
    "adds: D itself may lie above it. With few models it is wide, and may begin at 0 beside a small p."
)
_MEASURES: Final = {
    "paper": "symmetric KL divergence",
    "jensen_shannon": "Jensen-Shannon divergence",
    "wasserstein": "Wasserstein-1 distance",
}


@dataclass(frozen=True, slots=True)
class AxisSummary:
    """What the pairs of one axis show together.

    Parameters
    ----------
    name
        The axis.
    pairs, known, tested, beyond
        How many pairs there are, have a distance, could be tested, and differ by more than chance.
    median, largest
        Of D.
    excess
        Median of D less what chance gives, over the tested pairs; NaN where none was tested.
    few
        Groups of too few models, with their number of models.
    groups
        How many groups there are.
    least_p
        The least adjusted p that the permutations can give.
    """

    name: str
    pairs: int
    known: int
    tested: int
    beyond: int
    median: float
    largest: float
    excess: float
    few: tuple[tuple[str, int], ...]
    groups: int
    least_p: float


def summarize(name: str, pairs: pd.DataFrame, groups: pd.DataFrame, *, permutations: int) -> AxisSummary:
    """Return what the pairs of one axis show together.

    Parameters
    ----------
    name
        The axis.
    pairs
        The long table, one row a pair.
    groups
        One row a group, with its number of models.
    permutations
        How often labels were permuted.
    """
    known, tested = pairs[pairs["D"].notna()], pairs[pairs["p_holm"].notna()]
    few = groups[groups["models"] < FEWEST_MODELS]
    return AxisSummary(
        name=name,
        pairs=len(pairs),
        known=len(known),
        tested=len(tested),
        beyond=int((tested["p_holm"] < LEVEL).sum()),
        median=float(known["D"].median()),
        largest=float(known["D"].max()),
        excess=float(tested["excess"].median()),
        few=tuple(zip(few["group"].tolist(), few["models"].astype(int).tolist(), strict=True)),
        groups=len(groups),
        least_p=len(tested) / (permutations + 1),
    )


def verdict(p_holm: float, d: float) -> str:
    """Return what is known of a pair, in two or three words."""
    if np.isnan(d):
        return "no distance"
    if np.isnan(p_holm):
        return "not tested"
    return "beyond chance" if p_holm < LEVEL else "may be chance"


def drift_findings(
    summaries: Sequence[AxisSummary], pairs: Mapping[str, pd.DataFrame], *, measure: str
) -> list[Finding]:
    """Return what all axes say: which shifts most, which pairs stand out, and what is not to be told.

    Parameters
    ----------
    summaries
        One an axis.
    pairs
        The long table of every axis.
    measure
        Name of the measure that D is.
    """
    if not summaries:
        return [Finding("No groups were compared.", ("The analysis has no axis with at least two groups.",))]
    found = [_most(summaries, measure), _largest(summaries, pairs), _may_be_chance(summaries)]
    found += [finding for finding in (_few(summaries), _coarse(summaries)) if finding is not None]
    return found


def _most(summaries: Sequence[AxisSummary], measure: str) -> Finding:
    tested = sorted((s for s in summaries if s.tested), key=lambda s: -s.excess)
    caution = (
        f"D is the {_MEASURES.get(measure, measure)}. It is never below zero and grows when groups have few "
        "models, so axes are compared by what exceeds chance, not by D itself."
    )
    if not tested:
        most = max(summaries, key=lambda s: -np.inf if np.isnan(s.median) else s.median)
        return Finding(
            "No axis could be tested against chance.",
            (f"The largest median D is that of {axis_title(most.name)}: {decimal(most.median)}.",),
            caution,
        )
    first, *others = tested
    if first.excess > 0:
        head = f"Filters differ most by {axis_title(first.name)}"
        head += f", of {counted(len(tested), 'axis', 'axes')} that could be tested." if others else "."
    else:
        head = "Along no axis do filters differ by more than chance in the median pair of groups."
    details = tuple(
        f"By {axis_title(s.name)}: D {_beside_chance(s.excess)} in the median of "
        f"{counted(s.tested, 'tested pair')}; median D {decimal(s.median)}, largest {decimal(s.largest)}; "
        f"{s.beyond:,} beyond chance."
        for s in tested
    )
    return Finding(head, details, caution)


def _beside_chance(excess: float) -> str:
    if decimal(excess) == decimal(0):
        return "is what chance gives"
    way = "exceeds chance" if excess >= 0 else "falls short of chance"
    return f"{way} by {decimal(abs(excess))}"


def _largest(summaries: Sequence[AxisSummary], pairs: Mapping[str, pd.DataFrame]) -> Finding:
    """Name the pairs that stand out most, or say that none does."""
    table = pd.concat([pairs[s.name].assign(axis=s.name, tested=s.tested) for s in summaries])
    beyond = table[table["p_holm"] < LEVEL].sort_values("excess", ascending=False, kind="stable")
    if len(beyond):
        shown = beyond.head(_SHOWN)
        head = f"{counted(len(beyond), 'pair')} of groups differ by more than chance."
        if len(beyond) == 1:
            head = "One pair of groups differs by more than chance."
        more = f" The {len(shown)} that exceed it most:" if len(beyond) > len(shown) else ""
        return Finding(head + more, tuple(_pair(row) for row in shown.to_dict("records")), _INTERVALS)
    known = table[table["D"].notna()].sort_values("D", ascending=False, kind="stable")
    details = tuple(_pair(row) for row in known.head(3).to_dict("records"))
    return Finding(
        "No pair of groups differs by more than chance."
        + (" The largest distances, which may be chance:" if details else ""),
        details,
        _INTERVALS if known["p_holm"].notna().any() else "",
    )


def _pair(row: Mapping[Any, Any]) -> str:
    head = f"{row['group_a']} and {row['group_b']}, by {axis_title(row['axis'])}: D = {decimal(row['D'])}"
    if pd.isna(row["p_holm"]):
        return f"{head}; not tested: {row['reason']}."
    p = float(row["p_holm"])
    return (
        f"{head} (95% interval {decimal(row['low'])} to {decimal(row['high'])}), of which chance gives "
        f"{decimal(row['null_mean'])}; {chance(p)} after adjustment for "
        f"{counted(int(row['tested']), 'pair')}."
    )


def _may_be_chance(summaries: Sequence[AxisSummary]) -> Finding:
    tested = [s for s in summaries if s.tested]
    pairs, beyond = sum(s.tested for s in tested), sum(s.beyond for s in tested)
    if not pairs:
        return Finding("Of no pair can be said whether chance explains it.")
    details = tuple(
        f"By {axis_title(s.name)}: {'all' if not s.beyond else f'{s.tested - s.beyond:,} of'} "
        f"{counted(s.tested, 'pair')}."
        for s in tested
        if s.beyond < s.tested
    )
    return Finding(
        f"{pairs - beyond:,} of {counted(pairs, 'tested pair')} cannot be told apart from chance.",
        details,
        "That a difference cannot be shown does not show that there is none.",
    )


def _few(summaries: Sequence[AxisSummary]) -> Finding | None:
    short = [s for s in summaries if s.few]
    if not short:
        return None
    details = tuple(
        f"By {axis_title(s.name)}: {len(s.few):,} of {counted(s.groups, 'group')}: "
        f"{listed([f'{name} ({models:,})' for name, models in s.few])}."
        for s in short
    )
    return Finding(
        f"{counted(sum(len(s.few) for s in short), 'group')} with fewer than {FEWEST_MODELS} models "
        "cannot be tested (number of models in brackets).",
        details,
        "Their D is shown, without an interval and without a p.",
    )


def _coarse(summaries: Sequence[AxisSummary]) -> Finding | None:
    """Say where the permutations are too few for any pair to pass."""
    blind = [s for s in summaries if s.least_p >= LEVEL]
    if not blind:
        return None
    details = tuple(
        f"By {axis_title(s.name)}: no p can fall below {decimal(min(1.0, s.least_p))} after adjustment for "
        f"{counted(s.tested, 'pair')}."
        for s in blind
    )
    return Finding(
        "Along some axes no pair could have passed: the permutations are too few.",
        details,
        "More permutations, which the configuration sets, would show finer differences.",
    )
