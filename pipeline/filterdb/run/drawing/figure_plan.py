"""Every figure of a data set, by the name of its files: what is drawn of what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
import pandas as pd

from filterdb import figures
from filterdb.config import FiguresConfig
from filterdb.figures import Drawing, Shape, density
from filterdb.figures.phenotype import BINS
from filterdb.run.analysis.results import Results, axis_stems
from filterdb.run.drawing import figure_views as views
from filterdb.run.drawing.figure_scan import Scan, Tally, coefficients, read_record, scan
from filterdb.store import DatasetFile

EXACT_UP_TO: Final = 10_000_000
"""Filters of a data set up to which densities are exact where nothing else is said."""

_FIRST: Final = {"column": 12, "double": 24}
"""Filters of a layer that are shown, by the width of the page."""

_EXAMPLES: Final = 2
"""Layers that are shown of each phenotype."""

Call = Callable[[], Drawing]
"""Draws a figure: a function of filterdb.figures with plain data, which another process can be told."""

Gathered = tuple[str, Callable[[], Call]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One figure: what it shows is gathered in this process, and drawn in any.

    Parameters
    ----------
    gather
        Returns the call that draws, which another process can be told.
    """

    gather: Callable[[], Call]

    def __call__(self) -> Drawing:
        """Draw."""
        return self.gather()()


Job = tuple[str, Sheet]


