from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from zoos import command, varied_zoo

from filterdb.run import progress as room
from filterdb.run.progress import NoProgress, PlainProgress, progress


def on_a_terminal(line: list[str]) -> tuple[int, str]:
    """Run a command whose standard error is a terminal, and return what it wrote there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        if not select.select([ours], [], [], 120)[0]:
            raise AssertionError("the command neither ends nor says anything")
        try:
            block = os.read(ours, 65536)
        except OSError:
            break
        if not block:
            break
        seen += block
    os.close(ours)
    return process.wait(), seen.decode()


def test_a_terminal_gets_a_bar_with_rate_and_time_left(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 12, large=6)
    code, seen = on_a_terminal(command(zoo, tmp_path / "d.h5"))
    assert code == 0
    assert "extract" in seen
    assert "/18" in seen
    assert re.search(r"[\d.]+/s", seen)
    assert re.search(r"\d:\d\d:\d\d", seen)
    # The bar is gone in the end, and the cursor back.
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


def test_an_error_closes_the_bar_before_it_is_shown(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 12)
    script = (
        "import resource, sys; from filterdb.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); main(sys.argv[1:])"
    )
    line = [sys.executable, "-c", script, *command(zoo, tmp_path / "d.h5")[3:]]
    code, seen = on_a_terminal(line)
    assert code == 1
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")
    assert seen.rindex("filterdb: ") > seen.rindex("\x1b[?25h")
    assert "Traceback" not in seen


def test_standard_output_holds_the_result_and_nothing_else(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 4)
    done = subprocess.run(
        command(zoo, tmp_path / "d.h5", "--json"), capture_output=True, text=True, timeout=200
    )
    assert json.loads(done.stdout)["action"] == "extracted"
    assert done.stderr == ""


def test_a_log_gets_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(room.time, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    with progress("extract", 2000, "models", stream=stream) as bar:
        assert isinstance(bar, PlainProgress)
        for _ in range(20):
            bar.advance(100)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "extract: 300 of 2,000 models, 18.8/s, 91 s left"
    assert lines[-1].startswith("extract: 2,000 of 2,000 models")
    assert "\x1b" not in stream.getvalue()


def test_a_short_job_says_nothing_in_a_log() -> None:
    stream = io.StringIO()
    with progress("extract", 3, "models", stream=stream) as bar:
        bar.advance(3)
    assert stream.getvalue() == ""


def test_nothing_to_do_is_nothing_to_show() -> None:
    with progress("extract", 0, "models") as bar:
        bar.advance()
    assert isinstance(bar, NoProgress)
