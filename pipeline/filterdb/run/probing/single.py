"""The stage that probes one model, or two: run, and write the table and the figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from filterdb.errors import UsageError
from filterdb.probe.results import plain
from filterdb.probe.worker import Result, What, probe_of
from filterdb.run import files
from filterdb.run.progress import progress

if TYPE_CHECKING:
    from filterdb.figures import Drawing

TABLES: Final = (".csv", ".parquet", ".json")
FIGURES: Final = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found.

    Parameters
    ----------
    result
        The result.
    table
        It as a tidy table.
    out, figure
        Where the table and the figure were written, if anywhere.
    """

    result: Result
    table: pd.DataFrame
    out: Path | None
    figure: Path | None

    @property
    def empty(self) -> bool:
        """Whether no layer has a value."""
        return bool(self.table[self.result.column].isna().all())


def probe(
    what: What, *models: Path, out: Path | None = None, figure: Path | None = None, **options: Any
) -> ProbeReport:
    """Probe a model, or two.

    Parameters
    ----------
    what
        ``cka``, ``saturation`` or ``sparsity``.
    *models
        The model files.
    out
        A table to write: ``.csv``, ``.parquet`` or ``.json``.
    figure
        A figure to write: ``.png`` or ``.svg``.
    **options
        Passed on to the probe.

    Raises
    ------
    UsageError
        If an option or the data cannot be used.
    ModelError
        If a model cannot be used.
    OutputError
        If a file cannot be written.
    """
    require_output(out, "table", TABLES)
    require_output(figure, "figure", FIGURES)
    result = probe_of(what)(*models, progress=progress, **options)
    report = ProbeReport(result, result.to_frame(), out, figure)
    if out is not None:
        with files.appearing(out) as temporary:
            temporary.write_bytes(_content(report, out))
    if figure is not None:
        save_figure(result.figure(), figure)
    return report


def save_figure(drawing: Drawing, path: Path) -> None:
    """Write a figure as what its name says.

    Parameters
    ----------
    drawing
        The figure.
    path
        The file, ``.png`` or ``.svg``.
    """
    with files.appearing(path) as temporary:
        temporary.write_bytes(drawing.render("png" if path.suffix == ".png" else "svg"))


def require_output(path: Path | None, what: str, endings: Sequence[str]) -> None:
    """Refuse a name that says no kind of file, before anything is computed.

    Parameters
    ----------
    path
        The file to write, if any.
    what
        What it will hold, for the message.
    endings
        What the name may end with.
    """
    if path is None:
        return
    if path.suffix not in endings:
        raise UsageError(
            f"the {what} cannot be written as {path.suffix or 'a file without an ending'}",
            where=path,
            expected=f"a name that ends with {' or '.join(endings)}",
        )
    files.require_place(path)


def _content(report: ProbeReport, out: Path) -> bytes:
    if out.suffix == ".json":
        return json.dumps(summary(report), indent=2).encode("utf-8")
    if out.suffix == ".csv":
        return report.table.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")
    return bytes(report.table.to_parquet(None, index=False))


def summary(report: ProbeReport) -> dict[str, Any]:
    """Return everything as plain data; what is not defined is null, since JSON knows no NaN."""
    result = report.result
    return {
        **result.facts(),
        "totals": plain(result.totals()),
        result.unit: [plain(row) for row in report.table.to_dict("records")],
        "skipped": [
            {"layer": layer.name, "op_type": layer.op_type, "reason": layer.reason}
            for layer in result.skipped
        ],
    }
