"""A results folder as researchers hold it: layers with their quality, and shifts along any axis."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from filterdb.api import html
from filterdb.api.selection import Positions, Where, positions
from filterdb.api.shifts import Measure, Shifts, Weighting, plain_shifts
from filterdb.errors import ColumnError, CorruptDataError, StoreError, UsageError, nearest, printable

if TYPE_CHECKING:
    from filterdb.run.analysis.results import Measured
    from filterdb.shift import Axis, Basis, CoordinateSystem
    from filterdb.stats import Cube


class Results:
    """What ``filterdb analyze`` has found in a data set; the data set itself need not be there.

    Tables are read when they are asked for. Threads may share the object, and it can be pickled.

    Parameters
    ----------
    path
        The results folder.
    dataset
        Content hash of the data set that the results have to be of.
    """

    def __init__(self, path: str | os.PathLike[str], *, dataset: str | None = None) -> None:
        self._folder = _Folder(Path(path), dataset)
        self._rows: Positions | None = None

    @classmethod
    def _view(cls, folder: _Folder, rows: Positions | None) -> Results:
        made = cls.__new__(cls)
        made._folder, made._rows = folder, rows
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (_travelled, (self.path.absolute(), self._folder.inputs, self._rows))

    def __dask_tokenize__(self) -> tuple[str, str, bytes]:
        rows = b"all" if self._rows is None else self._rows.tobytes()
        return ("filterdb results", self._folder.inputs, rows)

    def __len__(self) -> int:
        return len(self.meta)

    def __repr__(self) -> str:
        return f"<{self._title}>"

    def _repr_html_(self) -> str:
        facts = {
            "layers": f"{len(self):,}",
            "models": f"{self.meta['model'].nunique():,}",
            "data set": str(self.manifest.get("dataset_file", "")),
            "basis": f"{self.basis.n:,} filters; explained variance {_shares(self.basis)}",
            "axes": ", ".join(self.axes),
        }
        return html.card(f"Results {self.path.name}{self._part}", facts)

    @property
    def _title(self) -> str:
        models = self.meta["model"].nunique()
        counted = f"{len(self):,} layers of {models:,} models"
        return printable(f"Results {self.path.name}: {counted}{self._part}, axes {', '.join(self.axes)}")

    @property
    def _part(self) -> str:
        return "" if self._rows is None else f", selected of {len(self._folder.meta):,} layers"

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder.path

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the results were made from, and how."""
        return self._folder.manifest

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that the analysis was asked for; :attr:`shifts` has what it found."""
        return tuple(self.manifest["axes"])

    @property
    def meta(self) -> pd.DataFrame:
        """One row a layer, as ``/meta`` of the data set has it; relabelled where the analysis was told to."""
        return self._taken(self._folder.meta)

    @property
    def layers(self) -> pd.DataFrame:
        """One row a layer: its quality metrics and labels, beside all that ``meta`` says of it."""
        return self._taken(self._folder.layers)

    @property
    def models(self) -> pd.DataFrame:
        """One row a model: means of its layers' metrics, weighted by filters, and how many have each label.

        In a selection, the models that have layers in it; the means are still those of all their layers.
        """
        models = self._folder.models
        return models if self._rows is None else models.loc[self.meta.index.unique("model_id")]

    @property
    def coordinates(self) -> CoordinateSystem:
        """Where filters were measured: basis, range, bins and weights."""
        return self._folder.measured.coordinates

    @property
    def basis(self) -> Basis:
        """The principal components of all scaled filters, their mean, and the variance that each explains."""
        return self.coordinates.basis

    @property
    def cube(self) -> Cube:
        """Statistics and coefficient counts of every layer, in the order of :attr:`layers`."""
        cube = self._folder.measured.cube
        return cube if self._rows is None else type(cube)(cube.rows[self._rows], cube.low, cube.high)

    @property
    def shifts(self) -> Mapping[str, Shifts]:
        """What the analysis has written of each of its axes, with uncertainty, of all layers."""
        return self._folder.shifts

    def select(self, where: Where | None = None, *, models: str | Sequence[str] | None = None) -> Results:
        """Return the same results, of some of the layers.

        Parameters
        ----------
        where, models
            As for :meth:`FilterDB.select`.
        """
        return self.at(positions(self.layers, where, models, path=self.path))

    def at(self, places: Positions) -> Results:
        """Return the same results, of the layers at some places.

        Parameters
        ----------
        places
            Rows of :attr:`layers`, counted from 0.
        """
        return self._view(self._folder, places if self._rows is None else self._rows[places])

    def shift(
        self,
        by: str | pd.Series,
        *,
        combine_with: str | None = None,
        where: str | None = None,
        measure: Measure = "paper",
        weighting: Weighting = "filters",
        uncertainty: bool = False,
        seed: int = 0,
        permutations: int = 999,
        draws: int = 999,
    ) -> Shifts:
        """Compare the filters of every two groups of layers; :meth:`FilterDB.shift` describes it.

        Parameters
        ----------
        by, combine_with, where, measure, weighting, uncertainty, seed, permutations, draws
            As for :meth:`FilterDB.shift`.
        """
        from filterdb.shift import Resampling, axis_shift

        axis = self._axis(by, combine_with, where)
        cube, coordinates = self._folder.measured.cube, self.coordinates
        if not uncertainty:
            return plain_shifts(axis, cube, coordinates, by=measure, weighting=weighting)
        resampling = Resampling(seed, permutations, draws)
        found = axis_shift(axis, cube, coordinates, by=measure, weighting=weighting, resampling=resampling)
        return Shifts.of(axis.name, found)

    def _axis(self, by: str | pd.Series, combine_with: str | None, where: str | None) -> Axis:
        """Group the layers, all of them, so that bins do not depend on the selection; then restrict them."""
        from filterdb.shift import evaluate, make_axis, restrict

        frame = self._folder.layers
        _require_axis(by, combine_with)
        if isinstance(by, pd.Series):
            frame, by = _with_column(frame, by)
        axis = make_axis(frame, by, with_=combine_with, fewest=0)
        if where is not None:
            axis = restrict(axis, evaluate(where, frame, where="where"), fewest=0)
        if self._rows is not None:
            inside = np.zeros(len(frame), bool)
            inside[self._rows] = True
            axis = restrict(axis, inside, fewest=0)
        if axis.lack:
            raise ColumnError(
                axis.lack, expected="an axis of at least two groups", hint="another by, or a wider selection"
            )
        return axis

    def _taken(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame if self._rows is None else frame.iloc[self._rows]


class _Folder:
    """What a results folder holds, read when it is asked for."""

    def __init__(self, path: Path, dataset: str | None) -> None:
        from filterdb.run.analysis.results import require_results

        self.path = path
        self.manifest: Mapping[str, Any] = MappingProxyType(require_results(path, dataset=dataset))
        self._lock = threading.RLock()

    @property
    def inputs(self) -> str:
        """A hash of what determines the results."""
        return str(self.manifest.get("inputs", ""))

    @cached_property
    def measured(self) -> Measured:
        from filterdb.run.analysis.results import load_measured

        with self._lock:
            self._require_unchanged()
            return load_measured(self.path)

    @cached_property
    def meta(self) -> pd.DataFrame:
        return self._table("meta")

    @cached_property
    def layers(self) -> pd.DataFrame:
        from filterdb.run.analysis.results import joined

        meta, layers = self.meta, self._table("layers")
        if not len(layers) == len(meta) == len(self.measured.cube):
            raise self._damaged("its tables are of different numbers of records")
        return joined(meta, layers)

    @cached_property
    def models(self) -> pd.DataFrame:
        return self._table("models")

    @cached_property
    def shifts(self) -> Mapping[str, Shifts]:
        from filterdb.run.analysis.results import load

        self._require_unchanged()
        found = load(self.path).shifts
        return MappingProxyType(_ByAxis({name: Shifts.of(name, one) for name, one in found.items()}))

    def _table(self, name: str) -> pd.DataFrame:
        from filterdb.run.analysis.results import read_table

        self._require_unchanged()
        try:
            return read_table(self.path / f"{name}.parquet", most_rows=len(self.measured.cube))
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error

    def _require_unchanged(self) -> None:
        """Refuse to mix what was read with what another analysis has put in its place since."""
        from filterdb.run.analysis.results import read_manifest

        if str(read_manifest(self.path).get("inputs", "")) != self.inputs:
            raise _replaced(self.path)

    def _damaged(self, what: str) -> CorruptDataError:
        return CorruptDataError(
            f"the results are damaged: {what}", where=self.path, hint="filterdb analyze writes them again"
        )


class _ByAxis(dict[str, Shifts]):
    """What was found of each axis; an axis that was not asked for is answered with those that were."""

    def __missing__(self, name: object) -> Shifts:
        close = nearest(str(name), self)
        raise ColumnError(
            f"the analysis has no axis {name!r}",
            where="shifts",
            expected=f"one of {', '.join(self)}",
            hint=f"did you mean {close!r}?" if close else f"db.shift({name!r}) compares along any axis",
        )


def _require_axis(by: object, combine_with: object) -> None:
    """Refuse what pandas would group by, and an axis is not made of."""
    if not isinstance(by, str | pd.Series) or not isinstance(combine_with, str | None):
        raise UsageError(
            f"the axis is {by!r}"[:200]
            if combine_with is None
            else f"combine_with is {combine_with!r}"[:200],
            where="shift",
            expected="a column of layers, depth_decile, an expression, or a column of your own",
            hint="shift('Task', combine_with='Family') combines two",
        )


def _travelled(path: Path, inputs: str, rows: Positions | None) -> Results:
    """Open results where they arrive, if they still are the same ones."""
    folder = _Folder(path, None)
    if folder.inputs != inputs:
        raise _replaced(path)
    return Results._view(folder, rows)


def _replaced(path: Path) -> StoreError:
    return StoreError(
        "the results are not those that were opened: they were replaced", where=path, hint="open them again"
    )


def _with_column(frame: pd.DataFrame, column: pd.Series[Any]) -> tuple[pd.DataFrame, str]:
    """Return the layers with a column of somebody's own, and its name."""
    name = str(column.name or "by")
    if list(column.index.names) != list(frame.index.names) or not column.index.isin(frame.index).all():
        raise UsageError(
            f"the column {name!r} is not of these layers",
            expected="a column with the index of layers, or of a part of them",
            hint="make it of db.layers, without reset_index",
        )
    return frame.assign(**{name: column.reindex(frame.index)}), name


def _shares(basis: Basis) -> str:
    return ", ".join(f"{share:.0%}" for share in basis.explained)
