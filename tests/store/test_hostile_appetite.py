"""Small files that stand for more memory than any machine has, or for hours of work."""

from __future__ import annotations

import pickle  # noqa: TID251 - to make what the reader must refuse
from pathlib import Path

import h5py
import numpy as np
import pytest
from published_fixtures import published
from store_cases import small_case

from filterdb import schema
from filterdb.errors import CorruptDataError, StoreError, UnsafeFileError
from filterdb.store import DatasetFile, guard, open_dataset
from filterdb.store.guard import MAX_NESTING, Room
from filterdb.store.published import fixed
from filterdb.store.published.objects import read_object_array

RECORDS = 24
SMALL = published(RECORDS, models=6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A published file whose table is in the fixed layout."""
    return SMALL.v1(tmp_path / "dataset.h5")


def refusal(path: Path) -> StoreError:
    """The error that opening the file and reading its tables gives, as a message that is complete."""
    with pytest.raises(StoreError) as caught, open_dataset(path) as file:
        assert file.tables is not None
    error = caught.value
    assert error.where is not None
    assert str(path) in error.where
    assert error.expected is not None
    return error


# ---- pickled columns


def replace_objects(path: Path, data: bytes) -> None:
    """Put another pickle in the place of the column of texts, as PyTables would."""
    with h5py.File(path, "r+") as file:
        name = next(name for name in ("block2_values", "block1_values") if file["meta"][name].dtype.hasobject)
        attributes = dict(file["meta"][name].attrs)
        del file["meta"][name]
        kind = h5py.vlen_dtype(np.uint8)
        made = file["meta"].create_dataset(name, (1,), kind, maxshape=(None,), chunks=(1,))
        made[0] = np.frombuffer(data, np.uint8)
        made.attrs.update(attributes)


def test_a_long_text_that_every_cell_refers_to_is_refused(path: Path) -> None:
    text = "m" * 1_000_000
    replace_objects(path, pickle.dumps(np.array([[text] * RECORDS] * 5, object), 2))
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert "a text of 1,000,000 bytes; 65,536 are the most" in error.what


def test_an_integer_of_a_megabyte_that_every_cell_refers_to_is_refused(path: Path) -> None:
    data = pickle.dumps(np.array([["m"] * RECORDS] * 5, object), 2)
    # Python itself keeps only texts to refer to them.
    text, number = b"X\1\0\0\0m", b"\x8b" + (1 << 20).to_bytes(4, "little") + b"\x7f" * (1 << 20)
    assert data.count(text) == 1
    replace_objects(path, data.replace(text, number))
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert "an integer of more than 64 bits" in error.what


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 2**64 - 1, -(2**63)])
def test_integers_of_64_bits_are_the_longest(number: int) -> None:
    data = pickle.dumps(np.array([number, "x", None], object), 2)
    if -(2**63) <= number < 2**64:
        assert read_object_array(data, where="the file").tolist() == [number, "x", None]
        return
    with pytest.raises(CorruptDataError, match="more than 64 bits"):
        read_object_array(data, where="the file")


@pytest.mark.parametrize("letter", ["x", "ß", "\ud800"], ids=["ascii", "two bytes", "half a character"])
def test_texts_count_in_bytes_as_often_as_they_are_referred_to(letter: str) -> None:
    size = len(letter.encode("utf-8", "surrogatepass"))
    text = letter * (schema.MAX_CELL_BYTES // size)
    data = pickle.dumps(np.array([text] * 100, object), 2)
    total = 100 * len(text) * size + 8 * len(data)
    found = read_object_array(data, where="the file", room=Room("the file", total))
    assert found.tolist() == [text] * 100
    with pytest.raises(CorruptDataError, match="no room left for the texts") as caught:
        read_object_array(data, where="the file", room=Room("the file", total - 1))
    assert caught.value.expected == f"{total - 1:,} bytes at most, in all of its columns"
    longer = pickle.dumps(np.array([text + letter], object), 2)
    with pytest.raises(CorruptDataError, match="65,536 are the most"):
        read_object_array(longer, where="the file")


def test_a_pickle_that_may_fill_the_room_with_cells_is_not_even_looked_at() -> None:
    with pytest.raises(CorruptDataError, match="no room left for a pickled column"):
        read_object_array(b"no pickle", where="the file", room=Room("the file", 71))


# ---- blocks


@pytest.mark.parametrize("place", ["block0_values", "block2_values"])
def test_a_block_that_is_a_link_to_another_one_is_refused(place: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        group = file["meta"]
        group["block3_values"], group["block3_items"] = group[place], group[place.replace("values", "items")]
        group.attrs["nblocks"] = 4
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert error.what == "/meta/block3_values is the same object as another block"


def test_blocks_of_zeros_are_refused_before_they_are_read(path: Path) -> None:
    rows = guard.MAX_TABLE_BYTES // 8 + 1
    with h5py.File(path, "r+") as file:
        group = file["meta"]
        for name in ("axis1_level0", "axis1_label0"):
            del group[name]
        options = {"chunks": (1 << 24,), "compression": "gzip", "shuffle": False}
        level = group.create_dataset("axis1_level0", (rows,), "i1", **options)
        level.attrs["name"] = np.bytes_("model_id")
        # The storage of one chunk of zeros stands in for that of all.
        for start in range(0, rows, 1 << 24):
            level.id.write_direct_chunk((start,), chunk_of_zeros())
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert "no room left for /meta/axis1_level0" in error.what


def chunk_of_zeros() -> bytes:
    import zlib

    return zlib.compress(bytes(1 << 24), 9)


def test_all_parts_of_a_frame_share_one_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = []

    class Noting(Room):
        def spend(self, count: int, name: str) -> None:
            needed.append(count)
            super().spend(count, name)

    monkeypatch.setattr(fixed, "Room", Noting)
    with open_dataset(path) as file:
        assert file.tables is not None
    total = sum(needed)
    assert len(needed) > 10
    # A table of a million records of this kind still has room.
    assert total < 3_000 * RECORDS
    monkeypatch.setattr(fixed, "Room", lambda where: Room(where, total - 1))
    assert "no room left" in refusal(path).what
    monkeypatch.setattr(fixed, "Room", lambda where: Room(where, total))
    with open_dataset(path) as file:
        assert len(file.tables.meta) == RECORDS


# ---- types


def nested(kind: str, depth: int) -> h5py.h5t.TypeID:
    made = h5py.h5t.NATIVE_INT8
    for _ in range(depth):
        if kind == "vlen":
            made = h5py.h5t.vlen_create(made)
        elif kind == "array":
            made = h5py.h5t.array_create(made, (1,))
        else:
            outer = h5py.h5t.create(h5py.h5t.COMPOUND, made.get_size())
            outer.insert(b"a", 0, made)
            made = outer
    return made


def plant(path: Path, place: str, kind: h5py.h5t.TypeID) -> None:
    with h5py.File(path, "r+") as file:
        if place in file:
            del file[place]
        h5py.h5d.create(file.id, place.encode(), kind, h5py.h5s.create_simple((1,)))


@pytest.mark.parametrize("kind", ["vlen", "array", "compound"])
@pytest.mark.parametrize("place", ["filters", "meta/axis0", "meta/block0_values", "another"])
def test_types_of_types_of_types_are_refused_wherever_they_are(kind: str, place: str, path: Path) -> None:
    plant(path, place, nested(kind, 500))
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert error.what == f"/{place} is of types nested more than {MAX_NESTING} deep"


@pytest.mark.parametrize("place", ["filter", "filters", "meta/table"])
def test_types_of_types_of_types_are_refused_in_a_file_of_our_own_format(place: str, tmp_path: Path) -> None:
    path = small_case().write(tmp_path / "ours.h5")
    plant(path, place, nested("vlen", 500))
    with pytest.raises(UnsafeFileError, match=f"/{place} is of types nested"):
        DatasetFile(path)


@pytest.mark.parametrize("kind", ["vlen", "array", "compound"])
def test_types_that_are_nested_less_deep_are_left_alone(kind: str, path: Path) -> None:
    plant(path, "another", nested(kind, MAX_NESTING - 1))
    with open_dataset(path) as file:
        assert len(file.tables.meta) == RECORDS


# ---- tables


def widen(path: Path, rows: int, columns: int, cell: bytes) -> None:
    """Put a table of one text again and again in the place of /meta."""
    kind = np.dtype([("index", "<i8"), ("texts", f"S{len(cell)}", (columns,))])
    names = [f"c{place}" for place in range(columns)]
    block = np.zeros(rows, kind)
    block["index"], block["texts"] = np.arange(rows), cell
    with h5py.File(path, "r+") as file:
        del file["meta"]
        table = file.create_dataset("meta/table", data=block, compression="gzip", chunks=(min(rows, 1_000),))
        table.attrs["texts_kind"] = np.bytes_(pickle.dumps(names, 0))
        file["meta"].attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, names)], 0))


def test_a_table_of_many_short_texts_is_refused_before_it_is_read(path: Path) -> None:
    # Every one of its cells takes one byte, and far more as a text.
    widen(path, 80_000, 900, b"x")
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert error.what == "the table is too large: there is no room left for the rows of /meta/table"


def test_a_table_of_long_texts_is_refused_where_they_are_too_many(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filterdb.store import frames

    widen(path, 100, 3, b"x" * 1_000)
    monkeypatch.setattr(frames, "_MOST_TIMES", 0)
    monkeypatch.setattr(frames, "_MAX_BYTES", 100 * (8 + 3 * 64) + 300_000)
    assert "has no column" in refusal(path).what
    monkeypatch.setattr(frames, "_MAX_BYTES", 100 * (8 + 3 * 64) + 299_999)
    assert "no room left for the texts of /meta/table" in refusal(path).what
