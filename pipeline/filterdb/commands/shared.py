"""What commands share: the application, common options, and how results are shown."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from filterdb.errors import UsageError

if TYPE_CHECKING:
    from filterdb.config import RunConfig

ORDER: Final = ("extract", "analyze", "info", "verify", "quality", "compare")
"""The commands that the help lists first; the others follow by name."""


class _Ordered(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: ((*ORDER, name).index(name), name))


app = typer.Typer(
    name="filterdb",
    cls=_Ordered,
    help="From a zoo of ONNX models to a database of its convolution filters, and to what they show.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file; see configs/.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes or threads; one a core by default.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option("--scheduler", help="local, threads, processes, cluster, or tcp://... of a Dask scheduler."),
]
DashboardOption = Annotated[
    bool | None, typer.Option("--dashboard", help="Say where Dask's dashboard is; needs a Dask cluster.")
]
ReportOption = Annotated[
    str | None,
    typer.Option("--performance-report", help="HTML file for Dask's report; needs a Dask cluster."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
CompressionOption = Annotated[str, typer.Option(help="none or gzip.")]
ReplaceOption = Annotated[
    bool, typer.Option("--force", help="Replace a data set file that this command has not written.")
]


def load(config: Path | None, **values: Any) -> RunConfig:
    """Read the configuration, if there is one; what the command line says replaces what it says."""
    from filterdb.config import RunConfig

    base = RunConfig.load(config) if config else RunConfig()
    return base.with_values(**values)


def output(out: Path | None, config: RunConfig, name: str) -> Path:
    """Return where an output goes: where it is said, or into the folder of the configuration's name."""
    if out is not None:
        return out
    if not config.name:
        raise UsageError(
            f"it is not said where the {name} is", expected=f"a path such as {name}, or --config with a name"
        )
    return Path("build") / config.name / name


class Interrupted(BaseException):
    """A signal asks the run to end; no library takes it for something of its own."""

    what = "the same command goes on from here"


@contextlib.contextmanager
def when_interrupted(what: str) -> Iterator[None]:
    """Say what an interruption of the block means."""
    try:
        yield
    except Interrupted as interrupted:
        interrupted.what = what
        raise


def show(text: str) -> None:
    """Print a result; whoever stopped reading it knows why."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
