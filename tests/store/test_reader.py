from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import Case, long_case, small_case

from filterdb.errors import CorruptDataError, NotADatasetError, OutputError
from filterdb.store import DatasetFile
from filterdb.types import Kernel, RowRange

ROWS = 70_001


@pytest.fixture(scope="module", params=[None, "gzip"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LONG.write(tmp_path_factory.mktemp("long") / "long.h5", compression=request.param)


LONG: Case = long_case(ROWS)


def test_attributes_kernel_and_counts_are_at_hand(path: Path) -> None:
    with DatasetFile(path) as file:
        assert file.kernel == Kernel(3, 3)
        assert file.n_filters == ROWS
        assert file.attributes["n_records"] == 7
        assert len(file.content_hash) == 64


@settings(max_examples=40)
@given(start=st.integers(0, ROWS - 1), length=st.integers(1, ROWS))
def test_any_rows_are_those_that_were_written(path: Path, start: int, length: int) -> None:
    rows = RowRange(start, min(start + length, ROWS))
    with DatasetFile(path) as file:
        assert np.array_equal(file.read(rows), LONG.filters[rows.slice])


@settings(max_examples=40)
@given(start=st.integers(0, ROWS - 2), stop=st.integers(1, ROWS), height=st.integers(1_000, ROWS + 10))
def test_blocks_of_any_height_are_the_same_rows(path: Path, start: int, stop: int, height: int) -> None:
    rows = RowRange(start, max(stop, start + 1))
    with DatasetFile(path) as file:
        blocks = [block.copy() for block in file.blocks(rows, height)]
    assert all(len(block) == height for block in blocks[:-1])
    assert np.array_equal(np.concatenate(blocks), LONG.filters[rows.slice])


def test_blocks_without_rows_cover_all_filters(path: Path) -> None:
    with DatasetFile(path) as file:
        assert sum(len(block) for block in file.blocks()) == ROWS


def test_a_buffer_is_filled_and_its_filled_part_returned(path: Path) -> None:
    buffer = np.full((100, 9), 7, dtype=np.float32)
    with DatasetFile(path) as file:
        part = file.read(RowRange(10, 60), buffer)
    assert np.shares_memory(part, buffer)
    assert np.array_equal(part, LONG.filters[10:60])
    assert (buffer[50:] == 7).all()


@pytest.mark.parametrize(
    "buffer",
    [
        np.empty((10, 9), dtype=np.float32),
        np.empty((50, 8), dtype=np.float32),
        np.empty((50, 9), dtype=np.float64),
        np.empty(450, dtype=np.float32),
        np.empty((50, 18), dtype=np.float32)[:, ::2],
        np.empty((9, 50), dtype=np.float32).T,
    ],
    ids=["too low", "too narrow", "float64", "flat", "strided", "transposed"],
)
def test_a_buffer_that_does_not_fit_is_refused(path: Path, buffer: np.ndarray) -> None:
    with DatasetFile(path) as file, pytest.raises(ValueError, match="buffer"):
        file.read(RowRange(0, 50), buffer)


def test_rows_past_the_end_are_refused_by_number(path: Path) -> None:
    with DatasetFile(path) as file:
        assert len(file.read(RowRange(ROWS - 1, ROWS))) == 1
        with pytest.raises(CorruptDataError, match="no filter 70,001"):
            file.read(RowRange(ROWS - 1, ROWS + 1))


def test_a_block_of_no_height_is_refused(path: Path) -> None:
    with DatasetFile(path) as file, pytest.raises(ValueError, match="at least one row"):
        next(file.blocks(height=0))


def test_a_closed_file_says_so_rather_than_crash(path: Path) -> None:
    file = DatasetFile(path)
    file.close()
    file.close()
    with pytest.raises((CorruptDataError, ValueError)):
        file.read(RowRange(0, 1))


def test_opening_reads_neither_the_filters_nor_the_tables(tmp_path: Path) -> None:
    path = long_case(2_800_000, layers=20_000).write(tmp_path / "large.h5")
    assert path.stat().st_size > 100_000_000
    tracemalloc.start()
    with DatasetFile(path) as file:
        _, opened = tracemalloc.get_traced_memory()
        assert "tables" not in vars(file)
        file.read(RowRange(2_000_000, 2_000_001))
        _, read = tracemalloc.get_traced_memory()
        tables = file.tables
    tracemalloc.stop()
    assert max(opened, read) < 2_000_000
    assert len(tables.meta) == 20_000
    assert file.tables is tables


READ = """
import sys
from filterdb.store import DatasetFile
from filterdb.types import RowRange
with DatasetFile(sys.argv[1]) as file:
    print("open", flush=True)
    sys.stdin.read()
    print(float(file.read(RowRange(0, file.n_filters)).sum()), len(file.tables.meta))
"""


def test_several_processes_hold_one_file_open(path: Path) -> None:
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READ, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert [reader.stdout.readline() for reader in readers if reader.stdout] == ["open\n"] * 3
    with DatasetFile(path), h5py.File(path):
        assert len(pd.read_hdf(path, "meta")) == 7
        answers = {reader.communicate("go", timeout=60)[0] for reader in readers}
    assert len(answers) == 1
    assert [reader.returncode for reader in readers] == [0, 0, 0]


def test_a_file_and_folder_without_write_permission_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    path = small_case().write(folder / "a.h5")
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with DatasetFile(path) as file:
            assert len(file.tables.meta) == 5
    finally:
        folder.chmod(0o755)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs setuid or a user who is not root")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = small_case().write(tmp_path / "a.h5")
    path.chmod(0o000)
    if os.geteuid() != 0:
        with pytest.raises(OutputError, match="cannot be read"):
            DatasetFile(path)
        return
    code = f"""
import os
from filterdb.errors import OutputError
from filterdb.store import DatasetFile
os.chdir({str(tmp_path)!r})
import h5py
os.setegid(65534); os.seteuid(65534)
try:
    DatasetFile("a.h5")
except OutputError as error:
    print(error.what)
"""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "cannot be read" in done.stdout, done.stderr


@pytest.mark.timeout(20)
def test_a_pipe_does_not_keep_the_reader_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(NotADatasetError, match="no regular file"):
        DatasetFile(tmp_path / "pipe.h5")


def test_a_folder_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match="this is a folder"):
        DatasetFile(tmp_path)


@pytest.mark.parametrize("name", ["absent.h5", "dataset.h5/inside", "absent/deeper.h5"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.h5").write_bytes(b"")
    with pytest.raises(NotADatasetError, match="no such file") as caught:
        DatasetFile(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html></html>", "no HDF5 file"),
        (b"PK\x03\x04 and so on", "no HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no HDF5 file"),
        (b"\xfd7zXZ\x00\x00\x04", "xz --decompress --keep dataset.h5"),
        (b"\x89HDF\r\n\x1a\n", "does not open"),
        (b"\x89HDF\r\n\x1a\n" + bytes(4096), "does not open"),
    ],
)
def test_other_files_are_told_apart(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    path.write_bytes(content)
    with pytest.raises((NotADatasetError, CorruptDataError)) as caught:
        DatasetFile(path)
    message = str(caught.value)
    assert what in message
    assert str(path) in message
    assert "expected:" in message


def test_an_hdf5_file_of_somebody_else_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    pd.DataFrame({"a": [1]}).to_hdf(path, key="meta", format="table")
    with pytest.raises(NotADatasetError, match="not one of filterdb's"):
        DatasetFile(path)
