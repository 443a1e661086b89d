"""The figures of a data set by name, each drawn when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from filterdb.api import html
from filterdb.api.database import FilterDB
from filterdb.errors import UsageError, nearest, printable

if TYPE_CHECKING:
    from filterdb.config import FiguresConfig
    from filterdb.figures import Drawing

Width = Literal["column", "double"]
"""Of the page that figures are for."""

Ridges = Literal["auto", "bins", "exact"]
"""Whether densities are of every filter, or of the bins of the cube."""


class Figures:
    """The figures of a data set and its results by name, as ``filterdb figures`` draws them.

    A figure is drawn when it is asked for, and a notebook shows it. Its name is that of the files which the
    command writes; iterating gives all names. Those figures that need filters share one pass over them,
    which the first of them makes.

    Parameters
    ----------
    db
        The data set, all of it.
    width
        Of the page that figures are for: one ``column``, or ``double``.
    ridges
        ``bins``: from the cube. ``exact``: from every filter. ``auto``: exact up to ten million filters.
    groups
        Groups that a figure shows at most: the largest.
    models
        Names of the models whose filters are shown; those with the largest and the smallest share of
        degenerate layers where none is named.

    Raises
    ------
    UsageError
        If there are no results, an option cannot be used, or the data set is a selection.

    Examples
    --------
    >>> figures = filterdb.Figures(db)
    >>> figures
    <Figures of dataset.h5: 43, along Task, Visual Category, Family, depth_decile>
    >>> [name for name in figures if name.endswith("_Task")][:4]
    ['drift_Task', 'drift_pairs_Task', 'quality_Task', 'orthogonality_Task']
    >>> drift = figures["drift_Task"]
    >>> drift.data.nlargest(2, "D")[["group_a", "group_b", "D"]].round(3)
               group_a            group_b      D
    7   Classification  GAN-Discriminator  0.092
    10  Classification   Super Resolution  0.091
    >>> drift.figure.get_size_inches().round(1).tolist()
    [7.0, 6.3]
    """

    def __init__(
        self,
        db: FilterDB,
        *,
        width: Width = "double",
        ridges: Ridges = "auto",
        groups: int = 20,
        models: Sequence[str] = (),
    ) -> None:
        from filterdb.run.analysis.results import load
        from filterdb.run.drawing.figure_plan import Plan
        from filterdb.run.drawing.figure_views import require_models

        if not isinstance(db, FilterDB):
            raise UsageError(f"figures are of a {type(db).__name__}", expected="what filterdb.open returned")
        if db._rows is not None:
            raise UsageError(
                "figures are of a whole data set, not of a selection",
                where=db.path,
                expected="what filterdb.open returned",
                hint="filterdb subset writes a selection to a file of its own, and filterdb analyze --where "
                "restricts the groups of its axes",
            )
        settings = _settings(width=width, ridges=ridges, groups=groups, models=models)
        found = load(db.results.path, dataset=db.content_hash)
        require_models(found, settings)
        self._source = db._source
        self._plan = Plan(self._source.file, found, settings)

    def __repr__(self) -> str:
        axes = ", ".join(self._axes)
        return printable(f"<Figures of {self._source.path.name}: {len(self):,}, along {axes or 'no axis'}>")

    def _repr_html_(self) -> str:
        facts = {"figures": ", ".join(self), "axes": ", ".join(self._axes)}
        return html.card(f"Figures of {self._source.path.name}", facts)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def __getitem__(self, name: str) -> Drawing:
        if name not in self._jobs:
            close = nearest(str(name), self)
            raise UsageError(
                f"there is no figure {name!r}",
                where=self._source.path,
                expected=f"one of {', '.join(self)}",
                hint=f"did you mean {close!r}?" if close else "filterdb analyze --by AXIS adds an axis",
            )
        # Asked for again, because a file that was closed since says so.
        self._plan.file = self._source.file
        return self._jobs[name]()

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    @property
    def _axes(self) -> list[str]:
        return [view.name for view in self._plan.axes]

    @cached_property
    def _jobs(self) -> dict[str, Callable[[], Drawing]]:
        return dict(self._plan.jobs())


def _settings(**options: object) -> FiguresConfig:
    from filterdb.config import RunConfig

    return RunConfig.parse({"figures": options}, where="Figures").figures
