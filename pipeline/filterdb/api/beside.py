"""Results that lie beside a data set file, and what is said where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from filterdb.api.results import Results
from filterdb.api.source import Source
from filterdb.errors import ColumnError, UsageError

FOLDER: Final = "results"
"""The folder beside a data set file in which its results are looked for."""


def results_beside(source: Source) -> Results | None:
    """Return the results in the folder beside a file, if they are of it.

    Parameters
    ----------
    source
        The file.
    """
    from filterdb.run.files import read_json
    from filterdb.run.place import FORMAT, MANIFEST

    folder = source.path.with_name(FOLDER)
    manifest = read_json(folder / MANIFEST)
    # The identity of a published file takes a while, so it is asked for last.
    if manifest.get("format") != FORMAT or manifest.get("dataset") != source.file.content_hash:
        return None
    return Results(folder, dataset=source.file.content_hash)


def no_results(path: Path) -> UsageError:
    """Return the error of a data set without results.

    Parameters
    ----------
    path
        The file.
    """
    return UsageError(
        "there are no results of this data set",
        where=path,
        expected=f"the folder {path.with_name(FOLDER)} of this data set, or open(..., results=FOLDER)",
        hint=_analyze(path),
    )


def no_metrics(error: ColumnError, path: Path) -> ColumnError:
    """Say of a missing column that metrics are columns only of a data set that has results.

    Parameters
    ----------
    error
        What is missing.
    path
        The file.
    """
    return ColumnError(
        error.what,
        where=error.where,
        expected="a column of meta, or a metric where there are results of the data set",
        hint=error.hint or _analyze(path),
    )


def _analyze(path: Path) -> str:
    return f"filterdb analyze {path} --out {path.with_name(FOLDER)}"
