"""Commands that analyze data sets and models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from filterdb.commands.shared import (
    ConfigOption,
    DashboardOption,
    JsonOption,
    ReportOption,
    SchedulerOption,
    WorkersOption,
    app,
    load,
    output,
    show,
    when_interrupted,
)
from filterdb.errors import UsageError


@app.command(epilog="Example: filterdb analyze dataset.h5 --out results --by Task --by depth_decile")
def analyze(
    dataset: Annotated[Path | None, typer.Argument(help="The data set file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The results folder to write.")] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="An axis: a column, depth_decile or an expression.")
    ] = None,
    with_: Annotated[str | None, typer.Option("--with", help="An axis to combine each with.")] = None,
    where: Annotated[str | None, typer.Option(help="An expression that records must meet.")] = None,
    policy: Annotated[str | None, typer.Option(help="Range and weights: paper or fixed.")] = None,
    basis: Annotated[str | None, typer.Option(help="all, subset, or a basis.json of other results.")] = None,
    measure: Annotated[str | None, typer.Option(help="paper, jensen_shannon or wasserstein.")] = None,
    weighting: Annotated[str | None, typer.Option(help="filters, layers or models.")] = None,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    dashboard: DashboardOption = None,
    performance_report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute quality metrics of every layer and distribution shifts between groups."""
    from filterdb.run import analyze as stage
    from filterdb.run import messages
    from filterdb.run.connect import refuse_dask_options

    settings = load(
        config,
        workers=workers,
        scheduler=scheduler,
        dashboard=dashboard,
        performance_report=performance_report,
    ).with_analyze(
        by=tuple(by) if by else None,
        combine_with=with_,
        where=where,
        policy=policy,
        basis=basis,
        measure=measure,
        weighting=weighting,
    )
    refuse_dask_options(settings)
    path = dataset or output(None, settings, "dataset.h5")
    with when_interrupted("what was there before is untouched; run the same command again"):
        report = stage.analyze(path, output(out, settings, "results"), settings)
    if settings.performance_report and not report.scanned:
        print("filterdb: no filter was read, so there is no performance report", file=sys.stderr)
    show(json.dumps(messages.analyze_summary(report)) if as_json else messages.analyze_text(report))


@app.command(epilog="Example: filterdb compare results-a results-b --by Task --out compared.csv")
def compare(
    a: Annotated[Path, typer.Argument(metavar="RESULTS_A", help="A results folder.")],
    b: Annotated[Path, typer.Argument(metavar="RESULTS_B", help="Another, in the same coordinates.")],
    by: Annotated[str, typer.Option(help="An axis: a column, depth_decile or an expression.")],
    with_: Annotated[str | None, typer.Option("--with", help="An axis to combine it with.")] = None,
    where: Annotated[str | None, typer.Option(help="An expression that records must meet.")] = None,
    measure: Annotated[str, typer.Option(help="paper, jensen_shannon or wasserstein.")] = "paper",
    weighting: Annotated[str, typer.Option(help="filters, layers or models.")] = "filters",
    out: Annotated[Path | None, typer.Option(help="A table to write: .csv or .parquet.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the groups of one analysis with those of another."""
    from filterdb.run import compare as stage
    from filterdb.run import messages

    how = stage.Question(by, with_, where, measure, weighting)
    report = stage.compare(a, b, how, out=out)
    show(json.dumps(messages.compare_summary(report)) if as_json else messages.compare_text(report))


@app.command(epilog="Example: filterdb quality model.onnx --sort sparsity")
def quality(
    file: Annotated[Path, typer.Argument(help="An .onnx, .safetensors, .npz or .npy file.")],
    layers: Annotated[
        list[str] | None, typer.Option(help="Layers to show: a name, or a pattern with * and ?.")
    ] = None,
    kernel: Annotated[str, typer.Option(help="Kernels to measure: any, or a size such as 3x3.")] = "any",
    sort: Annotated[str | None, typer.Option(help="A column to sort by, the worst layer first.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, complete.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how sparse, varied and orthogonal the layers of one model are."""
    if as_csv and as_json:
        raise UsageError("--csv and --json are both given", expected="one of them")
    from filterdb.measure import measure_quality
    from filterdb.run import quality_table as table

    rows, skipped = table.select(measure_quality(file, kernel=kernel), layers or (), sort)
    if as_json:
        show(json.dumps(table.summary(str(file), rows, skipped)))
    elif as_csv:
        show(table.as_csv(rows, skipped))
    else:
        show(table.as_text(str(file), rows, skipped, colour=table.has_colour(sys.stdout)))
    if not rows:
        raise typer.Exit(1)
