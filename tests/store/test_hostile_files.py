"""Data set files that somebody made to do harm, or that another tool has changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from store_cases import field_of, small_case

from filterdb.errors import CorruptDataError, NotADatasetError, StoreError, UnsafeFileError
from filterdb.store import DatasetFile

SMALL = small_case()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return SMALL.write(tmp_path / "dataset.h5")


def refusal(path: Path) -> StoreError:
    """The error that opening the file and reading its tables gives, as a message that is complete."""
    with pytest.raises(StoreError) as caught, DatasetFile(path) as file:
        assert file.tables is not None
    error = caught.value
    assert error.where is not None
    assert str(path) in error.where
    return error


def replace_filter(path: Path, **options: object) -> None:
    """Write /filter and its other name anew, with other properties."""
    given = {"shape": (45, 9), "dtype": "<f4", "chunks": (45, 9), **options}
    with h5py.File(path, "r+") as file:
        del file["filters"], file["filter"]
        file["filters"] = file.create_dataset("filter", **given)


def test_an_external_link_is_refused(path: Path, tmp_path: Path) -> None:
    SMALL.write(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        del file["filters"]
        file["filters"] = h5py.ExternalLink("other.h5", "/filter")
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert error.what == "/filters is an external link"
    assert error.expected == "objects of this file only"


@pytest.mark.parametrize("place", ["filters", "meta/table", "more"])
def test_a_soft_link_is_refused_wherever_it_is(place: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        if place in file:
            del file[place]
        file[place] = h5py.SoftLink("/filter")
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert f"/{place} is a soft link" in error.what


def test_a_user_defined_link_of_an_unknown_kind_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["dangling"] = h5py.ExternalLink("/etc/passwd", "/")
    assert isinstance(refusal(path), UnsafeFileError)


def test_external_storage_is_refused_and_the_file_it_names_not_read(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(45 * 36))
    with h5py.File(path, "r+") as file:
        del file["filters"], file["filter"]
        made = file.create_dataset("filter", (45, 9), "<f4", external=[(str(secret), 0, 45 * 36)])
        file["filters"] = made
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert "another file" in error.what


def test_a_virtual_data_set_is_refused(path: Path, tmp_path: Path) -> None:
    SMALL.write(tmp_path / "other.h5")
    layout = h5py.VirtualLayout((45, 9), "<f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "filter", (45, 9))
    with h5py.File(path, "r+") as file:
        del file["filters"], file["filter"]
        file["filters"] = file.create_virtual_dataset("filter", layout)
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert "virtual" in error.what


@pytest.mark.parametrize(
    ("options", "code"),
    [({"compression": "lzf"}, 32_000), ({"scaleoffset": 2}, 6), ({"fletcher32": True}, 3)],
)
def test_an_hdf5_filter_other_than_gzip_and_shuffle_is_refused(
    options: dict[str, object], code: int, path: Path
) -> None:
    replace_filter(path, **options)
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert f"HDF5 filter {code}" in error.what
    assert error.expected == "none, or gzip with shuffle"


def test_a_filter_that_hdf5_would_have_to_load_is_refused_by_number(path: Path) -> None:
    # A file cannot be made with a filter that is not there: rename the one in a gzip file.
    SMALL.write(path, compression="gzip")
    content = bytearray(path.read_bytes())
    message = content.rindex(b"shuffle\0")
    content[message - 8 : message - 6] = (32_004).to_bytes(2, "little")
    path.write_bytes(content)
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert "HDF5 filter 32004" in error.what


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "<f8"},
        {"dtype": ">f4"},
        {"dtype": "<i4"},
        {"dtype": h5py.string_dtype()},
        {"dtype": h5py.vlen_dtype(np.float32)},
        {"shape": (45, 8), "chunks": (45, 8)},
        {"shape": (44, 9), "chunks": (44, 9)},
        {"shape": (45, 3, 3), "chunks": (45, 3, 3)},
        {"shape": (405,), "chunks": (405,)},
        {"chunks": (9, 9)},
        {"chunks": (45, 3)},
        {"chunks": None},
    ],
    ids=str,
)
def test_filters_of_another_type_shape_or_layout_are_refused(options: dict[str, object], path: Path) -> None:
    replace_filter(path, **options)
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert "/filter" in error.what
    assert error.expected


def test_a_file_without_filters_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["filter"]
    assert "no /filter" in refusal(path).what


@pytest.mark.parametrize("copy", [False, True])
def test_the_other_name_of_the_filters_must_be_the_same_object(copy: bool, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["filters"]
        if copy:
            file["filters"] = file["filter"][:]
    assert "/filters is not /filter" in refusal(path).what


def test_filters_that_take_no_space_are_refused_before_memory_is_taken(path: Path) -> None:
    rows = 1 << 33
    with h5py.File(path, "r+") as file:
        del file["filters"], file["filter"]
        file["filters"] = file.create_dataset("filter", (rows, 9), "<f4", chunks=(65_536, 9))
        file.attrs["n_filters"] = rows
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert "declares 309,237,645,312 bytes and holds 0" in error.what


@pytest.mark.parametrize("name", ["meta", "models", "skipped"])
@pytest.mark.parametrize("rows", [10**6, 10**12])
def test_a_table_of_many_rows_over_few_bytes_is_refused_before_memory_is_taken(
    rows: int, name: str, path: Path
) -> None:
    with h5py.File(path, "r+") as file:
        file[f"{name}/table"].resize((rows,))
    code = """
