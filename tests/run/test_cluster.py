"""A real Dask scheduler and two worker processes, over TCP."""

from __future__ import annotations

import contextlib
import gc
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import deadly
import psutil
import pytest
from clusters import Cluster, running_cluster, said
from distributed import Client
from zoos import command, run, start, varied_zoo

from filterdb import shift
from filterdb.config import RunConfig
from filterdb.errors import FilterDBError, UsageError
from filterdb.run.scanning import scans
from filterdb.run.workforce import connect, waiting
from filterdb.run.workforce.cluster import run_on_dask
from filterdb.run.workforce.connect import Site
from filterdb.run.workforce.supervised import Limits
from filterdb.stats import merge_records

LIMITS = Limits(60, 4 << 30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("dask")) as made:
        yield made


def test_a_cluster_makes_the_same_bytes_and_no_noise(cluster: Cluster, tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 20, large=2)
    run(zoo, tmp_path / "local.h5", workers=1)
    line = command(zoo, tmp_path / "d.h5", "--scheduler", cluster.address)
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert said(done.stderr) == []
    assert (tmp_path / "d.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()
    assert run(zoo, tmp_path / "d.h5", scheduler=cluster.address).action == "fresh"


def test_a_dask_worker_that_is_killed_half_way_costs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 40, large=8)
    whole = run(zoo, tmp_path / "local.h5")
    staging = tmp_path / "d.h5.staging"

    def kill() -> None:
        end = time.monotonic() + 60
        while not list(staging.glob("*.shard")) and time.monotonic() < end:
            time.sleep(0.005)
        psutil.Process(cluster.worker_pids()[0]).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    report = run(zoo, tmp_path / "d.h5", scheduler=cluster.address)
    killer.join()
    assert report.statuses == whole.statuses
    assert (tmp_path / "d.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()


def test_on_a_cluster_too_an_input_that_kills_hangs_or_raises_costs_only_itself(cluster: Cluster) -> None:
    items = ["a", "kill", "b", "hang", "c", "memory", "raise", "d"]
    dones = {
        done.item: done
        for done in run_on_dask(
            deadly.behave, items, site=Site(cluster.address), limits=Limits(2, 4 << 30), sizes=[1] * 8
        )
    }
    assert {name: dones[name].result for name in "abcd"} == {name: name for name in "abcd"}
    assert "SIGKILL" in str(dones["kill"].error)
    assert "more than 2 s" in str(dones["hang"].error)
    assert "memory" in str(dones["memory"].error)
    assert "KeyError" in str(dones["raise"].error)


def test_who_was_on_a_worker_when_it_died_is_not_blamed(cluster: Cluster, tmp_path: Path) -> None:
    listed = tmp_path / "pids"
    listed.write_text("")
    ended = threading.Event()

    def keep_list() -> None:
        while not ended.wait(0.05):
            with_new = tmp_path / "new"
            with_new.write_text(" ".join(map(str, cluster.worker_pids())))
            with_new.replace(listed)

    keeper = threading.Thread(target=keep_list)
    keeper.start()
    try:
        items = [(name, listed) for name in ("a", "killer", "b", "c")]
        sizes = [1, 1, 1, 1]
        dones = list(
            run_on_dask(
                deadly.kill_listed_parent, items, site=Site(cluster.address), limits=LIMITS, sizes=sizes
            )
        )
    finally:
        ended.set()
        keeper.join()
    # The killer kills Dask workers only; alone and supervised it does no harm, so nobody is to blame.
    assert sorted(str(done.result) for done in dones) == ["a", "b", "c", "killer"]


def children_of(cluster: Cluster) -> list[str]:
    found = []
    for nanny in cluster.processes[1:]:
        for child in psutil.Process(nanny.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found.append(" ".join(child.cmdline()))
    return [line for line in found if "child.py" in line]


def test_children_of_dask_workers_end_with_the_run(cluster: Cluster) -> None:
    list(run_on_dask(deadly.double, range(5), site=Site(cluster.address), limits=LIMITS))
    assert children_of(cluster) == []


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "tcp://", "bogus://127.0.0.1:8786"])
def test_no_scheduler_is_wrong_usage_within_seconds(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_CONNECT_SECONDS", 1)
    begun = time.monotonic()
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        list(run_on_dask(deadly.double, [1], site=Site(address), limits=LIMITS))
    assert time.monotonic() - begun < 60
    # The garbage collector would close it in any thread, and that thread might wait for ever.
    assert [made for made in gc.get_objects() if isinstance(made, Client) and made.status != "closed"] == []


@pytest.mark.soak
def test_no_scheduler_is_one_message_without_noise(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 2)
    line = command(zoo, tmp_path / "d.h5", "--scheduler", "tcp://127.0.0.1:9")
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("filterdb: no Dask scheduler answers\n  in: tcp://127.0.0.1:9\n")
    assert len(done.stderr.splitlines()) == 4
    assert not (tmp_path / "d.h5.staging").exists()


def test_an_interrupted_run_leaves_no_child_on_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    zoo, out = varied_zoo(tmp_path / "zoo", 40, large=10), tmp_path / "d.h5"
    process = start(zoo, out, "--scheduler", cluster.address)
    while not list((tmp_path / "d.h5.staging").glob("*.shard")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "filterdb: interrupted; the same command goes on from here\n"
    end = time.monotonic() + 60
    while children_of(cluster):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert run(zoo, out).reused > 0


def test_a_command_ends_when_it_is_asked_to_though_a_worker_is_stuck(tmp_path: Path) -> None:
    zoo, out = varied_zoo(tmp_path / "zoo", 40, large=20), tmp_path / "d.h5"
    (tmp_path / "logs").mkdir()
    with running_cluster(tmp_path / "logs", workers=1) as stuck:
        process = start(zoo, out, "--scheduler", stuck.address)
        while not list((tmp_path / "d.h5.staging").glob("*.shard")):
            assert process.poll() is None
            time.sleep(0.005)
        psutil.Process(stuck.worker_pids()[0]).suspend()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said(stderr) == ["filterdb: interrupted; the same command goes on from here"]


def test_workers_that_are_all_gone_end_an_extraction_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed = partial(waiting.completed, patience=1)
    monkeypatch.setattr("filterdb.run.workforce.cluster.completed", completed)
    with running_cluster(tmp_path, workers=1) as lost:
        dones = run_on_dask(
            deadly.behave, ["a", "hang"], site=Site(lost.address), limits=LIMITS, sizes=[1, 1 << 30]
        )
        assert next(dones).result == "a"
        lost.processes[1].kill()
        with pytest.raises(FilterDBError, match="no Dask worker is left") as caught:
            list(dones)
    assert caught.value.where == lost.address


def test_an_analysis_on_a_cluster_has_the_bits_of_a_local_one(cluster: Cluster, tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 12)
    run(zoo, tmp_path / "d.h5")
    rows = []
    for scheduler in ("local", cluster.address):
        with scans.scanner(tmp_path / "d.h5", RunConfig(scheduler=scheduler)) as scan:
            records = scan.statistics()
            basis = shift.fit_basis(merge_records(records, "scaled"))
            rows.append(scan.cube(records, basis, 70).rows.tobytes())
    assert rows[0] == rows[1]


@pytest.mark.parametrize("scheduler", ["processes", "cluster"])
def test_schedulers_of_this_computer_extract_the_same_bytes(scheduler: str, tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 12)
    run(zoo, tmp_path / "local.h5", workers=1)
    line = command(zoo, tmp_path / "d.h5", "--scheduler", scheduler, "--workers", 2)
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert (done.returncode, said(done.stderr)) == (0, [])
    assert (tmp_path / "d.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()


def test_threads_are_refused_for_an_extraction(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 2)
    with pytest.raises(UsageError, match="does not run in threads"):
        run(zoo, tmp_path / "d.h5", scheduler="threads")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["zoo"]
