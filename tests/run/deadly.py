"""Functions that child processes run, and mostly do not survive."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from filterdb.errors import ModelError, OutputError
from filterdb.extract import worker


def double(number: int) -> int:
    return 2 * number


def behave(what: str) -> Any:
    """Do what a name stands for; any other name is returned."""
    deed = DEEDS.get(what)
    return what if deed is None else deed()


def _raise(error: Exception) -> NoReturn:
    raise error


DEEDS: dict[str, Callable[[], Any]] = {
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(3600),
    "hang with the GIL": lambda: ctypes.PyDLL(None).sleep(3600),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "memory": lambda: len(bytes(1 << 40)),
    "raise": lambda: _raise(KeyError("surprise")),
    "disk": lambda: _raise(OutputError("the disk is full")),
    "model": lambda: _raise(ModelError("a model error that nobody caught")),
    "print": lambda: print("not a result", flush=True) or "print",
    "unpicklable": lambda: lambda: None,
}


def exit_once(flag: Path) -> str:
    """Die the first time, as one does whom the kernel picked to free memory for somebody else."""
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def kill_listed_parent(args: tuple[str, Path]) -> str:
    """Kill the process that started this one, if it is on a list: a Dask worker, never the tests."""
    what, listed = args
    if what == "killer" and str(os.getppid()) in listed.read_text().split():
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return what


def extract_deadly(task: worker.Task) -> worker.Outcome:
    """Extract a model, unless its name is what happens to its process."""
    if not task.identify_only:
        behave(task.path.stem)
    return worker.run(task)


def extract_slowly(task: worker.Task) -> worker.Outcome:
    time.sleep(0.2)
    return worker.run(task)


def open_dead(task: worker.Task) -> worker.Outcome:
    """Die even when only the identity is asked for."""
    behave(task.path.stem)
    return worker.run(task)


def environment(name: str) -> Any:
    return os.environ.get(name)


def eat_memory(read: object, tasks: object) -> NoReturn:
    """A scan that takes memory until it is stopped."""
    held = []
    while True:
        held.append(bytearray(b"x") * (32 << 20))
        time.sleep(0.02)


def end_worker(read: object, tasks: object) -> NoReturn:
    """A scan that kills whoever runs it."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def linger(read: object, tasks: object) -> None:
    time.sleep(1)


def surprise(read: object, tasks: object) -> NoReturn:
    raise KeyError("surprise")
