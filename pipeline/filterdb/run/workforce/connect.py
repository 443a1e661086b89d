"""Connect to a Dask cluster: a running one, or one of worker processes on this computer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import filterdb
from filterdb.config import LOCAL_SCHEDULERS, RunConfig
from filterdb.errors import FilterDBError, UsageError
from filterdb.run import files
from filterdb.run.workforce.workers import memory_per_worker

Versions: TypeAlias = Mapping[str, str]

_CONNECT_SECONDS: Final = 8
_WORKERS_SECONDS: Final = 30
_CLOSE_SECONDS: Final = 20

_PACKAGES: Final = ("numpy", "numba", "distributed")
"""Whose versions decide the last bits of a result, or whether two processes understand each other."""

OWN: Final = "cluster"
"""The scheduler that stands for a cluster of our own."""


@dataclass(frozen=True, slots=True)
class Site:
    """Which Dask cluster works, and what of its work is shown.

    Parameters
    ----------
    scheduler
        Address of a running scheduler, or :data:`OWN`.
    workers
        Worker processes of an own cluster.
    dashboard
        Say where Dask's dashboard is.
    performance_report
        The HTML file that Dask's report of the run goes to.
    """

    scheduler: str
    workers: int = 1
    dashboard: bool = False
    performance_report: Path | None = None

    @classmethod
    def of(cls, config: RunConfig, workers: int) -> Self:
        """Return the site that a configuration asks for."""
        report = config.performance_report
        return cls(config.scheduler, workers, config.dashboard, Path(report) if report else None)

    @property
    def name(self) -> str:
        """What messages call it."""
        return "the local Dask cluster" if self.scheduler == OWN else self.scheduler


def refuse_dask_options(config: RunConfig) -> None:
    """Refuse what only Dask's distributed scheduler has to show, where another one is configured.

    Parameters
    ----------
    config
        The configuration of a run.
    """
    if config.scheduler not in LOCAL_SCHEDULERS:
        return
    asked = {"--dashboard": config.dashboard, "--performance-report": config.performance_report}
    for name, value in asked.items():
        if value:
            raise UsageError(
                f"{name} needs a Dask cluster, and the scheduler is {config.scheduler!r}",
                expected="--scheduler cluster, or the address of a running one",
                hint="--scheduler cluster",
            )


@contextlib.contextmanager
def connected(site: Site) -> Iterator[Any]:
    """Connect to a cluster whose workers can do our work.

    Parameters
    ----------
    site
        The cluster.

    Raises
    ------
    UsageError
        If no scheduler answers, or its workers are missing or of another version.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        if site.scheduler == OWN:
            client = stack.enter_context(_own_cluster(site))
        else:
            client = _connect(site.scheduler)
        stack.callback(client.close, timeout=2)
        _check_workers(client, site)
        if site.dashboard:
            _show_dashboard(client, site)
        if site.performance_report:
            stack.enter_context(_reported(client, site.performance_report))
        yield client


def _connect(scheduler: str) -> Any:
    from distributed import Client

    try:
        _require_scheduler(scheduler)
        return Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(
            "no Dask scheduler answers",
            where=scheduler,
            expected="an address such as tcp://10.0.0.1:8786",
            hint="start one with: dask scheduler",
        ) from error


def _require_scheduler(address: str) -> None:
    """Ask who is there, before a client is made.

    One that finds no scheduler is left to the garbage collector, which closes it in whatever thread it runs
    in, and waits there: for ever, if that is the thread that others wait for.
    """
    from distributed.core import rpc

    async def ask() -> str:
        async with rpc(address) as there:
            found = await there.identity()
        return str(found.get("type"))

    # In a thread of its own: a notebook has a running loop in this one.
    with ThreadPoolExecutor(1) as pool:
        kind = pool.submit(asyncio.run, asyncio.wait_for(ask(), _CONNECT_SECONDS)).result()
    if kind != "Scheduler":
        raise ValueError(f"this is a {kind}")


