"""Say how far a stage is: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

_LINE_EVERY: Final = 10.0
"""Seconds between two plain lines."""


class Progress(Protocol):
    """How far something is."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""

    def advance(self, amount: float = 1) -> None:
        """Note that some more is done."""


class NoProgress:
    """Nothing, where there is nothing to do or somebody else has the screen."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""

    def advance(self, amount: float = 1) -> None:
        """Note that some more is done."""


class PlainProgress:
    """Lines of text, one every few seconds, for logs.

    Parameters
    ----------
    what
        What is being done.
    total
        How much of it there is.
    unit
        What is counted.
    stream
        Where lines go.
    """

    def __init__(self, what: str, total: float, unit: str, stream: TextIO) -> None:
        self._what, self._total, self._unit, self._stream = what, total, unit, stream
        self._done = 0.0
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._said > self._begun:
            self._say()

    def advance(self, amount: float = 1) -> None:
        """Note that some more is done, and say so if the last line is old."""
        self._done += amount
        if time.monotonic() - self._said > _LINE_EVERY:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        seconds = self._said - self._begun
        rate = self._done / seconds if seconds else 0.0
        left = (self._total - self._done) / rate if rate else 0.0
        print(
            f"{self._what}: {self._done:,.0f} of {self._total:,.0f} {self._unit}, "
            f"{rate:,.1f}/s, {left:,.0f} s left",
            file=self._stream,
            flush=True,
        )


class BarProgress:
    """A bar with count, rate and time left, for terminals.

    Parameters
    ----------
    what, total, unit
        As for :class:`PlainProgress`.
    """

    def __init__(self, what: str, total: float, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total, rate="")
        self._unit = unit

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, amount: float = 1) -> None:
        """Note that some more is done."""
        task = self._bar.tasks[self._task]
        rate = f"{task.finished_speed or task.speed or 0:,.1f}/s"
        self._bar.update(self._task, advance=amount, rate=rate)


def progress(what: str, total: float, unit: str, *, stream: TextIO | None = None) -> Progress:
    """Return the kind of progress that suits where messages go.

    Parameters
    ----------
    what
        What is being done.
    total
        How much of it there is; with nothing to do, nothing is shown.
    unit
        What is counted.
    stream
        Where messages go; standard error where not given.
    """
    if not total:
        return NoProgress()
    target = stream or sys.stderr
    return BarProgress(what, total, unit) if target.isatty() else PlainProgress(what, total, unit, target)
