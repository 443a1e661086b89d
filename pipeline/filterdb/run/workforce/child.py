"""What runs in a child process: one input at a time, results back over a socket.

Started as a script by :mod:`filterdb.run.workforce.supervised`, so that a child needs nothing of the parent:
no copy of its memory or locks, no import of its main module, and no permission to have children, which the
workers of a Dask cluster lack. Until it has the parent's import path it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

READY = "ready"
RESULT = "result"
FATAL = "fatal"
MEMORY = "memory"
FAILED = "failed"


def main(channel: Connection, lifeline: int) -> None:
    """Run inputs until the parent closes its end, or dies.

    Parameters
    ----------
    channel
        Gives the import path, then the function, then inputs with their memory bound; takes answers.
    lifeline
        A pipe that the parent never writes to; it ends when the parent does.
    """
    _end_with(lifeline)
    # There is no garbage in what is loaded, and searching for it takes a tenth of the time.
    gc.set_threshold(50_000, 20, 20)
    # Whatever a library prints is no result.
    os.dup2(2, 1)
    with contextlib.suppress(EOFError, ConnectionError):
        sys.path[:] = channel.recv()
        function = _loaded(channel.recv())
        channel.send((READY, None))
        while True:
            memory, item = channel.recv()
            _bound(memory)
            channel.send(_attempt(function, item))


def _loaded(function: Callable[[Any], Any] | str) -> Callable[[Any], Any]:
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    loaded: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    return loaded


def _end_with(lifeline: int) -> None:
    """Let the kernel end this process when the parent is gone, whatever this process is doing then."""
    # A signal, not a thread that waits: a thread may never run beside a library that hangs with the GIL.
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        if not os.read(lifeline, 1):
            raise SystemExit(0)


def _bound(memory: int) -> None:
    # RLIMIT_DATA counts what is allocated, not what is mapped from files: a model of 10 GB may be mapped.
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))


def _attempt(function: Callable[[Any], Any], item: Any) -> tuple[str, Any]:
    from filterdb.errors import FilterDBError

    try:
        return RESULT, function(item)
    except FilterDBError as error:
        return FATAL, error
    except MemoryError:
        return MEMORY, None
    except Exception as error:  # noqa: BLE001 - one input's trouble must not cost the others
        return FAILED, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), int(sys.argv[2]))
