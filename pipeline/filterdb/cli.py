"""The command: call what was asked for, say what went wrong, return an exit code."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import warnings
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from filterdb import __version__
from filterdb.commands import analysis, data, exchange, figures, probe, report
from filterdb.commands.shared import Interrupted, app, show
from filterdb.errors import FilterDBError, OutputError, UnseenValueWarning

ROOMS: Final = (data, analysis, figures, report, probe, exchange)
"""Where the commands are; to load them is to add them."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_FEWER_SEARCHES: Final = (50_000, 20, 20)
"""When to search for garbage: as usual, Python spends an eighth of loading pandas on it, and finds none."""


@app.callback(
    invoke_without_command=True,
    epilog="Example: filterdb extract models/ --metadata models.csv --out dataset.h5",
)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        show(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code: 0 done, 1 nothing usable, 2 wrong usage."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _warning
    gc.set_threshold(*_FEWER_SEARCHES)
    # What is still there when Python ends is not searched for garbage: that takes longer than to leave.
    atexit.register(gc.freeze)
    try:
        app(args=arguments)
        sys.exit(0)
    except FilterDBError as error:
        print(f"filterdb: {error}", file=sys.stderr, flush=True)
        if isinstance(error, OutputError):
            # HDF5 cannot forget a file that it failed to write: it tries again when Python ends, and crashes.
            os._exit(error.exit_code)
        sys.exit(error.exit_code)
    except MemoryError:
        short = FilterDBError("there is not enough memory", hint="fewer workers or threads take less")
        print(f"filterdb: {short}", file=sys.stderr, flush=True)
        sys.exit(short.exit_code)
    except Interrupted as interrupted:
        print(f"filterdb: interrupted; {interrupted.what}", file=sys.stderr)
        sys.exit(128 + interrupted.args[0])


_plain_warning: Final = warnings.formatwarning


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    if issubclass(category, UnseenValueWarning):
        return f"filterdb: warning: {message}\n"
    return _plain_warning(message, category, filename, lineno, line)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for other in _SIGNALS:
        signal.signal(other, _leave)
    raise Interrupted(number)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave at once: who asks twice does not want to wait. Worker processes end with this one."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
