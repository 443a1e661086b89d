"""The command that draws figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from filterdb.commands.shared import (
    ConfigOption,
    JsonOption,
    WorkersOption,
    app,
    load,
    output,
    show,
    when_interrupted,
)


@app.command(epilog="Example: filterdb figures dataset.h5 results --out figures")
def figures(
    dataset: Annotated[Path | None, typer.Argument(help="The data set file.")] = None,
    results: Annotated[Path | None, typer.Argument(help="Its results folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write.")] = None,
    width: Annotated[str | None, typer.Option(help="Of the page: column or double.")] = None,
    ridges: Annotated[str | None, typer.Option(help="Densities: auto, bins or exact.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model whose filters to show; may be given again.")
    ] = None,
    workers: WorkersOption = None,
    config: ConfigOption = None,
    force: Annotated[bool, typer.Option("--force", help="Draw again what is up to date.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw every figure of a data set, as PNG and SVG, with the numbers as CSV."""
    from filterdb.run.drawing import figures as stage

    settings = load(config).with_values(workers=workers)
    settings = settings.with_figures(width=width, ridges=ridges, models=tuple(model) if model else None)
    path = dataset or output(None, settings, "dataset.h5")
    with when_interrupted("what was there before is untouched; run the same command again"):
        report = stage.draw(
            path,
            results or output(None, settings, "results"),
            output(out, settings, "figures"),
            settings,
            force=force,
        )
    show(json.dumps(stage.summary(report)) if as_json else stage.text(report))
