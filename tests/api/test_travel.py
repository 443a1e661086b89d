"""A FilterDB goes to other threads, processes and Dask workers, and notices when its file is another."""

from __future__ import annotations

import pickle  # noqa: TID251 - what is pickled here, the test has made itself
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import dask
import distributed
import numpy as np
import pandas as pd
import pytest
from dask.base import tokenize
from published_fixtures import published

import filterdb
from filterdb import FilterDB
from filterdb.config import RunConfig
from filterdb.errors import NotADatasetError, StoreError
from filterdb.run.analysis.analyze import analyze


def travelled(held: FilterDB) -> FilterDB:
    found = pickle.loads(pickle.dumps(held))
    assert isinstance(found, FilterDB)
    return found


def test_a_copy_holds_the_same(db: FilterDB) -> None:
    part = db.select("sparsity > 0", models="*-over")
    for held in (db, part, part.select({"Task": "Denoising"})):
        found = travelled(held)
        np.testing.assert_array_equal(found.filters(), held.filters())
        pd.testing.assert_frame_equal(found.layers, held.layers)
        assert repr(found) == repr(held)
        found.close()


def test_a_copy_is_small_and_opens_nothing_until_it_is_used(db: FilterDB, demo: Path) -> None:
    _ = db.meta, db.layers, db.cube, db.filters()
    data = pickle.dumps(db)
    assert len(data) < 2_000
    program = (
        "import os, pickle, sys; db = pickle.loads(sys.stdin.buffer.read());"
        "links = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if n > '2'"
        " and os.path.exists(f'/proc/self/fd/{n}')];"
        "print(any('dataset.h5' in link for link in links), len(db))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["False", "128825"]


def test_a_copy_finds_its_file_from_another_folder(demo: Path, tmp_path: Path, monkeypatch: object) -> None:
    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    monkeypatch.chdir(demo.parent)
    with filterdb.open("dataset.h5") as db:
        data = pickle.dumps(db.select(models="cls-*"))
    monkeypatch.chdir(tmp_path)
    with pickle.loads(data) as found:
        assert len(found.filters()) == 17_838
        assert len(found.shift("Family").groups) > 2


def test_a_copy_refuses_another_file_in_the_place_of_its_own(demo: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(demo, tmp_path / "d.h5"))
    with filterdb.open(path) as db:
        data = pickle.dumps(db)
    published(50, models=5).ours(path)
    with pytest.raises(StoreError, match="replaced or has changed"):
        pickle.loads(data).filters()
    path.unlink()
    with pytest.raises(NotADatasetError, match="no such file"):
        pickle.loads(data).filters()
    # The same content is the same file, whenever it was copied there.
    shutil.copy(demo, path)
    assert len(pickle.loads(data)) == 128_825


def test_a_copy_of_a_published_file_refuses_one_that_was_written_again(tmp_path: Path) -> None:
    path = published(50, models=5).v1(tmp_path / "p.h5")
    with filterdb.open(path) as db:
        data = pickle.dumps(db)
        assert len(pickle.loads(data).filters()) == len(db)
    published(50, models=5, seed=1).v1(path)
    with pytest.raises(StoreError, match="replaced or has changed"):
        pickle.loads(data).filters()


def test_a_copy_refuses_results_that_were_replaced(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo.parent, tmp_path / "demo")
    path = tmp_path / "demo" / "dataset.h5"
    with filterdb.open(path) as db:
        _ = db.layers
        data = pickle.dumps(db)
    settings = RunConfig().with_analyze(by=("Task",), permutations=1, draws=1)
    analyze(path, path.with_name("results"), settings)
    with pytest.raises(StoreError, match="they were replaced"):
        pickle.loads(data)


def test_dask_tasks_may_hold_one(db: FilterDB) -> None:
    @dask.delayed
    def largest(held: FilterDB, model: str) -> float:
        return float(abs(held.select(models=model).filters()).max())

    models = db.meta["model"].unique()[:6].tolist()
    expected = [float(abs(db.select(models=model).filters()).max()) for model in models]
    tasks = [largest(db, model) for model in models]
    assert list(dask.compute(*tasks, scheduler="threads")) == expected
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        assert list(dask.compute(*tasks)) == expected
        total = db.filters_dask(chunk_rows=30_000).astype("f8").sum().compute()
    assert float(total) == pytest.approx(float(db.filters().astype("f8").sum()), rel=1e-9)


def test_dask_names_the_same_data_set_alike(db: FilterDB, demo: Path) -> None:
    with filterdb.open(demo) as again:
        assert tokenize(db) == tokenize(again)
        assert tokenize(db) != tokenize(again.select(models="cls-*"))
        assert tokenize(db.results) == tokenize(again.results)


def test_many_threads_find_the_tables_and_the_results_at_once(demo: Path) -> None:
    with filterdb.open(demo) as db:
        barrier, found, wrong = threading.Barrier(8), [], []

        def ask() -> None:
            barrier.wait()
            try:
                found.append((len(db.layers), float(db.shift("Task").pairs["D"].sum()), len(db.meta)))
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(set(found)) == 1
