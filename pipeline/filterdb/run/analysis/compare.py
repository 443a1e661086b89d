"""The stage that compares the groups of one results folder with those of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from filterdb import shift
from filterdb.config import AnalyzeConfig, RunConfig
from filterdb.errors import ColumnError, UsageError
from filterdb.run import files
from filterdb.run.analysis import results
from filterdb.run.analysis.results import Results

_WRITERS: Final = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Question:
    """What two results are asked.

    Parameters
    ----------
    by, combine_with, where, measure, weighting
        As in :class:`AnalyzeConfig`; a single axis.
    """

    by: str
    combine_with: str | None = None
    where: str | None = None
    measure: str = "paper"
    weighting: str = "filters"

    @property
    def settings(self) -> AnalyzeConfig:
        """The same as an analysis would have it, checked."""
        return (
            RunConfig()
            .with_analyze(
                by=(self.by,),
                combine_with=self.combine_with,
                where=self.where,
                measure=self.measure,
                weighting=self.weighting,
            )
            .analyze
        )


@dataclass(frozen=True, slots=True)
class CompareReport:
    """What a comparison found.

    Parameters
    ----------
    a, b
        The results folders.
    question
        What they were asked.
    table
        One row a pair: D between a group of ``a`` and a group of ``b``.
    out
        Where the table was written, if anywhere.
    """

    a: Path
    b: Path
    question: Question
    table: pd.DataFrame
    out: Path | None = None


def compare(a: Path, b: Path, question: Question, *, out: Path | None = None) -> CompareReport:
    """Compute D between every group of one results folder and every group of another.

    Parameters
    ----------
    a, b
        The results folders; the data sets need not be there.
    question
        Axis, condition and measure.
    out
        A table to write, ``.csv`` or ``.parquet``.

    Raises
    ------
    UsageError
        If the two are in different coordinates, or the question cannot be put to them.
    """
    settings = question.settings
    if out is not None:
        _check_output(out)
    first, second = results.load(a), results.load(b)
    _require_same_coordinates((a, first), (b, second))
    axes = _axes((a, first), (b, second), settings)
    table = shift.cross_shift(
        (axes[0], first.measured.cube),
        (axes[1], second.measured.cube),
        first.measured.coordinates,
        by=settings.measure,
        weighting=settings.weighting,
    )
    if out is not None:
        _write(table, out)
    return CompareReport(a, b, question, table, out)


def _require_same_coordinates(a: tuple[Path, Results], b: tuple[Path, Results]) -> None:
    ours, theirs = (one.measured.coordinates for _, one in (a, b))
    different = ours.differences(theirs)
    if not different:
        return
    if different == ("kernel",):
        raise UsageError(
            f"the results are of {ours.kernel} and of {theirs.kernel} filters, which cannot be compared",
            where=f"{a[0]} and {b[0]}",
        )
    dataset = b[1].manifest.get("dataset_file", "DATASET")
    raise UsageError(
        f"the results are in different coordinates: they differ in {' and '.join(different)}",
        where=f"{a[0]} and {b[0]}",
        expected="results of the same basis, range, bins and weights",
        hint=f"filterdb analyze {dataset} --out {b[0]} --basis {a[0] / results.BASIS}",
    )


def _axes(
    a: tuple[Path, Results], b: tuple[Path, Results], settings: AnalyzeConfig
) -> tuple[shift.Axis, shift.Axis]:
    """Group the records of both at once, so that bins of numbers are the same in both."""
    frames = [results.joined(one.meta, one.layers) for _, one in (a, b)]
    for (path, _), frame in zip((a, b), frames, strict=True):
        # A column that only one of them has would be missing in all records of the other.
        shift.make_axis(frame, settings.by[0], with_=settings.combine_with, fewest=0)
        if settings.where is not None:
            shift.evaluate(settings.where, frame, where=f"--where, in {path}")
    both = pd.concat(frames)
    axis = shift.make_axis(both, settings.by[0], with_=settings.combine_with, fewest=0)
    if settings.where is not None:
        mask = shift.evaluate(settings.where, both, where="--where")
        axis = shift.restrict(axis, mask, fewest=0)
    border = len(frames[0])
    parts = shift.part(axis, slice(0, border)), shift.part(axis, slice(border, None))
    for (path, _), part in zip((a, b), parts, strict=True):
        if not part.groups:
            raise ColumnError(part.lack, where=path, expected="at least one group on either side")
    return parts


def _check_output(out: Path) -> None:
    if out.suffix not in _WRITERS:
        raise UsageError(
            f"the table cannot be written as {out.suffix or 'a file without an ending'}",
            where=out,
            expected=f"a name that ends with {' or '.join(_WRITERS)}",
        )
    files.require_place(out)


def _write(table: pd.DataFrame, out: Path) -> None:
    with files.appearing(out) as temporary:
        if out.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary)
