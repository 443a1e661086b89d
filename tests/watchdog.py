"""Ends a test process in which nothing happens any more, with the stacks of its threads.

A test that hangs is ended by pytest-timeout, or by pytest's own fault handler where it hangs in C. Neither
looks at what is no test: the end of fixtures after a failure, or a worker of xdist that waits for more.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

MORE_SECONDS = 120


class Watchdog:
    def __init__(self, config: pytest.Config) -> None:
        self._stderr = config.stash[fault_handler_stderr_fd_key]
        self._limit = float(config.getini("faulthandler_timeout")) + MORE_SECONDS
        self._last = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def pytest_runtest_logstart(self) -> None:
        self._last = time.monotonic()

    def pytest_runtest_logreport(self) -> None:
        self._last = time.monotonic()

    def pytest_runtest_logfinish(self) -> None:
        self._last = time.monotonic()

    def pytest_sessionfinish(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        while time.monotonic() - self._last < self._limit:
            if self._over.wait(self._limit / 20):
                return
        os.write(self._stderr, f"nothing has happened for {self._limit:g} s\n".encode())
        faulthandler.dump_traceback(self._stderr, all_threads=True)
        os._exit(1)
