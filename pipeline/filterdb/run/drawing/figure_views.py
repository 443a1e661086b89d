"""What figures are made of, from results alone: axes in the order of their shifts, and a basis a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb import shift
from filterdb.config import FiguresConfig
from filterdb.errors import CorruptDataError, UsageError, nearest
from filterdb.run.analysis import results
from filterdb.run.analysis.results import Results
from filterdb.shift import AxisShift, Basis, CoordinateSystem, fit_basis
from filterdb.stats import Cube, merge_records

WHOLE: Final = "all filters"


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Groups of records, as figures show them.

    Parameters
    ----------
    name
        What the groups are groups of; empty for the whole data set.
    ordered
        They have an order of their own.
    codes
        The group of each record; less than 0 for none.
    groups
        One row a group: ``group``, ``filters``, ``layers``, ``models``.
    shift
        The shifts between them, if there are several.
    """

    name: str
    ordered: bool
    codes: NDArray[np.int64]
    groups: pd.DataFrame
    shift: AxisShift | None = None

    def records(self, group: int) -> NDArray[np.int64]:
        """Return the places of a group's records."""
        return np.flatnonzero(self.codes == group)


def whole(found: Results) -> View:
    """Return the data set as a single group."""
    finite = np.asarray(found.measured.cube.rows["finite"])
    models = found.meta.index.get_level_values("model_id")[finite > 0]
    groups = pd.DataFrame(
        {
            "group": [WHOLE],
            "filters": [int(finite.sum())],
            "layers": [int((finite > 0).sum())],
            "models": [models.nunique()],
        }
    )
    return View("", False, np.zeros(len(finite), np.int64), groups)


def views(found: Results) -> list[View]:
    """Return the axes of an analysis, with their groups in the order of the shifts.

    Raises
    ------
    CorruptDataError
        If the axes that the tables give are not those that the shifts are of.
    """
    settings = found.manifest.get("settings", {})
    frame = results.joined(found.meta, found.layers)
    made = []
    for by in settings.get("by", ()):
        axis = shift.make_axis(frame, by, with_=settings.get("combine_with"), fewest=0)
        if (where := settings.get("where")) is not None:
            axis = shift.restrict(axis, shift.evaluate(where, frame, where="where"), fewest=0)
        if axis.name in found.shifts:
            made.append(_view(axis, found.shifts[axis.name]))
    return made


def _view(axis: shift.Axis, found: AxisShift) -> View:
    place = {name: i for i, name in enumerate(found.groups["group"].tolist())}
    if set(place) != set(axis.groups):
        raise CorruptDataError(
            f"the results are damaged: the groups of {axis.name!r} are not those of its shifts",
            hint="filterdb analyze writes them again",
        )
    moved = np.array([*(place[name] for name in axis.groups), -1], dtype=np.int64)
    codes = np.where(axis.codes >= 0, moved[axis.codes.clip(-1)], axis.codes)
    groups = found.groups.copy()
    if axis.models is not None:
        groups.attrs["models"] = len(np.unique(axis.models[codes >= 0]))
    return View(axis.name, axis.ordered, codes, groups, found)


def with_whole(view: View, everything: View) -> pd.DataFrame:
    """Return the groups of a view below a row for the whole data set."""
    columns = ["group", "filters", "layers", "models"]
    return pd.concat([everything.groups[columns], view.groups[columns]], ignore_index=True)


def bases(cube: Cube, view: View) -> list[Basis]:
    """Return a basis fitted to each group."""
    return [fit_basis(merge_records(cube.rows[view.records(i)], "scaled")) for i in range(len(view.groups))]


def deviations(cube: Cube, view: View, coordinates: CoordinateSystem) -> NDArray[np.float64]:
    """Return the standard deviation of coefficients in the common basis: groups x components."""
    components = coordinates.basis.components
    found = []
    for i in range(len(view.groups)):
        moments = merge_records(cube.rows[view.records(i)], "scaled")
        variances = np.einsum("ij,jk,ik->i", components, moments.scatter, components) / max(1, moments.n - 1)
        found.append(np.sqrt(np.clip(variances, 0, None)))
    return np.array(found)


def counts(cube: Cube, view: View) -> NDArray[np.int64]:
    """Return the counts of each group: groups x components x bins."""
    return cube.group_counts(view.codes, len(view.groups))


def require_models(found: Results, settings: FiguresConfig) -> None:
    """Refuse a model that is not there.

    Parameters
    ----------
    found
        Results.
    settings
        How figures are drawn.

    Raises
    ------
    UsageError
        If a model that is named is not in the data set.
    """
    known = found.models["model"].tolist()
    for name in settings.models:
        if name not in known:
            close = nearest(name, known)
            raise UsageError(
                f"the data set has no model {name!r}",
                where="models",
                expected=f"the name of one of its {len(known):,} models",
                hint=f"did you mean {close!r}?" if close else "filterdb info lists them",
            )


def chosen_models(found: Results, names: tuple[str, ...]) -> list[Any]:
    """Return the ids of the models whose filters are shown.

    Parameters
    ----------
    found
        Results.
    names
        Names of models; where none is given, those with the largest and the smallest share of degenerate
        layers, of at least three layers each.
    """
    models = found.models
    if names:
        return [models.index[models["model"] == name][0] for name in names]
    large = models[models["layers"] >= min(3, int(models["layers"].max()))]
    table = large.assign(share=large["degenerate_layers"] / large["layers"])
    ends = [
        table.sort_values(["share", "layers"], ascending=[rising, False], kind="stable").index[0]
        for rising in (False, True)
    ]
    return list(dict.fromkeys(ends))
