"""The command: parse, call a stage, say what happened, return an exit code."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from filterdb import __version__
from filterdb.config import RunConfig
from filterdb.errors import FilterDBError, UsageError

app = typer.Typer(
    name="filterdb",
    help="From a zoo of ONNX models to a database of its convolution filters, and to what they show.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file; see configs/.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes; one a core by default.")
]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", help="'local', or tcp://... of a running Dask scheduler.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _load(config: Path | None, **values: Any) -> RunConfig:
    base = RunConfig.load(config) if config else RunConfig()
    return base.with_values(**values)


def _output(out: Path | None, config: RunConfig, name: str) -> Path:
    if out is not None:
        return out
    if not config.name:
        raise UsageError(f"no place for the {name}", expected="--out or --config")
    return Path("build") / config.name / name


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
    from filterdb.run import extract as stage
    from filterdb.run import messages

    settings = _load(
        config, zoo=zoo or None, metadata=metadata, workers=workers, scheduler=scheduler, strict=strict
    ).with_extract(kernel=kernel, compression=compression)
    report = stage.extract(settings, _output(out, settings, "dataset.h5"), force=force)
    print(json.dumps(messages.extract_summary(report)) if as_json else messages.extract_text(report))
    failed = report.statuses["failed"] + report.statuses["crashed"]
    if report.action == "nothing" or (settings.strict and failed):
        raise typer.Exit(1)


@app.command(epilog="Example: filterdb analyze dataset.h5 --out results --by Task --by depth_decile")
def analyze(
    dataset: Annotated[Path | None, typer.Argument(help="The data set file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The results folder to write.")] = None,
    by: Annotated[list[str] | None, typer.Option(help="An axis to compare groups along.")] = None,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute quality metrics of every layer and distribution shifts between groups."""
    from filterdb.run import analyze as stage
    from filterdb.run import messages

    settings = _load(config, workers=workers, scheduler=scheduler).with_analyze(by=tuple(by) if by else None)
    path = dataset or _output(None, settings, "dataset.h5")
    report = stage.analyze(path, _output(out, settings, "results"), settings)
    print(json.dumps(messages.analyze_summary(report)) if as_json else messages.analyze_text(report))


@app.command(epilog="Example: filterdb info dataset.h5")
def info(
    dataset: Annotated[Path, typer.Argument(help="The data set file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a data set file holds, on one screen."""
    from filterdb.run import messages
    from filterdb.store import DatasetFile

    with DatasetFile(dataset) as file:
        print(json.dumps(messages.info_summary(file)) if as_json else messages.info_text(file))


@app.command(epilog="Example: filterdb verify dataset.h5")
def verify(dataset: Annotated[Path, typer.Argument(help="The data set file.")]) -> None:
    """Re-hash a data set file and check every invariant of its format."""
    from filterdb import store

    problems = store.verify(dataset)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{dataset}: every hash and invariant holds")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code: 0 done, 1 nothing usable, 2 wrong usage."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_guarded(lambda: app(args=arguments, standalone_mode=False)))


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _guarded(command: Callable[[], Any]) -> int:
    import click

    try:
        return int(command() or 0)
    except FilterDBError as error:
        print(f"filterdb: {error}", file=sys.stderr)
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except KeyboardInterrupt:
        print("filterdb: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    main()