@dataclass
class Plan:
    """The figures of a data set and its results.

    Parameters
    ----------
    file
        The data set.
    found
        Its results.
    settings
        How figures are drawn.
    """

    file: DatasetFile
    found: Results
    settings: FiguresConfig

    def jobs(self) -> Iterator[Job]:
        """Yield the name of every figure, and what draws it."""
        for name, gather in self._figures():
            yield name, Sheet(gather)

    def _figures(self) -> Iterator[Gathered]:
        yield from self._of_all()
        for view in self.axes:
            yield from self._of_axis(view, self.stems[view.name])
        yield from self._of_filters()
        chosen = views.chosen_models(self.found, self.settings.models)
        names = self.found.models.loc[chosen, "model"].tolist()
        stems = axis_stems(names)
        for model, name in zip(chosen, names, strict=True):
            yield from self._of_model(model, name, stems[name])

    @property
    def width(self) -> float:
        """Of the page, in inches."""
        return figures.COLUMN if self.settings.width == "column" else figures.DOUBLE

    @property
    def exact(self) -> bool:
        """Whether densities are of every filter."""
        few = self.file.n_filters <= EXACT_UP_TO
        return self.settings.ridges == "exact" or (self.settings.ridges == "auto" and few)

    @cached_property
    def everything(self) -> views.View:
        """The data set as one group."""
        return views.whole(self.found)

    @cached_property
    def axes(self) -> list[views.View]:
        """The axes of the analysis."""
        return views.views(self.found)

    @cached_property
    def stems(self) -> dict[str, str]:
        """What the files of an axis are called."""
        return axis_stems(view.name for view in self.axes)

    @cached_property
    def scanned(self) -> Scan:
        """What one pass over the filters gives."""
        measured = self.found.measured.coordinates
        grid = density.grid_over(measured.low, measured.high) if self.exact else None
        groups = [self.everything, *self.axes]
        return scan(self.file, groups, measured, most=self.settings.groups, grid=grid)

    def _of_all(self) -> Iterator[Gathered]:
        kernel = self.file.kernel.shape
        whole, cube = self.everything, self.found.measured.cube
        basis = views.bases(cube, whole)[0]
        moments = cube.moments()
        covariance = moments.scatter / max(1, moments.n - 1)
        width, most = self.width, self.settings.groups
        yield (
            "eigenimages",
            lambda: partial(
                figures.eigenimages,
                basis.components[None],
                basis.explained[None],
                whole.groups,
                kernel=kernel,
                width=width,
            ),
        )
        yield (
            "explained_variance",
            lambda: partial(figures.explained_variance, basis.explained[None], whole.groups, width=width),
        )
        yield (
            "covariance",
            lambda: partial(
                figures.covariance_image, covariance, kernel=kernel, sizes=whole.groups, width=min(width, 4.2)
            ),
        )
        pairs = {view.name: view.shift.pairs for view in self.axes if view.shift}
        if pairs:
            yield (
                "drift_by_axis",
                lambda: partial(
                    figures.drift_boxes, pairs, sizes=whole.groups, measure=self._measure(), width=width
                ),
            )
        yield (
            "degenerate_models",
            lambda: partial(
                figures.degenerate_by_model,
                self.found.models,
                **self._model_groups(),
                width=width,
                most=most + 10,
            ),
        )

    def _of_axis(self, view: views.View, stem: str) -> Iterator[Gathered]:
        cube, width, most = self.found.measured.cube, self.width, self.settings.groups
        shared: dict[str, Any] = {"axis": view.name, "width": width, "most": most}
        if view.shift is not None:
            drift = view.shift
            frame, pairs = drift.matrix.frame(), drift.pairs
            measure = self._measure()
            yield (
                f"drift_{stem}",
                lambda: partial(
                    figures.drift_heatmap,
                    frame,
                    pairs,
                    view.groups,
                    measure=measure,
                    ordered=view.ordered,
                    **shared,
                ),
            )
            yield (
                f"drift_pairs_{stem}",
                lambda: partial(figures.drift_intervals, pairs, view.groups, measure=measure, **shared),
            )
        for name, metrics in (
            ("quality", ("sparsity", "variance_entropy")),
            ("orthogonality", ("orthogonality",)),
        ):
            yield f"{name}_{stem}", self._metrics(view, metrics, shared)
        fitted = [*views.bases(cube, self.everything), *views.bases(cube, view)]
        groups = views.with_whole(view, self.everything)
        explained = np.stack([basis.explained for basis in fitted])
        yield (
            f"eigenimages_{stem}",
            lambda: partial(
                figures.eigenimages,
                np.stack([basis.components for basis in fitted]),
                explained,
                groups,
                kernel=self.file.kernel.shape,
                width=width,
                most=most + 1,
            ),
        )
        yield (
            f"explained_variance_{stem}",
            lambda: partial(figures.explained_variance, explained, groups, width=width, most=most + 1),
        )
        yield f"ridges_{stem}", lambda: self._ridges(view, shared)

    def _metrics(
        self, view: views.View, metrics: tuple[str, ...], shared: dict[str, Any]
    ) -> Callable[[], Call]:
        return lambda: partial(
            figures.metrics_by_group,
            self.found.layers[list(metrics)],
            view.codes,
            view.groups,
            metrics=metrics,
            ordered=view.ordered,
            **shared,
        )

    def _ridges(self, view: views.View, shared: dict[str, Any]) -> Call:
        cube, coordinates = self.found.measured.cube, self.found.measured.coordinates
        spread = views.deviations(cube, view, coordinates)
        if not self.exact:
            counts = views.counts(cube, view)
            found = figures.binned_densities(counts, coordinates.low, coordinates.high, spread)
            return partial(figures.ridges, found, view.groups, ordered=view.ordered, **shared)
        tally, grid = self._tally(view), density.grid_over(coordinates.low, coordinates.high)
        # Groups that are not shown were not counted.
        masses = np.zeros((len(view.groups), self.file.kernel.size, len(grid)))
        masses[tally.shown] = tally.masses
        found = figures.densities(masses, grid, spread)
        return partial(figures.ridges, found, view.groups, ordered=view.ordered, **shared)

    def _tally(self, view: views.View) -> Tally:
        return next(tally for tally in self.scanned.tallies if tally.view is view)

    def _of_filters(self) -> Iterator[Gathered]:
        if self.file.kernel.size < 2:
            return
        yield (
            "scatter",
            lambda: partial(
                figures.scatter_density,
                self.scanned.counts,
                self.scanned.pairs,
                limit=self.scanned.limit,
                sizes=self.everything.groups,
                width=self.width,
            ),
        )
        for view in self.axes:
            yield f"phenotypes_{self.stems[view.name]}", self._phenotypes(view)
        yield "phenotypes_layers", self._layers

    def _phenotypes(self, view: views.View) -> Callable[[], Call]:
        def gather() -> Call:
            tally, limit = self._tally(view), self.scanned.limit
            assert tally.pairs is not None
            names = view.groups["group"].iloc[tally.shown].tolist()
            shapes = [figures.shape_of(one, limit) for one in tally.pairs]
            return partial(
                figures.phenotypes,
                tally.pairs,
                names,
                shapes,
                limit=limit,
                axis=view.name,
                width=self.width,
                of=len(view.groups),
            )

        return gather

    def _layers(self) -> Call:
        """Gather the layers that show each phenotype most clearly."""
        shapes, limit, meta = self.scanned.shapes, self.scanned.limit, self.file.tables.meta
        chosen = [record for kind in figures.PHENOTYPES for record in clearest(shapes, kind, meta)]
        counts = np.zeros((len(chosen), BINS, BINS), np.uint32)
        for place, record in enumerate(chosen):
            rows = read_record(self.file, meta.iloc[record])
            found = coefficients(rows[np.isfinite(rows).all(axis=1)], self.found.measured.coordinates)
            counts[place] = figures.pair_counts(found[0], found[1], limit)
        order = [*chosen, *sorted(set(range(len(meta))) - set(chosen))]
        pairs = zip(meta["model"].tolist(), meta["layer_name"].tolist(), strict=True)
        names = [f"{model} / {layer}" for model, layer in pairs]
        return partial(
            figures.phenotypes,
            counts,
            [names[i] for i in order],
            [shapes[i] for i in order],
            limit=limit,
            kind="layer",
            width=self.width,
        )

    def _of_model(self, model_id: Any, name: str, stem: str) -> Iterator[Gathered]:
        meta = self.file.tables.meta
        rows = meta[meta.index.get_level_values("model_id") == model_id]
        first, shape = _FIRST[self.settings.width], self.file.kernel.shape
        yield (
            f"filters_{stem}",
            lambda: partial(
                figures.first_filters,
                [read_record(self.file, row, first).reshape(-1, *shape) for _, row in rows.iterrows()],
                rows["layer_name"].tolist(),
                model=name,
                sizes=(rows["filter_end"] - rows["filter_start"]).tolist(),
                width=self.width,
            ),
        )
        layer = rows.iloc[0]
        out = int(layer["out_channels"]) if not np.isnan(layer["out_channels"]) else 1
        yield (
            f"kernels_{stem}",
            lambda: partial(
                figures.layer_kernels,
                read_record(self.file, layer).reshape(out, -1, *shape),
                name=f"{name} / {layer['layer_name']}",
                width=min(self.width, 4.5),
            ),
        )

    def _measure(self) -> str:
        return str(self.found.manifest.get("settings", {}).get("measure", "paper"))

    def _model_groups(self) -> dict[str, Any]:
        """Return the group of each model, by the first axis along which every model has only one."""
        ids = self.found.meta.index.get_level_values("model_id")
        for view in self.axes:
            named = view.groups["group"].to_numpy(object)
            held = view.codes >= 0
            table = pd.Series(named[view.codes[held]], index=ids[held])
            if not view.ordered and table.groupby(level=0).nunique().max() == 1:
                first = table.groupby(level=0).first()
                groups = [first.get(model) for model in self.found.models.index]
                return {"groups": groups, "names": named.tolist(), "axis": view.name}
        return {}


def clearest(shapes: list[Shape], kind: str, meta: pd.DataFrame) -> list[int]:
    """Return the records that show a phenotype most clearly, of a model each where there are so many."""
    table = pd.DataFrame([(s.phenotype, s.centre, s.spread, s.bimodality) for s in shapes])
    table.columns = pd.Index(["phenotype", "centre", "spread", "bimodality"])
    table = table[table["phenotype"] == kind]
    order = {
        "point": -table["centre"],
        "spikes": table["spread"],
        "symbols": -table["bimodality"],
        "sun": (table["spread"] - 1).abs(),
    }[kind]
    places = order.sort_values(kind="stable").index
    models = meta.index.get_level_values("model_id")[places]
    distinct = places[~models.duplicated()]
    return [*distinct, *(one for one in places if one not in set(distinct))][:_EXAMPLES]
