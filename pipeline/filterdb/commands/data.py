"""Commands that write a data set file of models, and look at one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from filterdb.commands.shared import (
    ConfigOption,
    JsonOption,
    SchedulerOption,
    WorkersOption,
    app,
    load,
    output,
    show,
)


@app.command(
    epilog="Example: filterdb extract models/ --metadata models.csv --out dataset.h5",
)
def extract(
    zoo: Annotated[list[str] | None, typer.Argument(help="Folders of .onnx files.")] = None,
    metadata: Annotated[str | None, typer.Option(help="CSV or Parquet that describes the models.")] = None,
    out: Annotated[Path | None, typer.Option(help="The data set file to write.")] = None,
    kernel: Annotated[str | None, typer.Option(help="Kernel size to extract, such as 3x3.")] = None,
    compression: Annotated[str | None, typer.Option(help="none or gzip.")] = None,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    force: Annotated[bool, typer.Option("--force", help="Parse every model again.")] = False,
    strict: Annotated[bool | None, typer.Option("--strict", help="Fail if any model fails.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Extract the filters of a zoo of ONNX models into a data set file."""
    from filterdb.run.extraction.crew import crew

    with crew(0 if scheduler else workers) as spare:
        from filterdb.run.extraction import extract as stage

        settings = load(
            config, zoo=zoo or None, metadata=metadata, workers=workers, scheduler=scheduler, strict=strict
        ).with_extract(kernel=kernel, compression=compression)
        report = stage.extract(settings, output(out, settings, "dataset.h5"), force=force, spare=spare)
    from filterdb.run import messages

    show(json.dumps(messages.extract_summary(report)) if as_json else messages.extract_text(report))
    failed = report.statuses["failed"] + report.statuses["crashed"]
    if report.action == "nothing" or (settings.strict and failed):
        raise typer.Exit(1)


@app.command(epilog="Example: filterdb info dataset.h5")
def info(
    dataset: Annotated[Path, typer.Argument(help="The data set file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a data set file holds, on one screen."""
    from filterdb.run import messages
    from filterdb.store import open_dataset

    with open_dataset(dataset) as file:
        show(json.dumps(messages.info_summary(file)) if as_json else messages.info_text(file))


@app.command(epilog="Example: filterdb verify dataset.h5")
def verify(
    dataset: Annotated[Path, typer.Argument(help="The data set file.")],
    as_json: JsonOption = False,
) -> None:
    """Re-hash a data set file and check every invariant of its format."""
    from filterdb import store

    with store.open_dataset(dataset) as file:
        checks = file.checks
    problems = store.verify(dataset)
    if as_json:
        show(json.dumps({"dataset": str(dataset), "problems": problems}))
    else:
        show("\n".join(problems) or f"{dataset}: {checks}")
    if problems:
        raise typer.Exit(1)
