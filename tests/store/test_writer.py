from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tables as pytables
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import Case, layer, long_case, metadata_of, record, small_case, weights

from filterdb import schema
from filterdb.errors import CorruptDataError, UsageError
from filterdb.store import DatasetFile, ZooEntry, build_tables, verify, write_dataset
from filterdb.types import Kernel

HERE = Path(__file__).parent

READ_WITH_PANDAS_ALONE = """
import json, sys, warnings
warnings.simplefilter("error")
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event == "pickle.find_class" else None)
import pandas as pd
frames = {name: pd.read_hdf(sys.argv[1], name) for name in ("meta", "models", "skipped")}
assert "filterdb" not in sys.modules
assert not seen, seen
print(json.dumps({name: [len(frame), list(frame.columns)] for name, frame in frames.items()}))
"""


@pytest.fixture(scope="module")
def case() -> Case:
    return small_case()


@pytest.fixture(scope="module")
def path(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.write(tmp_path_factory.mktemp("small") / "dataset.h5")


def python(code: str, *arguments: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(HERE), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pandas_alone_reads_every_table_without_a_warning_and_without_looking_up_a_class(
    path: Path, case: Case
) -> None:
    import json

    shapes = json.loads(python(READ_WITH_PANDAS_ALONE, path))
    for name, frame in case.tables.by_name().items():
        assert shapes[name] == [len(frame), list(frame.columns)]


def test_pandas_finds_the_frame_that_was_written_but_for_all_missing_text(path: Path, case: Case) -> None:
    for name, frame in case.tables.by_name().items():
        theirs = pd.read_hdf(path, name)
        missing = [column for column in frame.columns if frame[column].isna().all()]
        assert all(theirs[column].dtype == object for column in missing)
        theirs[missing] = theirs[missing].astype("str")
        pd.testing.assert_frame_equal(theirs, frame)


def test_the_library_finds_exactly_the_frame_that_was_written(path: Path, case: Case) -> None:
    with DatasetFile(path) as file:
        for name, frame in case.tables.by_name().items():
            pd.testing.assert_frame_equal(file.tables.by_name()[name], frame, check_index_type=True)


def test_the_index_of_meta_is_named_unique_and_in_order(path: Path) -> None:
    index = pd.read_hdf(path, "meta").index
    assert index.names == ["model_id", "conv_depth", "conv_depth_norm", "layer_id"]
    assert index.is_unique
    assert index.tolist() == [(0, 0, 0, 0), (0, 2, 1, 1), (2, 0, 0, 0), (2, 2, 1, 1), (4, 0, 0, 0)]
    assert [str(dtype) for dtype in index.dtypes] == ["int64", "int64", "float64", "int64"]


def test_the_columns_have_the_names_types_and_order_of_the_schema(path: Path) -> None:
    meta = pd.read_hdf(path, "meta")
    counts = ["(1, 1) filters", "(3, 3) filters", "Conv", "Relu"]
    assert list(meta.columns) == [
        *schema.LEADING,
        *schema.METADATA,
        *("Stars", "Year", "Open"),
        *schema.TOTALS,
        *counts,
        *schema.RECORD,
    ]
    for column, dtype in {**schema.LEADING, **schema.TOTALS, **schema.RECORD}.items():
        assert meta[column].dtype == dtype, column
    assert all(meta[column].dtype == "int64" for column in counts)


def test_filter_ids_are_the_inclusive_range_of_the_published_files(path: Path) -> None:
    meta = pd.read_hdf(path, "meta")
    assert meta["filter_ids"].tolist() == ["0:11", "12:19", "20:31", "32:39", "40:44"]
    assert meta["filter_start"].tolist() == [0, 12, 20, 32, 40]
    assert meta["filter_end"].tolist() == [12, 20, 32, 40, 45]


def test_plain_h5py_opens_the_filters(path: Path, case: Case) -> None:
    with h5py.File(path) as file:
        filters = file["filter"]
        assert (filters.dtype, filters.shape, filters.chunks) == (np.float32, (45, 9), (45, 9))
        assert filters.compression is None
        assert np.array_equal(filters[:], case.filters, equal_nan=True)
        assert file["filters"] == filters
        assert isinstance(file.get("filters", getlink=True), h5py.HardLink)


def test_pytables_opens_the_filters_under_both_names(path: Path, case: Case) -> None:
    with pytables.open_file(str(path)) as file:
        for name in ("/filter", "/filters"):
            assert np.array_equal(file.get_node(name).read(), case.filters, equal_nan=True)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_chunks_hold_whole_filters_however_many_there_are(compression: str | None, tmp_path: Path) -> None:
    path = long_case(70_001).write(tmp_path / "long.h5", compression=compression)
    with h5py.File(path) as file:
        filters = file["filter"]
        assert filters.chunks == (65_536, 9)
        assert (filters.compression, filters.shuffle) == (compression, compression is not None)
    assert verify(path) == []


@pytest.mark.parametrize(("kernel", "rows"), [("5x5", 65_536), ("1x7", 65_536), ("32x32", 16_384)])
def test_chunks_of_large_kernels_stay_within_64_mebibytes(kernel: str, rows: int) -> None:
    size = Kernel.parse(kernel).size
    assert schema.chunk_rows(10**9, size) == rows
    assert schema.chunk_rows(10**9, size) * size * 4 <= 1 << 26


def test_a_huge_kernel_can_be_written_and_read(tmp_path: Path) -> None:
    filters = weights(3, 1, seed=0, size=1024 * 1024)
    entries = [ZooEntry("m", "m.onnx", record("m", [layer("l", filters, 3)]))]
    case = Case(build_tables(entries, metadata_of(entries)), filters, Kernel(1024, 1024))
    path = case.write(tmp_path / "huge.h5")
    assert verify(path) == []
    with DatasetFile(path) as file:
        assert np.array_equal(np.concatenate([block.copy() for block in file.blocks()]), filters)


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 70_001), max_size=8).map(sorted))
def test_blocks_of_any_height_give_the_same_file(
    cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    case = LONG
    folder = tmp_path_factory.mktemp("cuts")
    path = folder / "a.h5"
    edges = [0, *cuts, len(case.filters)]
    blocks = [case.filters[a:b] for a, b in itertools.pairwise(edges)]
    write_dataset(path, case.tables, blocks, kernel=case.kernel, attributes={"extractor_version": 1})
    assert path.read_bytes() == LONG_BYTES
    path.unlink()


LONG = long_case(70_001)


def _bytes_of(case: Case) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return case.write(Path(folder) / "long.h5").read_bytes()


LONG_BYTES = _bytes_of(LONG)


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_same_content_gives_the_same_bytes_in_another_process_and_folder(
    seed: str, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "a folder" / "another name.h5"
    other.parent.mkdir()
    code = "import sys, store_cases; store_cases.small_case().write(store_cases.Path(sys.argv[1]))"
    python(code, other, PYTHONHASHSEED=seed, TZ="Asia/Tokyo")
    assert other.read_bytes() == path.read_bytes()


def test_no_clock_place_or_machine_is_inside(path: Path) -> None:
    content = path.read_bytes()
    assert str(path.parent).encode() not in content
    assert os.uname().nodename.encode() not in content
    with h5py.File(path) as file:
        stamps: list[int] = []
        file.visititems(lambda _, node: stamps.append(h5py.h5o.get_info(node.id).mtime))
    assert set(stamps) == {0}


def test_the_root_attributes_are_those_of_the_specification(path: Path) -> None:
    with h5py.File(path) as file:
        values = dict(file.attrs)
    for name in {**schema.ATTRIBUTES, **schema.OPTIONAL_ATTRIBUTES}:
        assert name in values
    assert (values["format"], values["format_version"], values["kernel"]) == (b"filterdb", 1, b"3x3")
    assert (values["n_filters"], values["n_records"], values["n_models"]) == (45, 5, 5)


def test_an_attribute_that_the_format_does_not_have_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="written_at"):
        case.write(tmp_path / "a.h5", attributes={"written_at": 1})


@pytest.mark.parametrize("difference", [-1, 1])
def test_another_number_of_filters_than_the_tables_speak_of_is_refused(
    difference: int, case: Case, tmp_path: Path
) -> None:
    filters = np.concatenate([case.filters, case.filters])[: 45 + difference]
    with pytest.raises(CorruptDataError, match="filters were given"):
        write_dataset(tmp_path / "a.h5", case.tables, [filters], kernel=case.kernel)


def test_filters_of_another_width_are_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(CorruptDataError, match=r"shape \(45, 25\)"):
        write_dataset(tmp_path / "a.h5", case.tables, [np.zeros((45, 25), "f4")], kernel=case.kernel)


def test_a_data_set_without_filters_is_refused_rather_than_written_without_tables(tmp_path: Path) -> None:
    entries = [ZooEntry("empty", "empty.onnx", record("empty"))]
    empty = build_tables(entries, metadata_of(entries))
    with pytest.raises(UsageError, match="no filter"):
        write_dataset(tmp_path / "a.h5", empty, [], kernel=Kernel(3, 3))
    assert not (tmp_path / "a.h5").exists()


def test_a_zoo_without_skipped_layers_has_no_table_of_them(tmp_path: Path) -> None:
    path = LONG.write(tmp_path / "a.h5")
    with h5py.File(path) as file:
        assert "skipped" not in file
    with DatasetFile(path) as opened:
        assert list(opened.tables.skipped.columns) == list(schema.SKIPPED)
        assert len(opened.tables.skipped) == 0


@pytest.mark.parametrize("after", [0, 1])
def test_a_writer_that_dies_half_way_leaves_a_file_that_does_not_open(after: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = f"""
import os, sys, store_cases
from filterdb.store import write_dataset
case = store_cases.long_case(140_000)
def blocks():
    yield from [case.filters[:70_000]] * {after}
    os._exit(9)
write_dataset(sys.argv[1], case.tables, blocks(), kernel=case.kernel)
"""
    code = code.replace("sys.argv[1]", "store_cases.Path(sys.argv[1])")
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, timeout=120)
    assert done.returncode == 9
    from filterdb.errors import StoreError

    with pytest.raises(StoreError):
        DatasetFile(path)
