"""The command that writes the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from filterdb.commands.shared import ConfigOption, JsonOption, app, load, output, show, when_interrupted


@app.command(epilog="Example: filterdb report dataset.h5 results --out report.html")
def report(
    dataset: Annotated[Path | None, typer.Argument(help="The data set file.")] = None,
    results: Annotated[Path | None, typer.Argument(help="Its results folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page to write, .html.")] = None,
    probes: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="What filterdb probe has written of the zoo; else what lies in probes, beside the results.",
        ),
    ] = None,
    config: ConfigOption = None,
    force: Annotated[bool, typer.Option("--force", help="Write again what is up to date.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page of findings, figures and tables that a person reads."""
    from filterdb.run.drawing import report as stage

    settings = load(config)
    path = dataset or output(None, settings, "dataset.h5")
    with when_interrupted("what was there before is untouched; run the same command again"):
        outcome = stage.write(
            path,
            results or output(None, settings, "results"),
            output(out, settings, "report.html"),
            settings,
            probes=probes,
            force=force,
        )
    show(json.dumps(stage.summary(outcome)) if as_json else stage.text(outcome))
