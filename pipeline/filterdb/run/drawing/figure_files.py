"""Figures as files, drawn by several processes: what is drawn where changes no byte of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filterdb import figures
from filterdb.figures import Drawing
from filterdb.run.drawing.figure_plan import Call, Job
from filterdb.run.workforce.workers import Limits, run_supervised, started, worker_count

_LIMITS: Final = Limits(seconds=3600.0, memory=sys.maxsize)
"""What is drawn is bounded by how much a figure shows, so that there is nothing to guard against."""


@dataclass(frozen=True, slots=True)
class Task:
    """A figure that is gathered, and where its files go.

    Parameters
    ----------
    name
        Of the files, without their kind.
    call
        Draws it.
    folder
        Where they go.
    dpi
        Of the PNG.
    """

    name: str
    call: Call
    folder: Path
    dpi: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure whose files are there.

    Parameters
    ----------
    name, caption
        Of the figure.
    seconds
        What it took.
    """

    name: str
    caption: str
    seconds: float


def write_figure(task: Task) -> Drawn:
    """Draw a figure, and write its files."""
    start = time.perf_counter()
    drawing = task.call()
    _save(drawing, task.folder / task.name, task.dpi)
    return Drawn(task.name, drawing.caption, round(time.perf_counter() - start, 3))


def write_figures(jobs: list[Job], folder: Path, *, dpi: int, workers: int | str) -> Iterator[Drawn]:
    """Draw figures and write their files, in any order.

    Parameters
    ----------
    jobs
        Names and figures.
    folder
        Where files go.
    dpi
        Of the PNG.
    workers
        Processes that draw; one draws in this process.
    """
    count = worker_count(workers, len(jobs))
    tasks = (Task(name, sheet.gather(), folder, dpi) for name, sheet in jobs)
    if count == 1:
        yield from map(write_figure, tasks)
        return
    with started(write_figure, workers=count) as spare:
        dones = run_supervised(write_figure, tasks, workers=count, limits=_LIMITS, spare=spare)
        # What ends this loop early ends the children at once, not when a traceback is forgotten.
        with closing(dones):
            for done in dones:
                # A process that cannot draw costs time and no figure. If anything is wrong, it shows here.
                yield done.result or write_figure(done.item)


def _save(drawing: Drawing, stem: Path, dpi: int) -> None:
    for kind in figures.KINDS:
        stem.with_name(f"{stem.name}.{kind}").write_bytes(drawing.render(kind, dpi=dpi))
    stem.with_name(f"{stem.name}.csv").write_bytes(drawing.csv())
