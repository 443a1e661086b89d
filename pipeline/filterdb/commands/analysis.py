"""Commands that analyze data sets and models."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
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
    from filterdb.run import messages
    from filterdb.run.analysis import analyze as stage
    from filterdb.run.workforce.connect import refuse_dask_options

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
    from filterdb.run import messages
    from filterdb.run.analysis import compare as stage

    how = stage.Question(by, with_, where, measure, weighting)
    report = stage.compare(a, b, how, out=out)
    show(json.dumps(messages.compare_summary(report)) if as_json else messages.compare_text(report))


@app.command(epilog="Example: filterdb quality model.onnx --against results --by Task")
def quality(
    file: Annotated[Path, typer.Argument(help="An .onnx, .safetensors, .npz or .npy file.")],
    layers: Annotated[
        list[str] | None, typer.Option(help="Layers to show: a name, or a pattern with * and ?.")
    ] = None,
    kernel: Annotated[str, typer.Option(help="Kernels to measure: any, or a size such as 3x3.")] = "any",
    sort: Annotated[str | None, typer.Option(help="A column to sort by, the worst layer first.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RESULTS", help="A results folder to compare the model with.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="With --against: an axis, of which groups are compared; else those of the results."
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: every number of every layer.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how sparse, varied and orthogonal the layers of one model are, and where it stands."""
    if as_csv and as_json:
        raise UsageError("--csv and --json are both given", expected="one of them")
    if against is not None:
        _stand(file, against, by, layers or (), kernel, sort, csv=as_csv, as_json=as_json)
        return
    if by:
        raise UsageError("--by is given without --against", expected="results that have groups")
    from filterdb.measure import measure_quality
    from filterdb.run.model import quality_table as table
    from filterdb.run.text_table import has_colour

    found = measure_quality(file, kernel=kernel)
    rows = [{"layer": name, **layer.row()} for name, layer in found.items()]
    rows, skipped = table.select(rows, found.skipped, layers or (), sort)
    if as_json:
        show(json.dumps(table.summary(str(file), rows, skipped)))
    elif as_csv:
        show(table.as_csv(rows, skipped))
    else:
        show(table.as_text(str(file), rows, skipped, colour=has_colour(sys.stdout)))
    if not rows:
        raise typer.Exit(1)


def _stand(
    file: Path,
    against: Path,
    by: list[str] | None,
    layers: Sequence[str],
    kernel: str,
    sort: str | None,
    *,
    csv: bool,
    as_json: bool,
) -> None:
    """Show a model beside the results of a data set, whose kernels are those that count."""
    from filterdb.run.model import quality_table
    from filterdb.run.model import standing_table as table
    from filterdb.run.model.standing import compare_model
    from filterdb.run.text_table import has_colour

    if kernel != "any":
        raise UsageError(
            f"--kernel {kernel} is given with --against",
            expected="one of them: a data set holds kernels of one size, and only those are compared",
        )
    found = compare_model(file, against, by=by or None)
    rows, skipped = quality_table.select(table.layer_rows(found), found.skipped, layers, sort)
    if as_json:
        show(json.dumps(table.summary(str(file), found, rows, skipped)))
    elif csv:
        show(quality_table.as_csv(rows, skipped))
    else:
        show(table.as_text(str(file), found, rows, skipped, colour=has_colour(sys.stdout)))
