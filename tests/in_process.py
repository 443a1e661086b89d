"""The command in this process: what it prints and how it ends, without the second that a start takes."""

from __future__ import annotations

import contextlib
import io
import subprocess
import warnings
from pathlib import Path
from typing import NoReturn
from unittest import mock

from filterdb import cli


def call(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, as a shell would.

    Each command has at least one test that runs it as a process of its own; this is for the others.
    """
    words = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with (
        # The handlers are those of the test runner, which goes on.
        mock.patch("signal.signal"),
        mock.patch("os._exit", _leave),
        mock.patch("atexit.register"),
        mock.patch("gc.set_threshold"),
        mock.patch("warnings.formatwarning", warnings.formatwarning),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main(words)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return subprocess.CompletedProcess(["filterdb", *words], code, out.getvalue(), err.getvalue())


def _leave(code: int) -> NoReturn:
    raise SystemExit(code)
