"""How far a model is from the groups and the models of a data set, from results alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb import quality, shift
from filterdb.config import LabelsConfig
from filterdb.errors import ColumnError, CorruptDataError, StoreError
from filterdb.run.model.same_weights import NONE
from filterdb.stats import Cube

if TYPE_CHECKING:
    from filterdb.api import FilterDB, Results

DESCRIBING: Final = ("Task", "Visual Category", "Training-Dataset", "Pretraining-Dataset")
"""What is said of the nearest models, beside the columns of the axes."""

_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class Held:
    """The results that a model is compared with.

    Parameters
    ----------
    path
        The folder.
    frame, cube
        All records, with all that they can be grouped by, and their counts.
    coordinates
        Where they were counted.
    settings
        What the analysis was asked for.
    chosen
        The records that count.
    """

    path: Path
    frame: pd.DataFrame
    cube: Cube
    coordinates: shift.CoordinateSystem
    settings: Mapping[str, Any]
    chosen: NDArray[np.bool_]

    @classmethod
    def of(cls, results: str | os.PathLike[str] | Results | FilterDB) -> Held:
        """Open results, and choose of all records those that the caller holds."""
        from filterdb.api import FilterDB, Results

        if isinstance(results, FilterDB):
            results = results.results
        held = results if isinstance(results, Results) else Results(results)
        # Groups are made of all layers, so that bins do not depend on the selection.
        whole = Results(held.path)
        if whole.manifest.get("inputs") != held.manifest.get("inputs"):
            raise StoreError("the results were replaced", where=held.path, hint="open them again")
        # Not every index is comparable: a depth may be missing. So all layers are told by their number.
        chosen = np.ones(len(whole), bool)
        if len(held) < len(whole):
            chosen = np.asarray(whole.layers.index.isin(held.layers.index))
        settings = whole.manifest.get("settings")
        return cls(
            held.path,
            whole.layers,
            whole.cube,
            whole.coordinates,
            settings if isinstance(settings, Mapping) else {},
            chosen,
        )

    @property
    def measure(self) -> str:
        """Name of the measure of the analysis."""
        return str(self.settings.get("measure", "paper"))

    @property
    def weighting(self) -> Any:
        """What counted alike in a group."""
        return self.settings.get("weighting", "filters")

    @property
    def thresholds(self) -> quality.Thresholds:
        """Where labels begin in these results."""
        try:
            labels = LabelsConfig.model_validate(self.settings.get("labels", {}))
        except ValueError as error:
            raise CorruptDataError(
                "the manifest of the results says nothing usable of labels",
                where=self.path,
                hint="filterdb analyze writes it again",
            ) from error
        return quality.Thresholds(**labels.model_dump())

    def shift_from(self, model: Cube, axis: shift.Axis) -> pd.DataFrame:
        """Compare a whole model with every group of an axis, in the order of the groups.

        Parameters
        ----------
        model
            Counts of its layers.
        axis
            The groups.
        """
        nobody = np.zeros(len(model), np.int64)
        whole = shift.Axis(_MODEL, ("the model",), nobody, ordered=False, models=nobody)
        found = shift.cross_shift(
            (whole, model), (axis, self.cube), self.coordinates, by=self.measure, weighting=self.weighting
        )
        names = {"group_b": "group", **{f"{name}_b": name for name in ("filters", "layers", "models")}}
        return found.rename(columns={**names, "outside_b": "outside"})[
            ["group", "D", "measure", "filters", "layers", "models", "outside", "reason"]
        ]


def drift_to_groups(
    others: Held, cube: Cube, by: str | Sequence[str] | None
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Compare a model with the groups of each axis, and say which have none.

    Parameters
    ----------
    others
        The records that make the groups.
    cube
        Counts of the model's layers.
    by
        Names of axes; those of the analysis where not given.
    """
    drift, notes = {}, []
    for axis in _axes(others, by):
        kept = shift.restrict(axis, others.chosen, fewest=0)
        if not kept.groups:
            reason = axis.lack if not axis.groups else "all its layers have the weights of the model"
            if by is not None:
                raise ColumnError(
                    f"the axis {axis.name!r} has no group to compare the model with: {reason}",
                    where=others.path,
                    expected="an axis with at least one group",
                )
            notes.append(f"left out: the axis {axis.name!r}, which has no group: {reason}")
            continue
        found = others.shift_from(cube, kept).sort_values("D", kind="stable", na_position="last")
        drift[axis.name] = found.reset_index(drop=True)
        if gone := [group for group in axis.groups if group not in kept.groups]:
            what = f"{axis.name}: no other layer is in {', '.join(map(repr, gone[:3]))}"
            notes.append(what + (f" and {len(gone) - 3:,} more" if len(gone) > 3 else ""))
    return drift, notes