import resource, sys
from filterdb.errors import CorruptDataError
from filterdb.store import DatasetFile
resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))
try:
    DatasetFile(sys.argv[1]).tables
except CorruptDataError as error:
    print(error.what)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "declares" in done.stdout


def test_a_huge_chunk_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        rows = file["models/table"][:]
        attributes = dict(file["models/table"].attrs)
        del file["models/table"]
        made = file["models"].create_dataset(
            "table", data=rows, chunks=(1_000_000,), maxshape=(None,), compression="gzip"
        )
        made.attrs.update({k: v for k, v in attributes.items() if not isinstance(v, h5py.Empty)})
    assert "a chunk of /models/table takes" in refusal(path).what


def rewrite_table(path: Path, change: Callable[[np.ndarray], np.ndarray], name: str = "meta") -> None:
    with h5py.File(path, "r+") as file:
        rows = change(file[f"{name}/table"][:])
        attributes = dict(file[f"{name}/table"].attrs)
        del file[f"{name}/table"]
        made = file[name].create_dataset(
            "table", data=rows, chunks=(5,), maxshape=(None,), compression="gzip"
        )
        made.attrs.update({k: v for k, v in attributes.items() if not isinstance(v, h5py.Empty)})


@pytest.mark.parametrize("kind", [h5py.string_dtype(), h5py.vlen_dtype("i4"), h5py.ref_dtype, "<f2", "<c16"])
def test_a_field_of_objects_or_of_an_odd_type_is_refused(kind: object, path: Path) -> None:
    def change(rows: np.ndarray) -> np.ndarray:
        fields = [(n, kind if n == "values_block_2" else rows.dtype[n]) for n in rows.dtype.names]
        return np.empty(0, np.dtype(fields))

    rewrite_table(path, change)
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert "field 'values_block_2'" in error.what


def test_a_table_that_is_no_record_array_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["meta/table"]
        file["meta"]["table"] = np.arange(5)
    assert "no table of records" in refusal(path).what


