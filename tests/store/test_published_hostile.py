"""Published files that somebody made to do harm: a pickle in each place where one can stand, and worse."""

from __future__ import annotations

import contextlib
import pickle  # noqa: TID251 - to make what the reader must not run
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tables
from published_fixtures import Published, published
from store_cases import small_case

from filterdb.errors import NotADatasetError, StoreError, UnsafeFileError
from filterdb.store import open_dataset, verify
from seldom import seldom

SMALL = published(24, models=6)
KINDS = {"nothing", "problems", "CorruptDataError", "NotADatasetError", "UnsafeFileError"}
SCRIPT = Path(__file__).parent / "mutate_and_read.py"


class Bomb:
    """Pickles to a program that leaves a mark when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture(params=["fixed", "table"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return SMALL.v1(tmp_path / "dataset.h5", layout=request.param)


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    return SMALL.v1(tmp_path / "dataset.h5")


def use(path: Path, *, whole: bool = True) -> StoreError | None:
    """Do everything with a file that reads it, and return what was complained of.

    Verifying reads once more what opening has read, and the filters, which hold no pickle.
    """
    try:
        with open_dataset(path) as file:
            assert file.tables is not None
            assert file.content_hash
        if whole:
            verify(path)
    except StoreError as error:
        return error
    return None


def nodes(path: Path) -> list[str]:
    with h5py.File(path) as file:
        found = ["/", "filters", "meta"]
        file["meta"].visit(lambda name: found.append(f"meta/{name}"))
    return [name for name in found if "_i_table/" not in name]


@pytest.mark.parametrize("everywhere", [False, seldom(True)])
def test_a_hostile_pickle_in_any_attribute_is_never_run(
    path: Path, tmp_path: Path, marker: Path, everywhere: bool
) -> None:
    good, hostile = path.read_bytes(), tmp_path / "hostile.h5"
    bomb = np.bytes_(pickle.dumps(Bomb(marker), protocol=0))
    tried: set[str] = set()
    for node in nodes(path):
        with h5py.File(path) as file:
            names = [*(["a_new_one", "FILTERS"] if node in ("/", "meta") else []), *file[node].attrs]
        for name in names if everywhere else [name for name in names if name not in tried]:
            hostile.write_bytes(good)
            with h5py.File(hostile, "r+") as file:
                file[node].attrs[name] = bomb
            use(hostile, whole=node in ("/", "meta") and name == "a_new_one")
            assert not marker.exists(), f"{node}: {name}"
            tried.add(name)
    assert {"CLASS", "pandas_type", "a_new_one"} <= tried


@pytest.mark.parametrize("name", ["levels", "non_index_axes", "info", "values_cols", "data_columns"])
def test_a_hostile_pickle_where_pandas_looks_in_a_table_is_named_or_ignored(
    name: str, tmp_path: Path, marker: Path
) -> None:
    path = SMALL.v0(tmp_path / "dataset.h5")
    with h5py.File(path, "r+") as file:
        file["meta"].attrs[name] = np.bytes_(pickle.dumps(Bomb(marker), protocol=0))
    error = use(path)
    assert not marker.exists()
    if name in ("levels", "non_index_axes"):
        assert isinstance(error, UnsafeFileError)
        assert "exec" in error.what
        assert error.hint is not None
        assert "pandas" in error.hint


def plant(path: Path, node: str, value: object) -> None:
    """Replace a node of the frame by a pickled object, as PyTables would write it."""
    with tables.open_file(path, "a") as file:
        attributes = {}
        if f"/meta/{node}" in file:
            held = file.get_node(f"/meta/{node}")._v_attrs
            attributes = {key: held[key] for key in ("kind", "name", "transposed") if key in held}
            file.remove_node(f"/meta/{node}")
        array = file.create_vlarray("/meta", node, tables.ObjectAtom())
        array.append(value)
        for key, kept in attributes.items():
            setattr(array._v_attrs, key, kept)


FIXED_NODES = [
    *(f"block{block}_{part}" for block in range(3) for part in ("values", "items")),
    *(f"axis1_{part}{level}" for part in ("level", "label") for level in range(4)),
    "axis0",
    "another",
]


@pytest.mark.parametrize("node", FIXED_NODES)
@pytest.mark.parametrize("inside", [False, True], ids=["bare", "in a cell"])
def test_a_hostile_pickle_in_any_node_of_a_fixed_frame_is_never_run(
    inside: bool, node: str, fixed: Path, marker: Path
) -> None:
    bomb = Bomb(marker)
    plant(fixed, node, np.array([["x", bomb]] * 24, object) if inside else bomb)
    error = use(fixed)
    assert not marker.exists()
    assert (error is None) == (node == "another")
    if node.startswith("block") or node == "axis0":
        assert isinstance(error, UnsafeFileError)
        assert "exec" in error.what
        assert fixed.name in str(error.where)


@pytest.mark.filterwarnings("ignore")
def test_the_hostile_pickle_of_these_tests_does_run_where_pandas_reads_the_file(
    fixed: Path, marker: Path
) -> None:
    plant(fixed, "block2_values", Bomb(marker))
    with contextlib.suppress(Exception):
        pd.read_hdf(fixed, "meta")
    assert marker.exists()


def test_a_pickle_in_a_cell_of_a_table_is_text(tmp_path: Path, marker: Path) -> None:
    text = pickle.dumps(Bomb(marker), protocol=0).decode()
    frame = SMALL.frame.assign(Task=text)
    path = Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5", layout="table")
    with open_dataset(path) as file:
        assert set(file.tables.meta["Task"]) == {text}
    assert not marker.exists()


def test_a_pickle_in_the_names_of_columns_is_text(tmp_path: Path, marker: Path) -> None:
    text = pickle.dumps(Bomb(marker), protocol=0).decode()
    path = Published(SMALL.layers, SMALL.frame.assign(**{text: 1}), SMALL.filters).v1(tmp_path / "a.h5")
    with open_dataset(path) as file:
        assert text in file.tables.meta.columns
    assert not marker.exists()


@pytest.mark.parametrize("place", ["filters", "meta", "meta/axis0", "meta/table", "more"])
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_a_link_is_refused_wherever_it_is(kind: str, place: str, path: Path, tmp_path: Path) -> None:
    SMALL.v1(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        if place in file:
            del file[place]
        link = h5py.ExternalLink("other.h5", place) if kind == "external" else h5py.SoftLink("/meta")
        file[place] = link
    with pytest.raises(UnsafeFileError, match=f"/{place} is an? {kind}") as caught:
        open_dataset(path)
    assert str(path) in str(caught.value.where)


def test_a_link_that_claims_to_be_the_other_name_but_is_not_is_refused(path: Path, tmp_path: Path) -> None:
    SMALL.v1(tmp_path / "other.h5")
    for link in (h5py.SoftLink("/meta"), h5py.ExternalLink("other.h5", "/filters")):
        with h5py.File(path, "r+") as file:
            if "filter" in file.keys():  # noqa: SIM118 - asking the file would follow the link
                del file["filter"]
            file["filter"] = link
        with pytest.raises(UnsafeFileError, match=r"/filter is an? "):
            open_dataset(path)
    with h5py.File(path, "r+") as file:
        del file["filter"], file["filters"]
        file["filter"], file["filters"] = h5py.SoftLink("/filters"), h5py.SoftLink("/filter")
    with pytest.raises(NotADatasetError, match="no /filters"):
        open_dataset(path)


def test_external_storage_is_refused_and_the_file_it_names_not_read(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(SMALL.filters.size * 8))
    with h5py.File(path, "r+") as file:
        del file["filters"]
        shape = (len(SMALL.filters), 3, 3)
        file.create_dataset("filters", shape, "<f8", external=[(str(secret), 0, SMALL.filters.size * 8)])
    assert isinstance(use(path), UnsafeFileError)


def test_a_virtual_data_set_is_refused(path: Path, tmp_path: Path) -> None:
    SMALL.v1(tmp_path / "other.h5")
    shape = (len(SMALL.filters), 3, 3)
    layout = h5py.VirtualLayout(shape, "<f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "filters", shape)
    with h5py.File(path, "r+") as file:
        del file["filters"]
        file.create_virtual_dataset("filters", layout)
    assert isinstance(use(path), UnsafeFileError)


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 2}])
def test_an_hdf5_filter_other_than_gzip_and_shuffle_is_refused(
    options: dict[str, object], path: Path
) -> None:
    with h5py.File(path, "r+") as file:
        del file["filters"]
        file.create_dataset("filters", data=SMALL.filters.astype("<f8"), chunks=(50, 9), **options)
    error = use(path)
    assert isinstance(error, UnsafeFileError)
    assert "HDF5 filter" in error.what


def test_blosc_which_pandas_offers_is_refused_by_number(tmp_path: Path) -> None:
    path = SMALL.v1(tmp_path / "a.h5", layout="table", complevel=5, complib="blosc")
    error = use(path)
    assert isinstance(error, UnsafeFileError)
    assert "HDF5 filter 32001" in error.what


@pytest.mark.parametrize("claimed", [0, 1, 10_000_000, 0xFFFFFFFF])
def test_an_object_that_claims_another_length_is_refused_before_memory_is_taken(
    claimed: int, fixed: Path
) -> None:
    with h5py.File(fixed) as file:
        place = file["meta/block2_values"].id.get_chunk_info(0).byte_offset
    content = bytearray(fixed.read_bytes())
    content[place : place + 4] = claimed.to_bytes(4, "little")
    fixed.write_bytes(content)
    assert isinstance(use(fixed), StoreError)


@pytest.mark.parametrize("offset", [1 << 62, 7, 0])
def test_an_object_that_points_elsewhere_is_refused(offset: int, fixed: Path) -> None:
    with h5py.File(fixed) as file:
        place = file["meta/block2_values"].id.get_chunk_info(0).byte_offset
    content = bytearray(fixed.read_bytes())
    content[place + 4 : place + 12] = offset.to_bytes(8, "little")
    fixed.write_bytes(content)
    error = use(fixed)
    assert error is not None
    assert "points" in error.what


def test_a_heap_that_goes_in_circles_ends(fixed: Path) -> None:
    content = bytearray(fixed.read_bytes())
    heap = content.index(b"GCOL")
    # An object of no length, whose successor is always itself but for its header.
    content[heap + 16 :] = b"\x09\0\1\0\0\0\0\0" + bytes(8) + content[heap + 32 :]
    fixed.write_bytes(content)
    assert use(fixed) is not None


def outcomes(good: Path, folder: Path, how: str, seeds: range) -> Counter[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(good), str(folder), how, str(seeds.start), str(seeds.stop)],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"the process died of {lines[-1:]}: {done.stderr[-500:]}"
    assert not [line for line in lines if "UNEXPECTED" in line]
    assert len(lines) == len(seeds)
    return Counter(line.split()[1] for line in lines)


@pytest.mark.parametrize("how", ["mutate", "truncate"])
def test_random_damage_gives_store_errors_and_never_a_crash(how: str, path: Path, tmp_path: Path) -> None:
    assert set(outcomes(path, tmp_path, how, range(30))) <= KINDS


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("how", "seeds"), [("mutate", range(10_000, 16_000)), ("truncate", range(30, 600))])
def test_much_more_random_damage_gives_no_crash_either(
    how: str, seeds: range, path: Path, tmp_path: Path
) -> None:
    assert set(outcomes(path, tmp_path, how, seeds)) <= KINDS


def test_our_own_reader_still_opens_no_published_file(fixed: Path, tmp_path: Path) -> None:
    from filterdb.store import DatasetFile

    with pytest.raises(NotADatasetError, match="not one of filterdb's"):
        DatasetFile(fixed)
    with warnings.catch_warnings(), open_dataset(small_case().write(tmp_path / "ours.h5")) as file:
        assert file.attributes["format"] == "filterdb"
