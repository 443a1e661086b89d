"""Real Dask schedulers and workers over TCP on this computer, and data sets to scan with them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import deadly
import psutil

from filterdb.config import RunConfig
from filterdb.run.extraction.extract import extract
from filterdb.testing import conv_net, write_model


@dataclass
class Cluster:
    address: str
    processes: list[subprocess.Popen[bytes]]

    def worker_pids(self) -> list[int]:
        """Processes that run tasks: the children of the nannies that are Dask's own."""
        return [pid for nanny in self.processes[1:] for pid in dask_children(nanny.pid)]

    def end_scheduler(self) -> None:
        self.processes[0].kill()
        self.processes[0].wait()


def dask_children(pid: int) -> list[int]:
    """Worker processes of Dask below a process: those that its nannies spawn."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                line = " ".join(child.cmdline())
                if "spawn_main" in line and "child.py" not in line:
                    found.append(child.pid)
    return found


def supervised_children(pid: int) -> list[int]:
    """Child processes of our own below a process."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(part.endswith("child.py") for part in child.cmdline()):
                    found.append(child.pid)
    return found


@contextlib.contextmanager
def running_cluster(folder: Path, *options: str, workers: int = 2, ready: bool = True) -> Iterator[Cluster]:
    """Start `dask scheduler` and `dask worker`s, and end them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": str(Path(deadly.__file__).parent)}
    dask = [sys.executable, "-m", "dask"]
    commands = [
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        *[[*dask, "worker", address, "--nthreads", "1", "--no-dashboard", *options]] * workers,
    ]
    processes = []
    for place, line in enumerate(commands):
        with (folder / f"{place}.log").open("w") as log:
            processes.append(subprocess.Popen(line, env=environment, cwd=folder, stdout=log, stderr=log))
    made = Cluster(address, processes)
    try:
        if ready:
            wait_until(lambda: len(made.worker_pids()) == workers, "the cluster does not start")
        yield made
    finally:
        end_with_children(processes)


def end_with_children(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what was started for a test, at once: asked to, Dask takes seconds to say goodbye."""
    below: list[psutil.Process] = []
    for process in processes:
        # Stopped first, or a nanny would start another worker meanwhile.
        with contextlib.suppress(psutil.Error):
            psutil.Process(process.pid).suspend()
            below += psutil.Process(process.pid).children(recursive=True)
    for one in (*processes, *below):
        with contextlib.suppress(psutil.Error):
            one.kill()
    for process in processes:
        process.wait(30)
    psutil.wait_procs(below, timeout=30)


def wait_until(reached: Callable[[], object], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def large_dataset(folder: Path, models: int = 6) -> Path:
    """Write a data set of some hundred thousand filters in two dozen records."""
    for seed in range(models):
        shapes = [(64, 64, 3, 3), (256, 128, 3, 3), (128, 256, 3, 3), (8, 128, 3, 3)]
        write_model(folder / "zoo" / f"m{seed}.onnx", conv_net(shapes, seed=100 * seed))
    rows = [f"m{seed},{'Classification' if seed % 2 else 'Segmentation'}" for seed in range(models)]
    (folder / "models.csv").write_text("\n".join(["Name,Task", *rows]) + "\n")
    out = folder / "dataset.h5"
    extract(RunConfig(zoo=(str(folder / "zoo"),), metadata=str(folder / "models.csv"), workers=1), out)
    return out


def command_of(dataset: Path, out: Path, *options: object) -> list[str]:
    line = [sys.executable, "-m", "filterdb", "analyze", str(dataset), "--out", str(out)]
    return [*line, *map(str, options)]


def contents(results: Path) -> dict[str, bytes]:
    """Return every file of a results folder, but for the manifest's account of when, where and how."""
    found = {
        str(path.relative_to(results)): path.read_bytes() for path in results.rglob("*") if path.is_file()
    }
    manifest = json.loads(found.pop("manifest.json"))
    for name in ("seconds", "provenance", "dataset_file"):
        manifest.pop(name, None)
    return {**found, "manifest.json": json.dumps(manifest, sort_keys=True).encode()}


def said(stderr: str) -> list[str]:
    """Return the lines of messages; a busy computer may be slow enough for lines of progress."""
    return [line for line in stderr.splitlines() if not line.endswith(" s left")]