@contextlib.contextmanager
def _own_cluster(site: Site) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    try:
        with _interrupts_are_ours():
            cluster = LocalCluster(
                n_workers=site.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": site.dashboard},
                memory_limit=memory_per_worker("auto", site.workers),
                silence_logs=logging.CRITICAL + 1,
            )
    except (RuntimeError, OSError, TimeoutError) as error:
        raise FilterDBError(
            f"the local Dask cluster does not start: {error}",
            hint='in a script of yours, call filterdb below: if __name__ == "__main__":',
        ) from error
    try:
        yield Client(cluster, set_as_default=False)
    finally:
        _end(cluster)


@contextlib.contextmanager
def _interrupts_are_ours() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to every process, from what is started here: we end our workers.

    Threads and processes inherit which signals are blocked, and so do those that they start later.
    """
    # Started by the first process otherwise, and lifting the block for all that follow.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(cluster: Any) -> None:
    """End a cluster of ours, whatever its workers are doing: what they still compute, nobody waits for."""
    for nanny in list(cluster.workers.values()):
        nanny.auto_restart = False
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.kill(nanny.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        cluster.close(timeout=_CLOSE_SECONDS)


@cache
def versions() -> Versions:
    """Return the versions that a computer and the workers of a cluster must agree on."""
    # Loads onnx, which no analysis without a cluster needs.
    from filterdb.onnxgraph import EXTRACTOR_VERSION

    return {
        "filterdb": filterdb.__version__,
        "filterdb's extractor": str(EXTRACTOR_VERSION),
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def require_versions(ours: Versions, theirs: Versions, which: str) -> None:
    """Refuse a worker with other software: it might understand nothing, or round another way.

    Parameters
    ----------
    ours, theirs
        What :func:`versions` says here and there.
    which
        Names the worker.
    """
    for name, version in ours.items():
        if theirs.get(name) != version:
            raise UsageError(
                f"the Dask worker {which} has {name} {theirs.get(name)}",
                expected=f"{name} {version}, as here",
                hint="install the same versions where the workers run",
            )


def _check_workers(client: Any, site: Site) -> None:
    try:
        client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
    except TimeoutError as error:
        raise UsageError(
            "the Dask scheduler has no workers", where=site.name, hint=f"dask worker {site.scheduler}"
        ) from error
    try:
        found = ask_workers(client, site.name, versions)
    except FilterDBError:
        raise
    except Exception as error:
        raise UsageError(
            f"a Dask worker cannot run filterdb: {error}",
            where=site.name,
            hint="install the same filterdb where the workers run",
        ) from error
    for address, theirs in found.items():
        require_versions(versions(), theirs, f"at {address}")


def ask_workers(client: Any, name: str, question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Return what a function says on every worker, some of which may be lost while they are asked.

    Parameters
    ----------
    client
        A connected client.
    name
        What messages call the cluster.
    question
        A module-level function.
    arguments
        What it takes.

    Raises
    ------
    FilterDBError
        If workers are lost again and again.
    """
    end = time.monotonic() + _WORKERS_SECONDS
    while True:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
            # As `client.run`, which waits for a worker that is stuck as long as that is stuck.
            answers: dict[str, Any] = client.sync(
                client._run, question, *arguments, callback_timeout=_WORKERS_SECONDS
            )
        except OSError as error:
            if time.monotonic() > end:
                raise FilterDBError(
                    "the Dask workers are lost as soon as they start",
                    where=name,
                    hint="see their logs; a --memory-limit of less than 1 GiB is too little",
                ) from error
            time.sleep(0.5)
        else:
            return answers


def _show_dashboard(client: Any, site: Site) -> None:
    link = client.dashboard_link
    if not link:
        raise UsageError(
            "this Dask scheduler has no dashboard",
            where=site.name,
            expected="one started without --no-dashboard",
        )
    print(f"dashboard: {link}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _reported(client: Any, path: Path) -> Iterator[None]:
    """Write Dask's report of the block, if that comes to its end."""
    from distributed import performance_report

    files.require_place(path)
    with client.as_current():
        report = performance_report(filename=str(path))
        report.__enter__()
        yield
        with files.appearing(path) as temporary:
            report.filename = str(temporary)
            report.__exit__(None, None, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep distributed's log off the terminal: what matters of it is in our own messages."""
    import distributed  # noqa: F401 - it sets its levels when it is first imported

    names = (
        "distributed",
        *(name for name in logging.root.manager.loggerDict if name.startswith("distributed.")),
    )
    levels = {name: logging.getLogger(name).level for name in (*names, "tornado.application")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