def _axes(held: Held, by: str | Sequence[str] | None) -> list[shift.Axis]:
    """Make the axes that were asked for, or those of the analysis, combined and restricted as there."""
    if by is not None:
        names = [by] if isinstance(by, str) else list(by)
        return [shift.make_axis(held.frame, name, fewest=0) for name in names]
    settings = held.settings
    with_, where = settings.get("combine_with"), settings.get("where")
    axes = [shift.make_axis(held.frame, name, with_=with_, fewest=0) for name in settings.get("by", ())]
    if where is not None:
        mask = shift.evaluate(where, held.frame, where="where")
        axes = [shift.restrict(axis, mask, fewest=0) for axis in axes]
    return axes


def count_copies(held: Held, same: NDArray[np.int64], layers: int) -> pd.DataFrame:
    """Count the layers of each model of the data set that have weights of the model.

    Parameters
    ----------
    held
        The results.
    same
        What :func:`filterdb.run.model.same_weights.same_weights` returns.
    layers
        How many layers of different weights the model has.
    """
    frame = held.frame[["model"]].assign(own=same != NONE, place=np.where(same == NONE, np.nan, same))
    groups = frame[held.chosen].groupby(level="model_id", sort=True)
    found = groups.agg(
        model=("model", "first"),
        same_layers=("own", "sum"),
        layers=("own", "size"),
        places=("place", "nunique"),
    )
    found["same_model"] = (found["same_layers"] == found["layers"]) & (found["places"] == layers)
    columns = ["model", "model_id", "same_layers", "layers", "same_model"]
    return found[found["same_layers"] > 0].reset_index()[columns]


def nearest_models(held: Held, own: NDArray[np.bool_], cube: Cube, copies: pd.DataFrame) -> pd.DataFrame:
    """Compare a model with every model of the data set that is not the model itself.

    Parameters
    ----------
    held
        The results.
    own
        Which records have weights of the model.
    cube
        Counts of the model's layers.
    copies
        What :func:`count_copies` returns.
    """
    frame = held.frame
    ids = frame.index.get_level_values("model_id").to_numpy(np.int64)
    rows = np.flatnonzero(held.chosen & np.isin(ids, ids[held.chosen & ~own]))
    found, first, inverse = np.unique(ids[rows], return_index=True, return_inverse=True)
    codes = np.full(len(ids), shift.MISSING, np.int64)
    codes[rows] = inverse
    names = tuple(map(str, frame["model"].iloc[rows[first]]))
    table = held.shift_from(cube, shift.Axis(_MODEL, names, codes, ordered=False, models=ids))
    shared = dict(zip(copies["model_id"], copies["same_layers"], strict=True))
    columns = {
        "model": table["group"],
        "model_id": found,
        **{name: table[name] for name in ("D", "measure", "filters", "layers", "outside")},
        "same_layers": [int(shared.get(one, 0)) for one in found.tolist()],
        **_described(frame.iloc[rows], inverse, rows[first], frame, held.settings),
        "reason": table["reason"],
    }
    ranked = pd.DataFrame(columns).sort_values("D", kind="stable", na_position="last")
    return ranked.reset_index(drop=True)


def _described(
    records: pd.DataFrame,
    codes: NDArray[np.int64],
    first: NDArray[np.int64],
    frame: pd.DataFrame,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what is known of each model: columns in which all its records say the same."""
    wanted = dict.fromkeys((*DESCRIBING, *settings.get("by", ())))
    known = [name for name in wanted if name in records.columns and name not in quality.METRICS]
    same = [name for name in known if records[name].groupby(codes).nunique(dropna=False).max() == 1]
    return {name: frame[name].iloc[first].reset_index(drop=True) for name in same}
