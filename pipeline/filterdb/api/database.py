"""The data set file that researchers hold, all of it or a selection."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.api import html
from filterdb.api.beside import no_metrics, no_results, results_beside
from filterdb.api.results import Results
from filterdb.api.selection import Positions, Rows, Where, positions, ranges, selectable
from filterdb.api.shifts import Measure, Shifts, Weighting
from filterdb.api.source import FilterRows, Source
from filterdb.errors import ColumnError, UsageError, printable
from filterdb.types import Filters

if TYPE_CHECKING:
    import dask.array

    from filterdb.shift import Basis
    from filterdb.stats import Cube


class FilterDB:
    """A data set file, open for reading, with the results of its analysis where there are some.

    Opening reads no table and no filter. A selection is a ``FilterDB`` too, of the same file. Threads may
    share one, though HDF5 reads for one of them at a time. It can be pickled: where it arrives, the file is
    opened when it is needed, if it is still the same.

    Parameters
    ----------
    path
        The file.
    results
        The results folder; where not given, the folder ``results`` beside the file, if it is of this data
        set.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, results: str | os.PathLike[str] | None = None
    ) -> None:
        self._source = Source(path)
        self._rows: Positions | None = None
        self._lock = threading.RLock()
        self._meta: pd.DataFrame | None = None
        self._results: Results | None = None
        if results is not None:
            try:
                self._results = Results(results, dataset=self.content_hash)
            except BaseException:
                self.close()
                raise

    @classmethod
    def _view(cls, source: Source, results: Results | None, rows: Positions | None) -> FilterDB:
        made = cls.__new__(cls)
        made._source, made._results, made._rows = source, results, rows
        made._lock, made._meta = threading.RLock(), None
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (FilterDB._view, (self._source, self._results, self._rows))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        rows = b"all" if self._rows is None else self._rows.tobytes()
        return ("filterdb", self._source.__dask_tokenize__(), rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, for selections of it too. What was read stays."""
        self._source.close()

    def __len__(self) -> int:
        """How many filters there are."""
        if self._rows is None:
            return self._source.file.n_filters
        return int((self.meta["filter_end"] - self.meta["filter_start"]).sum())

    def __repr__(self) -> str:
        return f"<{self._title}>"

    def _repr_html_(self) -> str:
        states = self.models["status"].value_counts()
        found = self._found()
        facts = {
            "filters": f"{len(self):,} of {self.kernel}",
            "layers": f"{len(self.meta):,}",
            "models": ", ".join(f"{count:,} {status}" for status, count in states.items()),
            "without a record": f"{len(self.skipped):,} convolutions",
            "results": "none" if found is None else f"{found.path}, axes {', '.join(found.axes)}",
            "content hash": self.content_hash[:16],
        }
        return html.card(f"FilterDB {self.path.name}{self._part}", facts)

    @property
    def _title(self) -> str:
        stated = self._source.file.attributes
        whole = self._rows is None and "n_records" in stated
        layers, models = (
            (stated["n_records"], stated["n_models"]) if whole else map(len, (self.meta, self.models))
        )
        counted = f"{len(self):,} filters of {layers:,} layers of {models:,} models"
        return printable(f"FilterDB {self.path.name}: {counted}{self._part}")

    @property
    def _part(self) -> str:
        return "" if self._rows is None else f", selected of {len(self._source.file.tables.meta):,} layers"

    @property
    def path(self) -> Path:
        """The file."""
        return self._source.path

    @property
    def kernel(self) -> str:
        """Size of the filters, such as ``"3x3"``."""
        return str(self._source.file.kernel)

    @property
    def content_hash(self) -> str:
        """What the file holds, as a hash; for a published file, what it is recognized by."""
        return self._source.file.content_hash

    @property
    def meta(self) -> pd.DataFrame:
        """One row a convolution layer; ``docs/file-format.md`` describes the columns.

        Columns that you add can be named in :meth:`select`.

        Examples
        --------
        >>> db.meta.groupby("Task")["model"].nunique().nlargest(2).to_dict()
        {'Classification': 8, 'GAN-Discriminator': 8}
        """
        meta = self._source.file.tables.meta
        if self._rows is None:
            return meta
        with self._lock:
            if self._meta is None:
                self._meta = meta.iloc[self._rows]
            return self._meta

    @property
    def models(self) -> pd.DataFrame:
        """One row a file of the zoo, with what became of it; in a selection, the models that it has."""
        models = self._source.file.tables.models
        return models if self._rows is None else models.loc[self.meta.index.unique("model_id")]

    @property
    def skipped(self) -> pd.DataFrame:
        """One row a convolution that has no record, with the reason; in a selection, those of its models."""
        skipped = self._source.file.tables.skipped
        return skipped if self._rows is None else skipped[skipped["model_id"].isin(self.models.index)]

    def filters(self, rows: Rows | None = None) -> Filters:
        """Read filters, and no others, as an array of float32: one row a filter, one column a weight.

        Parameters
        ----------
        rows
            Rows of :attr:`meta` or :attr:`layers` in any order, truth values for each row of :attr:`meta`,
            or pairs of the first filter and the one after the last; all where not given.

        Examples
        --------
        >>> deepest = db.meta.query("conv_depth_norm == 1 and Task == 'Segmentation'")
        >>> db.filters(deepest).shape
        (130, 9)
        """
        wanted = self._filter_rows(rows)
        wanted.require_room()
        return wanted.read(0, len(wanted))

    def kernels(self, rows: Rows | None = None) -> NDArray[np.float32]:
        """Read filters as an array of n x kernel height x kernel width.

        Parameters
        ----------
        rows
            As for :meth:`filters`.

        Examples
        --------
        >>> db.kernels(db.meta.head(1)).shape
        (48, 3, 3)
        """
        return self.filters(rows).reshape(-1, *self._source.file.kernel.shape)

    def filters_dask(self, rows: Rows | None = None, *, chunk_rows: int = 1 << 20) -> dask.array.Array:
        """Return filters as a Dask array, of which each chunk is read when it is computed.

        Parameters
        ----------
        rows
            As for :meth:`filters`.
        chunk_rows
            Filters a chunk; 1,048,576 of 3x3 take 38 MB.

        Examples
        --------
        >>> filters = db.filters_dask()
        >>> filters.shape, filters.dtype
        ((128825, 9), dtype('float32'))
        >>> float(abs(filters).max().compute()) < 10
        True
        """
        import dask.array

        if not _is_count(chunk_rows):
            raise UsageError(f"chunk_rows is {chunk_rows!r}", expected="a whole number, at least 1")
        wanted = self._filter_rows(rows)
        chunks = (chunk_rows, wanted.width)
        name = f"filters-{wanted.token}-{chunk_rows}"
        array: dask.array.Array = dask.array.from_array(wanted, chunks=chunks, name=name, fancy=False)
        return array

    def select(self, where: Where | None = None, *, models: str | Sequence[str] | None = None) -> FilterDB:
        """Return the same data set, of some of its layers: with its filters, tables and shifts.

        Parameters
        ----------
        where
            An expression over the columns of :attr:`layers`, or of :attr:`meta` where there are no results,
            as for ``--where``; a mapping of columns to the value or the values that they must have; truth
            values for each row; or rows of :attr:`meta` or :attr:`layers`.
        models
            Names of models, or patterns with ``*`` and ``?``.

        Raises
        ------
        ColumnError
            If a column does not exist; the nearest one is named.
        UsageError
            If no model has the name, no record the text, or the expression is not allowed.

        Examples
        --------
        >>> db.select("Task == 'Super Resolution' and sparsity > 0.1")
        <FilterDB dataset.h5: 2,665 filters of 7 layers of 4 models, selected of 484 layers>
        >>> db.select({"Visual Category": ["fractals", "textures"]}, models="cls-*")
        <FilterDB dataset.h5: 10,376 filters of 25 layers of 3 models, selected of 484 layers>
        """
        results = self._found()
        try:
            found = positions(
                selectable(self.meta, None if results is None else results.layers),
                where,
                models,
                path=self.path,
            )
        except ColumnError as error:
            raise no_metrics(error, self.path) if results is None else error from None
        rows = found if self._rows is None else self._rows[found]
        return self._view(self._source, None if results is None else results.at(found), rows)

    @property
    def results(self) -> Results:
        """What the analysis of this data set has found.

        Raises
        ------
        UsageError
            If there are no results of it.
        """
        found = self._found()
        if found is None:
            raise no_results(self.path)
        return found

    @property
    def layers(self) -> pd.DataFrame:
        """One row a layer: quality metrics and labels beside all that ``meta`` says of it.

        Examples
        --------
        >>> db.layers.groupby("Width")["sparsity"].mean().round(3).to_dict()
        {'fitting': 0.003, 'over-parameterised': 0.015}
        """
        return self.results.layers

    @property
    def basis(self) -> Basis:
        """The principal components of all scaled filters.

        Examples
        --------
        >>> db.basis.explained.round(2)
        array([0.17, 0.12, 0.12, 0.11, 0.1 , 0.1 , 0.1 , 0.09, 0.09])
        """
        return self.results.basis

    @property
    def cube(self) -> Cube:
        """Statistics of every layer and the counts of its filters' coefficients, in the order of ``meta``."""
        return self.results.cube

    @property
    def shifts(self) -> Mapping[str, Shifts]:
        """What the analysis has written of each of its axes, with uncertainty, of all layers.

        Examples
        --------
        >>> list(db.shifts)
        ['Family', 'Task', 'Visual Category', 'depth_decile']
        """
        return self.results.shifts

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
        """Compare the filters of every two groups of layers, in the coordinates of the results.

        The answer comes from the cube: no filter is read.

        Parameters
        ----------
        by
            What groups the layers: a column of :attr:`layers`, ``depth_decile``, an expression over columns,
            or a column of your own with the index of :attr:`layers`.
        combine_with
            A second column or expression; its groups are combined with those of ``by``.
        where
            An expression; layers for which it is not true are in no group.
        measure
            ``paper``, ``jensen_shannon`` or ``wasserstein``.
        weighting
            What counts alike in a group: ``filters``, ``layers`` or ``models``.
        uncertainty
            Say of each D what chance alone would give, by resampling models; this takes seconds.
        seed, permutations, draws
            Of the uncertainty: the seed, how many permutations, and how many bootstrap draws.

        Examples
        --------
        >>> db.shift("Task").matrix.iloc[:2, :2].round(3)
                      Segmentation  Auto-Encoder
        Segmentation         0.000         0.028
        Auto-Encoder         0.028         0.000
        >>> db.shift("sparsity > 0.1", where="Trained == 'yes'").pairs[["group_a", "group_b", "D"]].round(3)
                  group_a               group_b      D
        0  sparsity > 0.1  not (sparsity > 0.1)  0.068
        """
        return self.results.shift(
            by,
            combine_with=combine_with,
            where=where,
            measure=measure,
            weighting=weighting,
            uncertainty=uncertainty,
            seed=seed,
            permutations=permutations,
            draws=draws,
        )

    def _filter_rows(self, rows: Rows | None) -> FilterRows:
        if rows is None and self._rows is None:
            whole = np.array([0, self._source.file.n_filters], np.int64)
            return FilterRows(self._source, whole[:1], whole[1:])
        count = self._source.file.n_filters
        every = self._source.file.tables.meta
        starts, stops = ranges(self.meta if rows is None else rows, self.meta, every, count, path=self.path)
        return FilterRows(self._source, starts, stops)

    def _found(self) -> Results | None:
        """Return the results, looking for them the first time."""
        with self._lock:
            if self._results is None and self._rows is None:
                self._results = results_beside(self._source)
            return self._results


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and int(value) >= 1
