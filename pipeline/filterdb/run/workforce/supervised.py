"""A child process that may die, hang or eat memory without harm to anybody else.

Each child has a socket of its own and shares nothing with its siblings. The pools of the standard library
and of pebble share pipes and locks between their workers: one that is killed while it waits, or while it
holds the lock, takes the whole pool along.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, Generic, TypeVar

from filterdb.errors import FilterDBError, WorkerError
from filterdb.run.workforce import child as other_side

In = TypeVar("In")
Out = TypeVar("Out")

_START_SECONDS: Final = 300.0
"""A child that has not imported its function by then never will."""

# Parallel are the children; threads within them would only get into each other's way.
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one input may cost.

    Parameters
    ----------
    seconds
        Time.
    memory
        Bytes that a child process may allocate; files that it maps do not count.
    act
        What is done with an input, for messages.
    section
        The section of the configuration that the limits are set in.
    """

    seconds: float
    memory: int
    act: str = "reading it"
    section: str = "extract"


@dataclass(frozen=True, slots=True)
class Done(Generic[In, Out]):
    """One input with what came of it: a result, or the reason why there is none.

    Parameters
    ----------
    item
        The input.
    result
        What the function returned.
    error
        Why it returned nothing.
    died
        The process died of something that may have been no fault of the input: another try is fair.
    """

    item: In
    result: Out | None
    error: WorkerError | None = None
    died: bool = False


class Child(Generic[In, Out]):
    """A process that runs one function on one input at a time, within limits.

    Parameters
    ----------
    function
        A module-level function, or its name as ``module:function`` where this process need not load it.
    limits
        What one input may cost; it may be said later, but before the first input.
    """

    def __init__(self, function: Callable[[In], Out] | str, limits: Limits | None = None) -> None:
        self.limits = limits or Limits(_START_SECONDS, 0)
        self._item: In | None = None
        self._ready = False
        self._said = TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self.channel, theirs = Pipe()
        lifeline, ours = os.pipe()
        self._lifeline = [ours]
        try:
            self._process = _start(theirs.fileno(), lifeline, self._said)
        except BaseException:
            self.channel.close()
            os.close(ours)
            self._said.close()
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        with contextlib.suppress(ConnectionError):
            self.channel.send(sys.path)
            self.channel.send(function)
        self._deadline = time.monotonic() + _START_SECONDS

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """It can take an input; a child that has died or was stopped cannot."""
        return not self.channel.closed and self._process.poll() is None

    @property
    def seconds_left(self) -> float:
        """Time until the current input has taken too long."""
        return max(self._deadline - time.monotonic(), 0.0)

    def begin(self, item: In) -> None:
        """Hand an input over."""
        self._item = item
        if self._ready:
            self._deadline = time.monotonic() + self.limits.seconds
        # A child that has just died is found out by `collect`.
        with contextlib.suppress(ConnectionError):
            self.channel.send((self.limits.memory, item))

    def collect(self) -> Done[In, Out] | None:
        """Return what came of the input, or nothing as long as there is nothing to say.

        Raises
        ------
        FilterDBError
            What the function raised on purpose, or that no child process can start.
        """
        if not self.channel.poll():
            return self._overdue() if self.seconds_left == 0 else None
        try:
            kind, value = self.channel.recv()
        except (EOFError, OSError):
            return self._dead()
        if kind == other_side.READY:
            self._ready = True
            self._deadline = time.monotonic() + self.limits.seconds
            return None
        return self._answer(kind, value)

    def run(self, item: In) -> Done[In, Out]:
        """Run one input and wait for what comes of it."""
        self.begin(item)
        while True:
            self.channel.poll(self.seconds_left)
            done = self.collect()
            if done is not None:
                return done

    def stop(self) -> None:
        """End the process at once, whatever it is doing."""
        if self.channel.closed:
            return
        self._process.kill()
        self._process.wait()
        self.channel.close()
        # On a Dask worker, two threads may end a child at once: a number closed twice may be another's.
        with contextlib.suppress(IndexError):
            os.close(self._lifeline.pop())
        self._said.close()

    def _answer(self, kind: str, value: Any) -> Done[In, Out]:
        if kind == other_side.RESULT:
            return self._done(value)
        if kind == other_side.FATAL:
            raise value
        if kind == other_side.MEMORY:
            # What is left of a process that ran out of memory is not to be trusted with the next input.
            self.stop()
            gib = self.limits.memory / 2**30
            return self._done(
                None,
                f"{self.limits.act} needs more memory than a worker may use",
                f"raise {self.limits.section}.memory, now {gib:.1f} GiB, in the configuration, or use fewer"
                " workers",
            )
        return self._done(None, f"{self.limits.act} failed unexpectedly: {value}", "please report this")

    def _overdue(self) -> Done[In, Out]:
        ready = self._ready
        self.stop()
        if not ready:
            raise FilterDBError(f"a worker process did not start within {_START_SECONDS:g} s")
        reason = f"{self.limits.act} took more than {self.limits.seconds:g} s"
        return self._done(None, reason, f"raise {self.limits.section}.timeout in the configuration")

    def _dead(self) -> Done[In, Out]:
        code = self._process.wait()
        self._said.seek(0)
        last = self._said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        self.stop()
        # One that was killed while it started tried nothing yet, so a signal is not held against the start.
        if not self._ready and code >= 0:
            raise FilterDBError(f"no worker process can start (exit code {code}): {last or 'no message'}")
        reason = f"the process that was {self.limits.act} died ({_cause(code)})"
        return self._done(None, reason, "look at the file; it harmed nothing else", died=True)

    def _done(
        self, result: Out | None, reason: str = "", hint: str = "", *, died: bool = False
    ) -> Done[In, Out]:
        item, self._item = self._item, None
        error = WorkerError(reason, hint=hint) if reason else None
        return Done(item, result, error, died)  # type: ignore[arg-type]


def _start(channel: int, lifeline: int, said: Any) -> subprocess.Popen[bytes]:
    script = Path(other_side.__file__)
    try:
        return _popen(script, channel, lifeline, said)
    except OSError as error:
        raise FilterDBError(f"no worker process can start: {error.strerror}", where=sys.executable) from error


def _popen(script: Path, channel: int, lifeline: int, said: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: neither the script's folder nor the current one may shadow a module.
        [sys.executable, "-P", str(script), str(channel), str(lifeline)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        pass_fds=(channel, lifeline),
        env={**os.environ, **_ONE_THREAD},
        # Ctrl-C in a terminal is for the parent, which then ends its children.
        process_group=0,
    )


def _cause(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