@pytest.mark.parametrize("name", ["meta", "models", "meta/table"])
def test_a_missing_table_is_named(name: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
    error = refusal(path)
    assert isinstance(error, NotADatasetError)
    assert f"no table /{name.split('/')[0]}" in error.what


@pytest.mark.parametrize(
    ("start", "end", "what"),
    [
        ([0, 11, 20, 32, 40], [12, 20, 32, 40, 45], "row 1"),
        ([0, 13, 20, 32, 40], [12, 20, 32, 40, 45], "row 1"),
        ([1, 12, 20, 32, 40], [12, 20, 32, 40, 45], "row 0"),
        ([0, 12, 20, 32, 40], [12, 20, 32, 40, 46], "end at filter 46"),
        ([0, 12, 20, 32, 40], [12, 20, 32, 40, 44], "end at filter 44"),
        ([-12, 0, 20, 32, 40], [0, 20, 32, 40, 45], "row 0"),
        ([0, 12, 12, 32, 40], [12, 12, 32, 40, 45], "row 1"),
        ([0, 12, 20, 9, 40], [12, 20, 9, 40, 45], "row 2"),
    ],
    ids=["overlap", "gap", "late", "past the end", "short", "negative", "empty", "backwards"],
)
def test_ranges_that_do_not_cover_the_filters_are_refused(
    start: list[int], end: list[int], what: str, path: Path
) -> None:
    with h5py.File(path) as file:
        places = {name: field_of(file["meta/table"], name) for name in ("filter_start", "filter_end")}

    def change(rows: np.ndarray) -> np.ndarray:
        for name, values in (("filter_start", start), ("filter_end", end)):
            block, place = places[name]
            rows[block][:, place] = values
        return rows

    rewrite_table(path, change)
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert what in error.what
    assert error.expected


class Bomb:
    """Pickles to a program that leaves a mark when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


NODES = ["/", "/meta", "/meta/table", "/models", "/models/table", "/filter"]


GOOD = Path(__file__).parent.parent / "data" / "dataset-v1.h5"


def attributes_of(node: str) -> list[str]:
    names = ["a_new_one"]
    with h5py.File(GOOD) as file:
        return names + [name for name in file[node].attrs if not name.startswith("FIELD_")]


@pytest.mark.parametrize(("node", "name"), [(node, name) for node in NODES for name in attributes_of(node)])
def test_a_hostile_pickle_in_any_attribute_is_never_run(node: str, name: str, tmp_path: Path) -> None:
    import pickle  # noqa: TID251 - to make what the reader must not run

    path, marker = tmp_path / "hostile.h5", tmp_path / "marker"
    path.write_bytes(GOOD.read_bytes())
    with h5py.File(path, "r+") as file:
        file[node].attrs[name] = np.bytes_(pickle.dumps(Bomb(marker), protocol=0))
    try:
        with DatasetFile(path) as opened:
            assert opened.tables is not None
    except StoreError:
        pass
    assert not marker.exists()


def test_the_hostile_pickle_of_these_tests_does_run_where_nobody_refuses_it(tmp_path: Path) -> None:
    import pickle  # noqa: TID251 - the control of the test above

    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker"), protocol=0))
    assert (tmp_path / "marker").exists()


def test_a_hostile_pickle_where_pandas_would_look_is_named(path: Path, tmp_path: Path) -> None:
    import pickle  # noqa: TID251 - to make what the reader must not run

    with h5py.File(path, "r+") as file:
        file["meta"].attrs["levels"] = np.bytes_(pickle.dumps(Bomb(tmp_path / "marker"), protocol=0))
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert "exec" in error.what
    assert error.hint is not None
    assert "pandas" in error.hint


@pytest.mark.parametrize("version", [0, 2, np.bytes_("1"), -1])
def test_another_format_version_is_refused(version: object, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = version
    error = refusal(path)
    assert isinstance(error, NotADatasetError)
    assert error.expected == "format version 1"


def test_text_of_variable_length_is_refused_because_its_heap_may_go_in_circles(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["kernel"] = "3x3"
    error = refusal(path)
    assert isinstance(error, CorruptDataError)
    assert error.expected == "text of fixed length"


@pytest.mark.parametrize("name", ["format", "format_version", "kernel", "n_filters", "content_hash"])
def test_a_missing_root_attribute_is_refused(name: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
    assert isinstance(refusal(path), NotADatasetError | CorruptDataError)


@pytest.mark.parametrize(
    "name", ["format", "format_version", "kernel", "n_filters", "n_records", "content_hash"]
)
@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3),
        1.5,
        True,
        np.array(["a", "b"], dtype="S1"),
        h5py.Empty("f"),
        -1,
        b"\xff\xfe",
        "x" * 70,
        10**18,
    ],
    ids=str,
)
def test_a_root_attribute_of_another_type_is_refused(name: str, value: object, path: Path) -> None:
    if name == "content_hash" and isinstance(value, str) and len(value) == 64:
        pytest.skip("a text, which verify compares")
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    if name == "n_records" and isinstance(value, int) and value > 0:
        pytest.skip("a count, which verify compares")
    assert isinstance(refusal(path), NotADatasetError | CorruptDataError)


@pytest.mark.parametrize("kernel", ["3", "0x3", "3x3x3", "5x5", "99999x99999", "", "x"])
def test_a_kernel_that_does_not_fit_the_filters_is_refused(kernel: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["kernel"] = kernel
    assert isinstance(refusal(path), CorruptDataError)


def test_a_circle_of_groups_is_walked_once(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        inner = file.create_group("a/b/c")
        inner["up"] = file["a"]
        inner["root"] = file["/"]
    with DatasetFile(path) as opened:
        assert len(opened.tables.meta) == 5


@pytest.mark.timeout(60)
@pytest.mark.parametrize("deep", [False, True])
def test_tens_of_thousands_of_objects_are_refused(deep: bool, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        group = file.create_group("many")
        for number in range(1_500 if deep else 30_000):
            made = group.create_group(f"g{number}")
            group = made if deep else group
    error = refusal(path)
    assert isinstance(error, UnsafeFileError)
    assert "objects" in error.what


def test_objects_that_the_format_does_not_know_are_left_alone(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["notes/of/mine"] = np.arange(10)
        file["notes/type"] = np.dtype("f8")
        file.attrs["mine"] = [1, 2, 3]
    with DatasetFile(path) as opened:
        assert len(opened.tables.meta) == 5
