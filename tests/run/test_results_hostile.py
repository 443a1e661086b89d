"""Results folders that somebody made to do harm, or that hold other files under the names of ours."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analyses import make, run, write_zoo

import filterdb
from damaged_arrays import HEADERS, npy
from filterdb.errors import CorruptDataError, NotADatasetError, UsageError
from filterdb.run import files
from filterdb.run.analysis.results import load, read_table


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    run(make(write_zoo(folder / "zoo", [1, 2, 3]), folder / "dataset.h5"), folder / "results")
    return folder / "results"


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "results"))


def damage(results: Path) -> str:
    with pytest.raises(CorruptDataError) as caught:
        load(results)
    error = caught.value
    assert error.where == str(results)
    assert error.hint == "filterdb analyze writes them again"
    assert error.what.startswith("the results are damaged: ")
    return error.what


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_cube_whose_header_is_none_is_damaged(header: bytes, results: Path) -> None:
    (results / "cube.npy").write_bytes(npy(header))
    damage(results)


def test_a_cube_that_is_an_archive_is_damaged(results: Path) -> None:
    with (results / "cube.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    assert "magic" in damage(results)


def write_many(path: Path, rows: int, text: str) -> None:
    """Write equal texts, which take next to nothing."""
    column = pa.array([text]).take(pa.array(np.zeros(rows, np.int32)))
    pq.write_table(pa.table({"group": column}), path, compression="zstd")


@pytest.mark.parametrize("name", ["layers", "models", "meta"])
def test_a_table_of_more_rows_than_there_are_records_is_damaged(name: str, results: Path) -> None:
    write_many(results / f"{name}.parquet", 1_000_000, "x")
    assert f"{name}.parquet: the table has 1,000,000 rows" in damage(results)
    opened = filterdb.open_results(results)
    with pytest.raises(CorruptDataError, match="1,000,000 rows"):
        _ = opened.models if name == "models" else opened.layers


def test_a_table_of_more_bytes_than_a_table_takes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filterdb.store.parquet.MAX_TABLE_BYTES", 1 << 20)
    write_many(tmp_path / "t.parquet", 10_000, "x" * 1_000)
    with pytest.raises(ValueError, match=r"t\.parquet: the table is too large; expected 1,048,576 bytes"):
        read_table(tmp_path / "t.parquet", most_rows=10_000)
    write_many(tmp_path / "t.parquet", 10_000, "x" * 10)
    assert len(read_table(tmp_path / "t.parquet", most_rows=10_000)) == 10_000


def test_groups_without_their_pairs_are_damaged_before_there_is_a_matrix(results: Path) -> None:
    write_many(next(results.glob("shift/*.groups.parquet")), 1_000_000, "x")
    assert "lacks pairs of groups" in damage(results)


def test_a_missing_table_is_damage(results: Path) -> None:
    (results / "meta.parquet").unlink()
    assert "meta.parquet" in damage(results)


def test_tables_come_back_as_pandas_reads_them(results: Path) -> None:
    for path in results.rglob("*.parquet"):
        pd.testing.assert_frame_equal(read_table(path, most_rows=1_000), pd.read_parquet(path))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"format":' + "[" * 100_000])
def test_json_that_is_nested_without_end_counts_as_empty(text: str, results: Path) -> None:
    (results / "cube.json").write_text(text)
    assert files.read_json(results / "cube.json") == {}
    damage(results)
    (results / "manifest.json").write_text(text)
    with pytest.raises(NotADatasetError, match="this is no results folder"):
        load(results)


def test_json_that_is_too_large_counts_as_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": "x" * 1_000}))
    size = path.stat().st_size
    monkeypatch.setattr(files, "_MAX_JSON", size)
    assert files.read_json(path) == {"a": "x" * 1_000}
    monkeypatch.setattr(files, "_MAX_JSON", size - 1)
    assert files.read_json(path) == {}


@pytest.mark.parametrize("name", ["manifest.json", "cube.npy", "basis.json", "layers.parquet"])
def test_a_pipe_is_not_waited_for(name: str, results: Path) -> None:
    (results / name).unlink()
    os.mkfifo(results / name)
    with pytest.raises((CorruptDataError, NotADatasetError, UsageError)):
        load(results)
