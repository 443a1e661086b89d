"""Workers that are killed while they scan cost nothing; a run that is killed leaves old or new results."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import (
    Cluster,
    command_of,
    contents,
    dask_children,
    large_dataset,
    running_cluster,
    said,
    supervised_children,
    wait_until,
)

from filterdb import shift
from filterdb.config import RunConfig
from filterdb.run.analysis.analyze import analyze
from filterdb.run.scanning import engines, scans
from filterdb.run.scanning.batches import Job
from filterdb.stats import merge_records
from seldom import seldom


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_dataset(tmp_path_factory.mktemp("kill"))


@pytest.fixture(autouse=True)
def one_record_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "BATCH_ROWS", 1)


def kill_all(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Deadly:
    """Runs jobs by another engine, and kills workers of it while they have jobs."""

    engine: engines.Engine
    workers: Callable[[], Sequence[int]]
    victims: int
    scan: int
    killed: list[int]
    scans: int = 0

    def run(self, jobs: Sequence[Job], note: engines.Note) -> list[Any]:
        self.scans += 1
        if self.scans != self.scan:
            return self.engine.run(jobs, note)
        killers = []

        def tell(job: Job) -> None:
            note(job)
            if not killers:
                # Stopped first: a worker that is busy stays so until it dies, and takes a job along.
                chosen = list(self.workers())[: self.victims]
                assert chosen
                for pid in chosen:
                    os.kill(pid, signal.SIGSTOP)
                    self.killed.append(pid)
                killers.append(threading.Timer(0.3, kill_all, [chosen]))
                killers[0].start()

        results = self.engine.run(jobs, tell)
        killers[0].join()
        return results


def bits(
    dataset: Path, config: RunConfig, kill: Callable[[engines.Engine], engines.Engine] | None = None
) -> bytes:
    with scans.scanner(dataset, config) as scan:
        if kill:
            scan = replace(scan, engine=kill(scan.engine))
        records = scan.statistics()
        cube = scan.cube(records, shift.fit_basis(merge_records(records, "scaled")), 70)
    return cube.rows.tobytes() + repr((cube.low, cube.high)).encode()


@pytest.fixture(scope="module")
def expected(dataset: Path) -> bytes:
    return bits(dataset, RunConfig(workers=1))


@pytest.mark.parametrize(
    ("scheduler", "victims", "scan"),
    [
        seldom("processes", 1, 1),
        ("processes", 2, 3),
        # Of one worker that is lost, the test of a running cluster below tells the same.
        seldom("cluster", 1, 1),
        ("cluster", 2, 3),
    ],
)
def test_workers_that_are_killed_half_way_change_no_bit(
    dataset: Path, expected: bytes, scheduler: str, victims: int, scan: int
) -> None:
    find = supervised_children if scheduler == "processes" else dask_children
    killed: list[int] = []
    found = bits(
        dataset,
        RunConfig(scheduler=scheduler, workers=2),
        lambda engine: Deadly(engine, lambda: find(os.getpid()), victims, scan, killed),
    )
    assert found == expected
    assert len(killed) == victims
    wait_until(lambda: not find(os.getpid()), "a worker outlived the run")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path) as made:
        yield made


def test_a_worker_of_a_running_cluster_that_is_killed_half_way_changes_no_bit(
    dataset: Path, expected: bytes, cluster: Cluster
) -> None:
    killed: list[int] = []
    before = set(cluster.worker_pids())
    assert len(before) == 2
    config = RunConfig(scheduler=cluster.address)
    found = bits(dataset, config, lambda engine: Deadly(engine, cluster.worker_pids, 1, 1, killed))
    assert found == expected
    assert set(killed) <= before
    assert set(killed).isdisjoint(cluster.worker_pids())


# ---- the whole command


MOMENTS = ("starting", "held", "scanning", "writing", "exchanged", "ending")
OLD = RunConfig().with_analyze(by=("Task",), bins=20)
NEW = RunConfig().with_analyze(by=("Task", "depth_decile"))
OPTIONS = ("--by", "Task", "--by", "depth_decile")


@dataclass(frozen=True)
class Undisturbed:
    """Results before and after the run that is killed."""

    old_folder: Path
    old: dict[str, bytes]
    new: dict[str, bytes]


@pytest.fixture(scope="module")
def undisturbed(dataset: Path) -> Undisturbed:
    old, new = dataset.with_name("old"), dataset.with_name("new")
    analyze(dataset, old, OLD)
    analyze(dataset, new, NEW)
    return Undisturbed(old, contents(old), contents(new))


def start(dataset: Path, out: Path, *options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_of(dataset, out, *OPTIONS, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def moment(name: str, out: Path, rng: random.Random) -> Callable[[], bool]:
    """Return a test for the moment at which to kill."""
    staging = out.with_name(f"{out.name}.staging")
    began = time.monotonic()
    delay, late = rng.uniform(0, 2), rng.uniform(0, 0.3)
    seen: list[float] = []
    before = out.stat().st_ino if out.exists() else 0

    def after(reached: bool, wait: float) -> bool:
        if reached:
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= wait

    return {
        "starting": lambda: time.monotonic() - began > delay,
        "held": lambda: (staging / "lock").exists(),
        "scanning": lambda: after((staging / "lock").exists(), late),
        "writing": lambda: after((staging / "results").exists(), late / 20),
        "exchanged": lambda: inode(out) not in (0, before),
        "ending": lambda: after(inode(out) not in (0, before), late / 10),
    }[name]


def inode(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino
    return 0


def marks(folder: Path) -> set[tuple[str, int, int, int]]:
    """Return what tells a file that has changed, of every file of a folder."""
    found = set()
    with contextlib.suppress(OSError):
        for path in (folder, *folder.rglob("*")):
            state = path.stat()
            found.add((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
    return found


class Watch:
    """Looks at a results folder again and again, and keeps which whole folders were there."""

    def __init__(self, out: Path, allowed: Sequence[dict[str, bytes]]) -> None:
        self._out, self._allowed, self._over = out, allowed, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.torn: list[str] = []
        self.looks = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        last = None
        while not self._over.wait(0.005):
            if (now := marks(self._out)) == last:
                continue
            last = now
            first, found = inode(self._out), None
            with contextlib.suppress(OSError, KeyError, ValueError):
                found = contents(self._out)
            # A folder that is exchanged while it is read is no torn one: it is looked at again.
            if first != inode(self._out):
                last = None
            elif first:
                self.looks += 1
                if found not in self._allowed:
                    self.torn.append(str(found and sorted(found)))


def round_of_killing(
    folder: Path, dataset: Path, undisturbed: Undisturbed, seed: int, name: str, *options: object
) -> bool:
    """Kill the command at a moment, look at what is there, and run it again; tell whether it was killed."""
    rng = random.Random(seed)
    out = folder / "results"
    old, new = undisturbed.old, undisturbed.new
    if seed % 3:
        shutil.copytree(undisturbed.old_folder, out)
    allowed = [old, new] if seed % 3 else [new]
    with Watch(out, allowed) as watch:
        process = start(dataset, out, *options)
        killed = kill_at(process, moment(name, out, rng), group=rng.random() < 0.5)
        left = contents(out) if out.exists() else None
        assert left in (allowed if seed % 3 else [None, new])
        analyze(dataset, out, NEW)
    assert watch.torn == []
    assert contents(out) == new
    assert analyze(dataset, out, NEW).action == "fresh"
    assert not (folder / "results.staging").exists()
    return killed


def kill_at(process: subprocess.Popen[str], reached: Callable[[], bool], *, group: bool) -> bool:
    while process.poll() is None:
        if reached():
            workers = psutil.Process(process.pid).children(recursive=True)
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)
            assert psutil.wait_procs(workers, timeout=30)[1] == [], "a worker outlived the run"
            return process.returncode == -signal.SIGKILL
        time.sleep(0.0005)
    process.communicate()
    return False


@pytest.mark.parametrize(
    ("seed", "name"),
    [
        pytest.param(seed, name, marks=[pytest.mark.soak] if name not in ("scanning", "exchanged") else [])
        for seed, name in enumerate(MOMENTS)
    ],
)
def test_a_command_that_is_killed_leaves_whole_results_and_can_be_run_again(
    seed: int, name: str, dataset: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    scheduler = ("threads", "processes", "cluster")[seed // 2]
    killed = round_of_killing(tmp_path, dataset, undisturbed, seed, name, "--scheduler", scheduler)
    # What is left to do after the exchange may be done before the signal arrives.
    assert killed or name in ("exchanged", "ending")


@pytest.mark.soak
def test_forty_commands_that_are_killed_leave_whole_results(
    dataset: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    killed = []
    for seed in range(40):
        name, scheduler = MOMENTS[seed % len(MOMENTS)], ("threads", "processes", "cluster")[seed % 3]
        folder = tmp_path / str(seed)
        folder.mkdir()
        if round_of_killing(folder, dataset, undisturbed, 100 + seed, name, "--scheduler", scheduler):
            killed.append(name)
    print({name: killed.count(name) for name in MOMENTS})
    assert {"starting", "held", "scanning", "writing"} <= set(killed)


def busy(process: subprocess.Popen[str], scheduler: str, out: Path) -> bool:
    """Tell whether a run scans: it holds its place, and its workers are there."""
    assert process.poll() is None, process.communicate()
    find = {"threads": lambda _: [0, 0], "processes": supervised_children, "cluster": dask_children}
    return (out.with_name("results.staging") / "lock").exists() and len(find[scheduler](process.pid)) == 2


@pytest.mark.parametrize(
    ("number", "code", "scheduler"),
    [
        (signal.SIGINT, 130, "threads"),
        (signal.SIGTERM, 143, "processes"),
        # Ctrl-C reaches the workers too, and Dask has its own mind about what it means.
        (signal.SIGINT, 130, "cluster"),
        seldom(signal.SIGTERM, 143, "threads"),
        seldom(signal.SIGINT, 130, "processes"),
        seldom(signal.SIGTERM, 143, "cluster"),
    ],
)
def test_a_command_that_is_asked_to_end_says_so_and_leaves_nobody_behind(
    number: signal.Signals, code: int, scheduler: str, dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    for _ in range(5):
        process = start(dataset, out, "--scheduler", scheduler, "--workers", 2)
        while not busy(process, scheduler, out):
            time.sleep(0.001)
        workers = psutil.Process(process.pid).children(recursive=True)
        # As a terminal does: the signal goes to all processes of the command.
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=60)
        if process.returncode:
            break
        # It had come to its end before the signal did, as happens where this process waits for its turn.
        shutil.rmtree(out)
    assert (process.returncode, stdout) == (code, "")
    assert said(stderr) == [
        "filterdb: interrupted; what was there before is untouched; run the same command again"
    ]
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert list(tmp_path.iterdir()) == []
