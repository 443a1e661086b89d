"""The stage that probes one model, or two: run, and write the table and the figure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
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
    from filterdb.figures.drawing import Kind

TABLES: Final = (".csv", ".parquet", ".json")
FIGURES: Final[Mapping[str, Kind]] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
_LEFT_OUT: Final = ("layer", "op_type", "reason")


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found.

    Parameters
    ----------
    result
        The result.
    table
        It as a tidy table.
    out, figure, skipped
        Where the table, the figure and the layers that could not be looked at were written, if anywhere.
    """

    result: Result
    table: pd.DataFrame
    out: Path | None
    figure: Path | None
    skipped: Path | None = None

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
        A table to write: ``.csv``, ``.parquet`` or ``.json``. Layers that could not be looked at go into a
        table beside it, or into the JSON.
    figure
        A figure to write: ``.png``, ``.svg`` or ``.pdf``.
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
    beside = skipped_path(out) if out is not None and out.suffix != ".json" else None
    report = ProbeReport(result, result.to_frame(), out, figure, beside if result.skipped else None)
    if out is not None:
        with files.appearing(out) as temporary:
            temporary.write_bytes(_content(report, out))
    if beside is not None:
        _write_skipped(result, beside)
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
        The file, ``.png``, ``.svg`` or ``.pdf``.
    """
    with files.appearing(path) as temporary:
        temporary.write_bytes(drawing.render(FIGURES[path.suffix]))


def require_output(path: Path | None, what: str, endings: Collection[str]) -> None:
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
            expected=f"a name that ends with {', '.join(endings)}",
        )
    files.require_place(path)


def _content(report: ProbeReport, out: Path) -> bytes:
    if out.suffix == ".json":
        return json.dumps(summary(report), indent=2).encode("utf-8")
    if out.suffix == ".csv":
        return report.table.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")
    return bytes(report.table.to_parquet(None, index=False))


def skipped_path(out: Path) -> Path:
    """Return where layers are listed that could not be looked at, beside a table."""
    return out.with_name(f"{out.stem}.skipped.csv")


def _write_skipped(result: Result, path: Path) -> None:
    """List what could not be looked at; what an earlier run has listed for the table is no longer true."""
    if not result.skipped:
        if _is_list(path):
            with files.writing(path):
                path.unlink()
        return
    listed = pd.DataFrame(_skipped(result), columns=_LEFT_OUT)
    with files.appearing(path) as temporary:
        content = listed.to_csv(index=False, lineterminator="\n")
        temporary.write_bytes(content.encode("utf-8", "backslashreplace"))


def _is_list(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.readline().strip() == ",".join(_LEFT_OUT).encode()
    except OSError:
        return False


def _skipped(result: Result) -> list[dict[str, str]]:
    known = ((layer.name, layer.op_type, layer.reason) for layer in result.skipped)
    return [dict(zip(_LEFT_OUT, values, strict=True)) for values in known]


def summary(report: ProbeReport) -> dict[str, Any]:
    """Return everything as plain data; what is not defined is null, since JSON knows no NaN."""
    result = report.result
    return {
        **result.facts(),
        "totals": plain(result.totals()),
        result.unit: [plain(row) for row in report.table.to_dict("records")],
        "skipped": _skipped(result),
    }
