"""Analyses that cannot be done: a clear message, nothing half-written, and the old results stand."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from clusters import Cluster, command_of, contents, large_dataset, running_cluster, said
from deadly import eat_memory, end_worker, linger, surprise
from test_outputs import mount_again, mounted

from filterdb.config import RunConfig
from filterdb.errors import ConfigError, FilterDBError, OutputError, StoreError, UsageError
from filterdb.run.analysis.analyze import analyze
from filterdb.run.scanning import remote, scans
from filterdb.run.scanning.batches import FileState
from filterdb.run.scanning.remote import OnDask
from filterdb.run.workforce import connect
from filterdb.store import DatasetFile
from seldom import seldom

BY_TASK = RunConfig().with_analyze(by=("Task",), permutations=19, draws=19)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_dataset(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def whole(dataset: Path) -> dict[str, bytes]:
    """Every file of undisturbed results, but for what names times and places."""
    out = dataset.parent / "whole"
    analyze(dataset, out, BY_TASK)
    return contents(out)


def failed(dataset: Path, out: Path, *options: object, **popen: Any) -> str:
    """Run the command, which must fail without a traceback, and return its message."""
    line = command_of(dataset, out, "--by", "Task", *options)
    done = subprocess.run(line, capture_output=True, text=True, timeout=250, **popen)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    message = "\n".join(said(done.stderr))
    assert message.startswith("filterdb: ")
    assert "Traceback" not in message
    return message


# ---- places that cannot be written to


@pytest.mark.parametrize("size", [seldom(0), 1_000, seldom(20_000)])
def test_a_file_that_may_not_grow_is_a_message(
    size: int, dataset: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    assert "File too large" in failed(dataset, tmp_path / "results", preexec_fn=limit)
    assert list(tmp_path.iterdir()) == []
    analyze(dataset, tmp_path / "results", BY_TASK)
    assert contents(tmp_path / "results") == whole


@pytest.mark.parametrize("kilobytes", [seldom(8), 60, seldom(160)])
def test_a_full_disk_is_a_message_and_the_old_results_stand(
    kilobytes: int, dataset: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "size=64m") as disk:
        out = disk / "results"
        analyze(dataset, out, BY_TASK.with_analyze(bins=10))
        before = contents(out)
        used = sum(path.stat().st_blocks * 512 for path in disk.rglob("*"))
        mount_again(disk, f"size={used + kilobytes * 1024}")
        assert "free some space" in failed(dataset, out)
        assert contents(out) == before
        assert [path.name for path in disk.iterdir()] == ["results"]
        mount_again(disk, "size=64m")
        analyze(dataset, out, BY_TASK)
        assert contents(out) == whole


def test_a_read_only_disk_is_a_message_before_anything_is_computed(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans.Scanner, "statistics", lambda self: pytest.fail("the filters were read"))
    with mounted(tmp_path / "disk", "size=1m,ro") as disk, pytest.raises(OutputError, match="Read-only"):
        analyze(dataset, disk / "results", BY_TASK)


def test_fresh_results_on_a_read_only_disk_are_fresh(dataset: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64m") as disk:
        analyze(dataset, disk / "results", BY_TASK)
        mount_again(disk, "ro")
        assert analyze(dataset, disk / "results", BY_TASK).action == "fresh"


def test_a_place_that_is_a_file_or_below_one_is_a_message(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="this is a file"):
        analyze(dataset, tmp_path / "file", BY_TASK)
    with pytest.raises(OutputError, match="cannot write here"):
        analyze(dataset, tmp_path / "file" / "results", BY_TASK)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_run_on_one_output_fails_at_once_and_disturbs_nobody(
    dataset: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, messages = tmp_path / "results", []
    scan = scans.Scanner.statistics

    def meanwhile(self: scans.Scanner) -> Any:
        messages.append(failed(dataset, out))
        return scan(self)

    monkeypatch.setattr(scans.Scanner, "statistics", meanwhile)
    analyze(dataset, out, BY_TASK)
    assert f"another run is writing {out}" in messages[0]
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


# ---- data sets that change


def while_counting(scan: scans.Scanner, deed: Callable[[], None]) -> scans.Scanner:
    """Let something happen when the first batch of a scan is done."""

    class Meddling:
        def run(self, jobs: Any, note: Callable[[Any], None]) -> list[Any]:
            told: list[Any] = []

            def tell(job: Any) -> None:
                note(job)
                if not told:
                    deed()
                told.append(job)

            found: list[Any] = scan.engine.run(jobs, tell)
            return found

    return replace(scan, engine=Meddling())


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\x3f" * 4096)


def swap(path: Path) -> None:
    shutil.copyfile(path, path.with_name("other.h5"))
    with h5py.File(path.with_name("other.h5"), "r+") as file:
        # A number alone would be written filter by filter.
        file["filter"][:] = np.ones(file["filter"].shape, np.float32)
    path.with_name("other.h5").replace(path)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
@pytest.mark.parametrize(
    ("deed", "message"),
    [(cut, "has changed"), (overwrite, "has changed"), (swap, "has changed"), (Path.unlink, "is gone")],
)
def test_a_data_set_that_changes_during_a_scan_is_a_message_and_no_result(
    deed: Callable[[Path], None],
    message: str,
    scheduler: str,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, out = tmp_path / "d.h5", tmp_path / "results"
    shutil.copyfile(dataset, path)
    monkeypatch.setattr(scans, "BATCH_ROWS", 1)
    scan = scans.Scanner.statistics
    monkeypatch.setattr(
        scans.Scanner, "statistics", lambda self: scan(while_counting(self, lambda: deed(path)))
    )
    config = BY_TASK.with_values(scheduler=scheduler, workers=2)
    with pytest.raises(StoreError, match=f"the data set file {message}"):
        analyze(path, out, config)
    assert not out.exists()
    assert not list(tmp_path.glob("*.staging"))


def test_a_data_set_that_is_replaced_before_the_scan_is_not_mixed_with_its_table(
    dataset: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(StoreError, match="has changed"),
        scans.scanner(dataset, RunConfig(), content_hash="0"),
    ):
        pass


def test_flipped_bytes_of_filters_are_analyzed_as_they_are(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    shutil.copyfile(dataset, path)
    with h5py.File(path) as file:
        offset = h5py.h5d.open(file.id, b"filter").get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(offset + 100 * 36)
        file.write(np.float32(123).tobytes())
    report = analyze(path, tmp_path / "results", BY_TASK)
    assert report.results.measured.cube.rows["largest"][0] == 123
    verify = [sys.executable, "-m", "filterdb", "verify", str(path)]
    assert subprocess.run(verify, capture_output=True, timeout=100).returncode == 1


# ---- results that are damaged


DAMAGED = ["cube.npy", "cube.json", "basis.json", "layers.parquet", "models.parquet", "shift/Task.parquet"]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("harm", ["cut", "gone", *(seldom(one) for one in ("empty", "noise"))])
def test_damaged_results_are_computed_again(
    name: str, harm: str, dataset: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "results"
    shutil.copytree(dataset.parent / "whole", out)
    path = out / name
    if harm == "gone":
        path.unlink()
    else:
        half = path.read_bytes()[: path.stat().st_size // 2]
        path.write_bytes({"cut": half, "empty": b"", "noise": b"\x93" * 1000}[harm])
    # A second axis needs the cube and the basis, the first one alone the tables.
    config = BY_TASK.with_analyze(by=("Task", "depth_decile"))
    assert analyze(dataset, out, config).action == "analyzed"
    assert analyze(dataset, out, BY_TASK).action == "analyzed"
    assert contents(out) == whole


# ---- wrong words


def test_an_unknown_column_is_named_with_the_nearest_before_anything_starts(
    dataset: Path, tmp_path: Path
) -> None:
    line = command_of(dataset, tmp_path / "results", "--by", "Tsk", "--scheduler", "cluster")
    done = subprocess.run(line, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'Tsk'" in done.stderr
    assert "'Task'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "near"), [("proceses", "processes"), ("Cluster", "cluster"), ("thread", "threads")]
)
def test_a_wrong_scheduler_is_named_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{near}'"):
        RunConfig().with_values(scheduler=name)


@pytest.mark.parametrize("scheduler", ["local", "threads", "processes"])
@pytest.mark.parametrize("option", [{"dashboard": True}, {"performance_report": "r.html"}])
def test_what_only_a_dask_cluster_can_show_is_refused_elsewhere(
    scheduler: str, option: dict[str, Any], dataset: Path, tmp_path: Path
) -> None:
    config = BY_TASK.with_values(scheduler=scheduler, **option)
    with pytest.raises(UsageError, match="needs a Dask cluster") as caught:
        analyze(dataset, tmp_path / "results", config)
    assert caught.value.hint == "--scheduler cluster"
    assert list(tmp_path.iterdir()) == []


# ---- clusters that fail


@contextlib.contextmanager
def scanning(
    dataset: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *, patience: float = 60
) -> Iterator[scans.Scanner]:
    monkeypatch.setattr(scans, "BATCH_ROWS", 1)
    with scans.scanner(dataset, RunConfig(scheduler=cluster.address)) as scan:
        assert isinstance(scan.engine, OnDask)
        yield replace(scan, engine=replace(scan.engine, patience=patience))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("dask")
    with running_cluster(folder, "--memory-limit", "700MB") as made:
        yield made


@pytest.mark.soak
def test_a_batch_that_takes_every_worker_s_memory_is_a_message(
    dataset: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        scanning(dataset, cluster, monkeypatch) as scan,
        pytest.raises(FilterDBError, match="4 Dask workers died over the same batch") as caught,
    ):
        scan._run("memory", eat_memory)
    assert "--memory-limit" in str(caught.value)
    assert caught.value.where.startswith(cluster.address)


def test_a_batch_that_kills_its_workers_ends_an_analysis_and_the_old_results_stand(
    dataset: Path, whole: dict[str, bytes], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results"
    shutil.copytree(dataset.parent / "whole", out)
    monkeypatch.setattr(scans.Scanner, "cube", lambda self, *_: self._run("counts", end_worker))
    config = BY_TASK.with_analyze(bins=11).with_values(scheduler=cluster.address)
    with pytest.raises(FilterDBError, match="died over the same batch"):
        analyze(dataset, out, config)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_scan_that_fails_on_a_worker_says_how(
    dataset: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        scanning(dataset, cluster, monkeypatch) as scan,
        pytest.raises(FilterDBError, match="a Dask worker failed: KeyError: 'surprise'"),
    ):
        scan._run("surprise", surprise)


def test_children_that_die_or_run_out_of_memory_are_a_message(dataset: Path) -> None:
    with scans.scanner(dataset, RunConfig(scheduler="processes", workers=2)) as scan:
        with pytest.raises(FilterDBError, match="signal SIGKILL") as caught:
            scan._run("death", end_worker)
        assert "--workers" in str(caught.value)
        with pytest.raises(FilterDBError, match="KeyError: 'surprise'"):
            scan._run("surprise", surprise)
        limits = replace(scan.engine.limits, memory=1 << 30)
        with pytest.raises(FilterDBError, match="out of memory"):
            replace(scan, engine=replace(scan.engine, limits=limits, spare=[]))._run("memory", eat_memory)


def test_a_data_set_that_the_workers_do_not_see_is_a_message(
    dataset: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DatasetFile(dataset) as file:
        state = FileState.of(file)
    with connect.connected(connect.Site(cluster.address)) as client:
        hidden = Path("/nowhere/d.h5")
        with pytest.raises(UsageError, match="does not see the data set file") as caught:
            remote.require_sight(client, cluster.address, hidden, state)
        assert caught.value.where == str(hidden)
        assert "share the file system" in str(caught.value)
        other = replace(state, size=state.size + 1)
        with pytest.raises(UsageError, match="sees another file"):
            remote.require_sight(client, cluster.address, dataset, other)
    with (
        scanning(dataset, cluster, monkeypatch) as scan,
        pytest.raises(UsageError, match="does not see the data set file"),
    ):
        replace(scan, path=hidden)._run("late", linger)


def test_a_worker_with_other_software_is_refused_even_if_it_joins_later(
    dataset: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scanning(dataset, cluster, monkeypatch) as scan:
        monkeypatch.setattr(remote, "versions", lambda: {**connect.versions(), "numba": "0.1"})
        with pytest.raises(UsageError, match="has numba") as caught:
            scan._run("late", linger)
        assert caught.value.expected == "numba 0.1, as here"
    connect.versions.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(connect.metadata, "version", lambda package: "0.1")
        with (
            pytest.raises(UsageError, match=f"the Dask worker at tcp://.* has numpy {np.__version__}"),
            scans.scanner(dataset, RunConfig(scheduler=cluster.address)),
        ):
            pass
    connect.versions.cache_clear()


@pytest.mark.soak
def test_a_scheduler_that_is_lost_is_a_message(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_cluster(tmp_path) as lost, scanning(dataset, lost, monkeypatch) as scan:
        killer = threading.Timer(1.0, lost.end_scheduler)
        killer.start()
        begun = time.monotonic()
        with pytest.raises(FilterDBError, match="the Dask scheduler was lost during the run"):
            scan._run("linger", linger)
        killer.join()
        assert time.monotonic() - begun < 60


@pytest.mark.soak
def test_workers_that_are_all_gone_are_waited_for_and_then_a_message(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_cluster(tmp_path) as lost, scanning(dataset, lost, monkeypatch, patience=1) as scan:

        def end_workers() -> None:
            for process in lost.processes[1:]:
                process.send_signal(signal.SIGTERM)

        killer = threading.Timer(1.0, end_workers)
        killer.start()
        with pytest.raises(FilterDBError, match="no Dask worker is left"):
            scan._run("linger", linger)
        killer.join()


@pytest.mark.soak
def test_workers_without_memory_for_anything_are_a_message_and_nothing_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    with running_cluster(tmp_path / "logs", "--memory-limit", "90MB", ready=False) as tiny:
        line = command_of(dataset, tmp_path / "results", "--scheduler", tiny.address)
        done = subprocess.run(line, capture_output=True, text=True, timeout=250)
    # Whether they come as far as to be asked for anything depends on how busy the computer is.
    messages = ("workers are lost as soon as they start", "has no workers", "died over the same batch")
    assert done.returncode in (1, 2)
    assert any(message in done.stderr for message in messages), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
