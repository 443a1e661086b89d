"""What researchers hold: a data set as pandas tables and numpy arrays, and what an analysis found in it."""

from __future__ import annotations

import os

import pandas as pd

from filterdb.api.database import FilterDB
from filterdb.api.drawings import Figures
from filterdb.api.probes import Probes
from filterdb.api.results import Results
from filterdb.api.shifts import Measure, Shifts, Weighting

__all__ = [
    "Figures",
    "FilterDB",
    "Probes",
    "Results",
    "Shifts",
    "measure_shift",
    "open",
    "open_probes",
    "open_results",
]


def open(  # noqa: A001 - filterdb.open is the name people expect
    path: str | os.PathLike[str], *, results: str | os.PathLike[str] | None = None
) -> FilterDB:
    """Open a data set file, ours or a published one; its filters are read when they are asked for.

    Parameters
    ----------
    path
        The file.
    results
        The folder that ``filterdb analyze`` has written for it; where not given, the folder ``results``
        beside the file, if it is of this very data set.

    Raises
    ------
    StoreError
        If the file is no data set, is damaged or is not safe to read, or if the results are of another one.

    Examples
    --------
    >>> db = filterdb.open("build/demo/dataset.h5")
    >>> db
    <FilterDB dataset.h5: 128,825 filters of 484 layers of 53 models>
    """
    return FilterDB(path, results=results)


def open_results(path: str | os.PathLike[str]) -> Results:
    """Open a results folder without its data set, which may be elsewhere or too large to keep.

    Parameters
    ----------
    path
        The folder that ``filterdb analyze`` has written.

    Raises
    ------
    NotADatasetError
        If it is no results folder.

    Examples
    --------
    >>> filterdb.open_results("build/demo/results")
    <Results results: 484 layers of 51 models, axes Family, Task, Visual Category, depth_decile>
    """
    return Results(path)


def open_probes(path: str | os.PathLike[str]) -> Probes:
    """Open what a probe found in a zoo.

    Parameters
    ----------
    path
        The folder that ``filterdb probe ... ZOO`` has written.

    Raises
    ------
    NotADatasetError
        If it is no such folder.
    """
    return Probes(path)


def measure_shift(
    results: FilterDB | Results | str | os.PathLike[str],
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
    """Compare the filters of every two groups of layers, from results alone.

    Parameters
    ----------
    results
        A results folder, or what :func:`open` or :func:`open_results` returned.
    by, combine_with, where, measure, weighting, uncertainty, seed, permutations, draws
        As for :meth:`FilterDB.shift`.

    Examples
    --------
    >>> found = filterdb.measure_shift("build/demo/results", by="Family", where="Trained == 'yes'")
    >>> found.matrix.round(2).loc["plain", "residual"].item()
    0.02
    """
    held = results if isinstance(results, FilterDB | Results) else Results(results)
    return held.shift(
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
