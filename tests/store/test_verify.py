from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tables as pytables
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import Case, field_of, long_case, small_case

from filterdb import schema
from filterdb.errors import StoreError
from filterdb.store import DatasetFile, verify

SMALL = small_case()
LONG = long_case(70_001)


def complaints(path: Path) -> str:
    """What verification says, whether it lists or raises it."""
    try:
        return "\n".join(verify(path))
    except StoreError as error:
        return str(error)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return SMALL.write(tmp_path / "dataset.h5")


@pytest.fixture(scope="module", params=[None, "gzip"])
def long_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LONG.write(tmp_path_factory.mktemp("long") / "long.h5", compression=request.param)


def stored_bytes(path: Path) -> list[tuple[int, int]]:
    """Where the chunks of /filter are in the file: offset and length."""
    with h5py.File(path) as file:
        dataset = file["filter"].id
        chunks = [dataset.get_chunk_info(i) for i in range(dataset.get_num_chunks())]
    return [(chunk.byte_offset, chunk.size) for chunk in chunks]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_good_file_raises_no_alarm(compression: str | None, tmp_path: Path) -> None:
    for number, case in enumerate((SMALL, LONG)):
        assert verify(case.write(tmp_path / f"{number}.h5", compression=compression)) == []


@settings(max_examples=30)
@given(place=st.floats(0, 1, exclude_max=True), chunk=st.integers(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_the_filters_is_caught(
    long_file: Path, place: float, chunk: int, bit: int
) -> None:
    offset, size = stored_bytes(long_file)[chunk]
    if size == 65_536 * 36 and chunk == 1:
        size = (70_001 - 65_536) * 36  # behind the last row the chunk is filler
    at = offset + int(place * size)
    with long_file.open("r+b") as file:
        file.seek(at)
        good = file.read(1)
        file.seek(at)
        file.write(bytes([good[0] ^ (1 << bit)]))
    try:
        found = complaints(long_file)
        with h5py.File(long_file) as opened:
            try:
                unchanged = np.array_equal(opened["filter"][:].view("u4"), LONG.filters.view("u4"))
            except OSError:
                unchanged = False
    finally:
        with long_file.open("r+b") as file:
            file.seek(at)
            file.write(good)
    # A few bits of a compressed stream are padding.
    assert unchanged or "model long, layer l" in found


def test_the_message_names_the_layer_whose_filters_changed_and_no_other(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["filter"][14, 3] += 1
    assert verify(path) == ["model alpha, layer body.0: the filters (rows 12:20) have changed"]


def test_every_layer_of_an_unreadable_chunk_is_named_once(tmp_path: Path) -> None:
    path = LONG.write(tmp_path / "a.h5", compression="gzip")
    offset, size = stored_bytes(path)[0]
    with path.open("r+b") as file:
        file.seek(offset + size // 2)
        file.write(bytes(64))
    problems = verify(path)
    # The seventh layer starts in the first chunk and ends in the second.
    assert [problem.split(":")[0] for problem in problems] == [f"model long, layer l{i}" for i in range(7)]
    assert all("cannot be read" in problem for problem in problems)


def test_a_count_of_nonfinite_values_that_is_wrong_is_caught(path: Path) -> None:
    edit(path, "meta", "nonfinite", lambda cells: cells + 1)
    assert "NaN or infinite" in complaints(path)


@contextlib.contextmanager
def open_table(path: Path, name: str) -> Iterator[pytables.Table]:
    """Open a table with PyTables: h5py would cut the last byte of every full cell that it writes."""
    with pytables.open_file(str(path), "a") as file:
        yield file.get_node(f"/{name}/table")


def edit(
    path: Path, name: str, column: str, change: Callable[[np.ndarray], np.ndarray], row: int = -1
) -> None:
    with h5py.File(path) as file:
        field, place = field_of(file[f"{name}/table"], column)
    with open_table(path, name) as table:
        rows = table.read()
        cells = rows[field].reshape(len(rows), -1)
        cells[row, place] = change(cells[row, place])
        rows[field] = cells.reshape(rows[field].shape)
        table.modify_rows(0, len(rows), 1, rows)


def another(cell: np.generic) -> object:
    """Any other value of the same type."""
    if isinstance(cell, bytes):
        return b"x" if cell != b"x" else b"y"
    if isinstance(cell, np.floating):
        return 0.125 if np.isnan(cell) else cell + 0.25
    return 1 - cell if isinstance(cell, np.uint8 | np.int8 | np.bool_) else cell + 1


CELLS = [
    (name, column)
    for name, frame in SMALL.tables.by_name().items()
    for column in [*(frame.index.names if name == "meta" else []), *frame.columns]
]


@pytest.mark.parametrize(("name", "column"), CELLS)
def test_a_changed_cell_is_caught_in_every_column(name: str, column: str, path: Path) -> None:
    edit(path, name, column, another)
    assert complaints(path)


def test_cells_written_again_as_they_were_raise_no_alarm(path: Path) -> None:
    for name, column in CELLS[::4]:
        edit(path, name, column, lambda cell: cell)
    assert verify(path) == []


@pytest.mark.parametrize("name", ["meta", "models", "skipped"])
def test_a_changed_row_number_is_caught(name: str, path: Path) -> None:
    with open_table(path, name) as table:
        rows = table.read()
        rows["index"][-1] += 1
        table.modify_rows(0, len(rows), 1, rows)
    assert "not numbered from 0" in complaints(path)


@pytest.mark.parametrize("name", [*schema.ATTRIBUTES, *schema.OPTIONAL_ATTRIBUTES])
def test_a_changed_root_attribute_is_caught(name: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        value = file.attrs[name]
        file.attrs[name] = value + 1 if isinstance(value, np.integer) else np.bytes_(value.swapcase() + b"x")
    assert complaints(path)


def test_an_absent_optional_attribute_is_caught_by_the_hash(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs["extractor_version"]
    assert "content hash" in complaints(path)


@pytest.mark.parametrize("change", ["removed", "added", "reordered", "renumbered"])
def test_a_changed_set_of_records_is_caught(change: str, path: Path) -> None:
    with open_table(path, "meta") as table:
        rows = table.read()
        if change == "removed":
            table.remove_rows(4, 5)
        elif change == "added":
            rows["index"] = 5
            table.append(rows[-1:])
        else:
            rows = rows[[0, 1, 3, 2, 4]]
            if change == "renumbered":
                rows["index"] = np.arange(5)
            table.modify_rows(0, 5, 1, rows)
    assert complaints(path)


def test_two_records_whose_filters_change_places_are_caught(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        filters = file["filter"]
        filters[0:12], filters[12:20] = filters[8:20], filters[0:8]
    found = complaints(path)
    assert "layer stem" in found
    assert "layer body.0" in found


def test_tables_rewritten_by_pandas_are_caught(path: Path) -> None:
    models = pd.read_hdf(path, "models")
    models.loc[1, "reason"] = "another reason"
    models.to_hdf(path, key="models", format="table", index=False, nan_rep="\u2400")
    assert "content hash" in complaints(path)


def test_a_truncated_file_is_caught(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "truncated" in complaints(path)


def test_progress_reaches_the_number_of_filters(long_file: Path) -> None:
    calls: list[tuple[int, int]] = []
    verify(long_file, lambda done, total: calls.append((done, total)))
    assert calls == [(65_536, 70_001), (70_001, 70_001)]


def test_verification_is_one_pass_whatever_the_number_of_layers(tmp_path: Path) -> None:
    case: Case = long_case(200_000, layers=20_000)
    path = case.write(tmp_path / "many.h5", compression="gzip")
    start = time.monotonic()
    assert verify(path) == []
    # Decompressing a chunk again for each of its layers would take minutes.
    assert time.monotonic() - start < 60


def test_memory_does_not_follow_the_size_of_a_layer(tmp_path: Path) -> None:
    import tracemalloc

    path = long_case(700_000, layers=1).write(tmp_path / "one.h5")
    with DatasetFile(path) as file:
        assert len(file.tables.meta) == 1
    tracemalloc.start()
    assert verify(path) == []
    assert tracemalloc.get_traced_memory()[1] < 15_000_000
    tracemalloc.stop()
