"""Rows that are read past HDF5 are the rows that HDF5 reads; what only it can read is left to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import long_case

from filterdb.errors import CorruptDataError
from filterdb.store import DatasetFile
from filterdb.store.plain import PlainRows, chunk_offsets
from filterdb.types import RowRange

ROWS = 1_001
VALUES = np.random.default_rng(3).normal(size=(ROWS, 9)).astype(np.float32)


def chunked(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", data=VALUES, chunks=(64, 9))


def out_of_order(file: h5py.File) -> h5py.Dataset:
    """Chunks get their place in the file when they are first written."""
    dataset = file.create_dataset("filter", shape=VALUES.shape, dtype="<f4", chunks=(64, 9))
    for start in reversed(range(0, ROWS, 64)):
        dataset[start : start + 64] = VALUES[start : start + 64]
    return dataset


def contiguous(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", data=VALUES)


def square(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", data=VALUES.reshape(-1, 3, 3), chunks=(100, 3, 3))


def compressed(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", data=VALUES, chunks=(64, 9), compression="gzip")


def split_rows(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", data=VALUES, chunks=(64, 3))


def big_endian(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", data=VALUES.astype(">f4"), chunks=(64, 9))


def double(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", data=VALUES.astype(np.float64), chunks=(64, 9))


def with_a_gap(file: h5py.File) -> h5py.Dataset:
    """A chunk that was never written is not in the file: HDF5 makes it up."""
    dataset = file.create_dataset("filter", shape=VALUES.shape, dtype="<f4", chunks=(64, 9), fillvalue=2)
    dataset[:64] = VALUES[:64]
    return dataset


def never_written(file: h5py.File) -> h5py.Dataset:
    return file.create_dataset("filter", shape=VALUES.shape, dtype="<f4")


Make = Callable[[h5py.File], h5py.Dataset]


@pytest.mark.parametrize("make", [chunked, out_of_order, contiguous, square])
def test_any_rows_are_those_that_hdf5_reads(make: Make, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        make(file)
    with h5py.File(tmp_path / "plain.h5") as file:
        plain = PlainRows.of(file["filter"])
        assert plain is not None

        @settings(max_examples=60)
        @given(bounds=st.lists(st.integers(0, ROWS), min_size=2, max_size=2, unique=True))
        def check(bounds: list[int]) -> None:
            rows = RowRange(*sorted(bounds))
            target = np.full((len(rows), 9), np.nan, np.float32)
            plain.fill(rows, target)
            assert np.array_equal(target, VALUES[rows.slice])

        check()


@pytest.mark.parametrize("make", [compressed, split_rows, big_endian, double, with_a_gap, never_written])
def test_what_only_hdf5_can_read_is_left_to_it(make: Make, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        make(file)
    with h5py.File(tmp_path / "other.h5") as file:
        assert PlainRows.of(file["filter"]) is None


def test_a_file_that_begins_with_somebody_elses_bytes_is_left_to_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "user.h5", "w", userblock_size=512) as file:
        chunked(file)
    with h5py.File(tmp_path / "user.h5") as file:
        assert PlainRows.of(file["filter"]) is None


def test_chunks_that_are_not_all_there_have_no_places(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "gap.h5", "w") as file:
        with_a_gap(file)
    with h5py.File(tmp_path / "gap.h5") as file:
        assert chunk_offsets(file["filter"]) is None


def test_threads_read_one_open_file_at_once(tmp_path: Path) -> None:
    case = long_case(70_001)
    found: dict[int, bool] = {}

    def read(place: int) -> None:
        buffer = np.empty((5_000, 9), np.float32)
        starts = np.random.default_rng(place).integers(0, 65_001, 200).tolist()
        parts = [(RowRange(start, start + 5_000)) for start in starts]
        found[place] = all(
            np.array_equal(file.read(rows, buffer), case.filters[rows.slice]) for rows in parts
        )

    with DatasetFile(case.write(tmp_path / "long.h5")) as file:
        threads = [Thread(target=read, args=[place]) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == dict.fromkeys(range(4), True)


def test_a_file_that_is_cut_off_while_it_is_open_is_an_error_that_names_it(tmp_path: Path) -> None:
    case = long_case(70_001)
    path = case.write(tmp_path / "long.h5")
    with DatasetFile(path) as file:
        file.read(RowRange(0, 10))
        with path.open("r+b") as raw:
            raw.truncate(path.stat().st_size // 2)
        with pytest.raises(CorruptDataError, match="damaged: it ends before its filters do") as error:
            file.read(RowRange(0, 70_001))
    assert error.value.where == str(path)


def test_a_closed_file_gives_no_rows_and_leaves_nothing_open(tmp_path: Path) -> None:
    file = DatasetFile(long_case(70_001).write(tmp_path / "long.h5"))
    file.read(RowRange(0, 10))
    before = open_files()
    file.close()
    assert before - open_files() == {str(file.path)}
    with pytest.raises(CorruptDataError):
        file.read(RowRange(0, 10))


def test_who_is_still_reading_when_the_file_is_closed_reads_that_file(tmp_path: Path) -> None:
    case = long_case(70_001)
    file = DatasetFile(case.write(tmp_path / "long.h5"))
    plain = PlainRows.of(file._filter)
    assert plain is not None
    file.close()
    others = [(tmp_path / f"{number}").open("wb+") for number in range(20)]
    target = np.empty((70_001, 9), np.float32)
    plain.fill(RowRange(0, 70_001), target)
    assert np.array_equal(target, case.filters)
    for other in others:
        other.close()


def open_files() -> set[str]:
    """Return what this process has open."""
    # Listing the folder opens it, so that it is in its own list, and gone.
    return {str(link.readlink()) for link in list(Path("/proc/self/fd").iterdir()) if link.is_symlink()}
