"""Measure whole commands: time, and the memory of a process with all its children."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ORACLES = Path(".venv-oracles/bin/python")
"""The interpreter that has PyTorch and the field's packages; `make bench` sees to it."""

_SAMPLE_EVERY = 0.1
"""Looking at a process tree takes time from those that are measured: rarely enough not to matter."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: its time and memory, and what it said of itself in a line of JSON."""

    seconds: float
    memory: int
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A contender's runs, as a benchmark reports them."""

    name: str
    runs: tuple[Run, ...]

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def memory(self) -> int:
        return max(run.memory for run in self.runs)

    def said(self, *path: str) -> float:
        """Return the median of a number that the command said of itself."""
        values = []
        for run in self.runs:
            value: Any = run.said
            for name in path:
                value = value[name]
            values.append(float(value))
        return statistics.median(values)


def run_command(command: Sequence[str]) -> Run:
    """Run a command to its end; its memory is the largest sum of private bytes over its process tree."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _private_bytes(process.pid))
        time.sleep(_SAMPLE_EVERY)
    seconds = time.perf_counter() - start
    if process.returncode:
        message = process.stderr.read().decode() if process.stderr else ""
        sys.exit(f"{' '.join(command)} failed: {message}")
    last = process.stdout.read().decode().rstrip().rpartition("\n")[2] if process.stdout else ""
    said = {}
    with contextlib.suppress(ValueError):
        said = json.loads(last)
    return Run(seconds, peak, said if isinstance(said, dict) else {})


def _private_bytes(pid: int) -> int:
    """Sum what processes hold for themselves; pages of mapped files are the system's to take back."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                memory = process.memory_info()
                total += memory.rss - memory.shared
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total


def in_turn(
    contenders: dict[str, Callable[[], Sequence[str]]], *, rounds: int, before: int = 1
) -> list[Figure]:
    """Run contenders in turn, A B C A B C, after a round that does not count.

    Parameters
    ----------
    contenders
        By name, what prepares a run and returns its command.
    rounds
        How many rounds count.
    before
        How many are run first and do not count.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for round_number in range(before + rounds):
        for name, prepare in contenders.items():
            run = run_command(prepare())
            if round_number >= before:
                runs[name].append(run)
    return [Figure(name, tuple(taken)) for name, taken in runs.items()]
