"""Commands that make data set files of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from filterdb.commands.shared import (
    CompressionOption,
    JsonOption,
    ReplaceOption,
    app,
    show,
    when_interrupted,
)

if TYPE_CHECKING:
    from filterdb.run.exchange.derive import DeriveReport


_AGAIN: Final = "what was there before is untouched; run the same command again"


@app.command(epilog="Example: filterdb export dataset.h5 --out folder --results results --license cc-by-4.0")
def export(
    dataset: Annotated[Path, typer.Argument(help="The data set file.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    results: Annotated[Path | None, typer.Option(help="Results whose layer metrics are written too.")] = None,
    license_: Annotated[
        str, typer.Option("--license", help="Licence of the weights, as a hub names it; yours to know.")
    ] = "other",
    title: Annotated[str | None, typer.Option(help="Name on the card; the file's by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write again what is there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a data set file as Parquet with a card, ready for a hub."""
    from filterdb.run.exchange import export as stage
    from filterdb.run.exchange import transfer_messages as messages

    with when_interrupted(_AGAIN):
        report = stage.export(
            dataset, out, results_folder=results, license=license_, title=title, force=force
        )
    show(json.dumps(messages.export_summary(report)) if as_json else messages.export_text(report))


@app.command("import", epilog="Example: filterdb import folder --out dataset.h5")
def import_(
    folder: Annotated[Path, typer.Argument(help="A folder that filterdb export has written.")],
    out: Annotated[Path, typer.Option(help="The data set file to write.")],
    compression: CompressionOption = "none",
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the data set file that an export was made of."""
    from filterdb.run.exchange.ingest import ingest

    with when_interrupted(_AGAIN):
        report = ingest(folder, out, compression=compression, force=force)
    _show_derived(report, as_json=as_json)


@app.command(epilog="Example: filterdb merge a.h5 b.h5 --out c.h5")
def merge(
    datasets: Annotated[list[Path], typer.Argument(help="The data set files; the first has precedence.")],
    out: Annotated[Path, typer.Option(help="The data set file to write.")],
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep a model once for each file that has it.")
    ] = False,
    compression: CompressionOption = "none",
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make one data set file of several."""
    from filterdb.run.exchange import merge as stage

    with when_interrupted(_AGAIN):
        report = stage.merge(
            datasets, out, keep_duplicates=keep_duplicates, compression=compression, force=force
        )
    _show_derived(report, as_json=as_json)


@app.command(epilog="Example: filterdb subset dataset.h5 --where \"Task == 'Detection'\" --out small.h5")
def subset(
    dataset: Annotated[Path, typer.Argument(help="The data set file.")],
    out: Annotated[Path, typer.Option(help="The data set file to write.")],
    where: Annotated[str | None, typer.Option(help="An expression that records must meet.")] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Models to keep: a name, or a pattern with * and ?.")
    ] = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="With --where, keep models that never had a record.")
    ] = False,
    compression: CompressionOption = "none",
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the part of a data set file that meets a condition."""
    from filterdb.run.exchange import subset as stage

    with when_interrupted(_AGAIN):
        report = stage.subset(
            dataset,
            out,
            where=where,
            models=models or (),
            keep_empty=keep_empty,
            compression=compression,
            force=force,
        )
    _show_derived(report, as_json=as_json)


def _show_derived(report: DeriveReport, *, as_json: bool) -> None:
    from filterdb.run.exchange import transfer_messages as messages

    show(json.dumps(messages.derive_summary(report)) if as_json else messages.derive_text(report))
