"""The command: parse, call a stage, say what happened, return an exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final, NoReturn

import typer

from filterdb import __version__
from filterdb.config import RunConfig
from filterdb.errors import FilterDBError, OutputError, UsageError

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


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _load(config: Path | None, **values: Any) -> RunConfig:
    base = RunConfig.load(config) if config else RunConfig()
    return base.with_values(**values)


def _output(out: Path | None, config: RunConfig, name: str) -> Path:
    if out is not None:
        return out
    if not config.name:
        raise UsageError(
            f"it is not said where the {name} is", expected=f"a path such as {name}, or --config with a name"
        )
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
    from filterdb.run.staging import crew

    settings = _load(
        config, zoo=zoo or None, metadata=metadata, workers=workers, scheduler=scheduler, strict=strict
    ).with_extract(kernel=kernel, compression=compression)
    target = _output(out, settings, "dataset.h5")
    with crew(settings) as spare:
        # Loads pandas and HDF5, while the workers load onnx.
        from filterdb.run import extract as stage
        from filterdb.run import messages

        report = stage.extract(settings, target, force=force, spare=spare)
    _show(json.dumps(messages.extract_summary(report)) if as_json else messages.extract_text(report))
    failed = report.statuses["failed"] + report.statuses["crashed"]
    if report.action == "nothing" or (settings.strict and failed):
        raise typer.Exit(1)


@app.command(epilog="Example: filterdb analyze dataset.h5 --out results --by Task --by depth_decile")
def analyze(
    dataset: Annotated[Path | None, typer.Argument(help="The data set file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The results folder to write.")] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="An axis: a column, depth_decile or an expression.")
    ] = None,
    with_: Annotated[str | None, typer.Option("--with", help="An axis to combine each with.")] = None,
    where: Annotated[str | None, typer.Option(help="An expression that records must meet.")] = None,
    measure: Annotated[str | None, typer.Option(help="paper, jensen_shannon or wasserstein.")] = None,
    weighting: Annotated[str | None, typer.Option(help="filters, layers or models.")] = None,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute quality metrics of every layer and distribution shifts between groups."""
    from filterdb.run import analyze as stage
    from filterdb.run import messages

    settings = _load(config, workers=workers, scheduler=scheduler).with_analyze(
        by=tuple(by) if by else None, combine_with=with_, where=where, measure=measure, weighting=weighting
    )
    path = dataset or _output(None, settings, "dataset.h5")
    report = stage.analyze(path, _output(out, settings, "results"), settings)
    _show(json.dumps(messages.analyze_summary(report)) if as_json else messages.analyze_text(report))


@app.command(epilog="Example: filterdb info dataset.h5")
def info(
    dataset: Annotated[Path, typer.Argument(help="The data set file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a data set file holds, on one screen."""
    from filterdb.run import messages
    from filterdb.store import DatasetFile

    with DatasetFile(dataset) as file:
        _show(json.dumps(messages.info_summary(file)) if as_json else messages.info_text(file))


@app.command(epilog="Example: filterdb verify dataset.h5")
def verify(
    dataset: Annotated[Path, typer.Argument(help="The data set file.")],
    as_json: JsonOption = False,
) -> None:
    """Re-hash a data set file and check every invariant of its format."""
    from filterdb import store

    problems = store.verify(dataset)
    if as_json:
        _show(json.dumps({"dataset": str(dataset), "problems": problems}))
    else:
        _show("\n".join(problems) or f"{dataset}: every hash and invariant holds")
    if problems:
        raise typer.Exit(1)


@app.callback(
    invoke_without_command=True,
    epilog="Example: filterdb extract models/ --metadata models.csv --out dataset.h5",
)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        _show(__version__)
        raise typer.Exit


class _Interrupted(BaseException):
    """A signal asks the run to end; no library takes it for something of its own."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code: 0 done, 1 nothing usable, 2 wrong usage."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments)
        sys.exit(0)
    except FilterDBError as error:
        print(f"filterdb: {error}", file=sys.stderr, flush=True)
        if isinstance(error, OutputError):
            # HDF5 cannot forget a file that it failed to write: it tries again when Python ends, and crashes.
            os._exit(error.exit_code)
        sys.exit(error.exit_code)
    except _Interrupted as interrupted:
        print("filterdb: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + interrupted.args[0])


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for other in _SIGNALS:
        signal.signal(other, _leave)
    raise _Interrupted(number)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave at once: who asks twice does not want to wait. Worker processes end with this one."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")
    os._exit(128 + number)


def _show(text: str) -> None:
    """Print a result; whoever stopped reading it knows why."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
