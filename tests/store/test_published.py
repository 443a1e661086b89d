"""Published files, opened as they are: every layout gives the same records and the same filters."""

from __future__ import annotations

import gzip
import os
import pickle  # noqa: TID251 - a worker gets its file so
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_fixtures import INDEX, Published, published, write_meta

from filterdb import schema
from filterdb.errors import CorruptDataError, NotADatasetError, StoreError, UnsafeFileError
from filterdb.store import DatasetFile, PublishedFile, Tables, open_dataset, verify
from filterdb.types import Kernel, RowRange

ZOO = published()
SMALL = published(40, models=8)
DATA = Path(__file__).parent.parent / "data"
WRITERS: dict[str, Callable[[Published, Path], Path]] = {
    "v1 fixed": lambda zoo, path: zoo.v1(path),
    "v1 fixed, three levels": lambda zoo, path: zoo.v1(path, levels=3),
    "v1 fixed, zlib": lambda zoo, path: zoo.v1(path, complevel=5, complib="zlib"),
    "v1 table": lambda zoo, path: zoo.v1(path, layout="table"),
    "v1 table, no index": lambda zoo, path: zoo.v1(path, layout="table", index=False),
    "v0 table": lambda zoo, path: zoo.v0(path),
    "v0 table, /filters": lambda zoo, path: zoo.v0(path, name="filters"),
    "v0 fixed": lambda zoo, path: zoo.v0(path, layout="fixed"),
}


@pytest.fixture(scope="module", params=WRITERS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS[request.param](ZOO, tmp_path_factory.mktemp("published") / "dataset.h5")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return SMALL.v1(tmp_path / "dataset.h5")


def tables_of(path: Path) -> Tables:
    with open_dataset(path) as file:
        assert isinstance(file, PublishedFile)
        return file.tables


def refusal(path: Path) -> StoreError:
    with pytest.raises(StoreError) as caught:
        tables_of(path)
    assert str(path) in str(caught.value.where)
    assert caught.value.expected
    return caught.value


def test_every_record_is_there_with_its_rows_and_its_place(path: Path) -> None:
    meta = tables_of(path).meta
    assert tuple(meta.index.names) == INDEX
    assert meta.index.is_unique
    for name in INDEX:
        assert np.array_equal(meta.index.get_level_values(name), ZOO.frame[name])
    assert meta["filter_ids"].tolist() == ZOO.frame["filter_ids"].tolist()
    published = [
        RowRange(a, b).published for a, b in zip(meta["filter_start"], meta["filter_end"], strict=True)
    ]
    assert published == ZOO.frame["filter_ids"].tolist()
    assert meta["model"].tolist() == ZOO.frame["model"].tolist()


def assert_equals_what_pandas_reads(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pd.read_hdf(path, "meta").reset_index()
    ours = tables_of(path).meta.reset_index()
    for name in theirs.columns:
        kept = theirs[name]
        missing = kept.isna().to_numpy()
        if schema.is_kernel_column(name) or schema.is_operator_column(name):
            kept, missing = kept.fillna(0), np.zeros(len(kept), bool)
        assert np.array_equal(ours[name].isna(), missing), name
        texts = ours[name].dtype == "str"
        there, here = kept[~missing], ours[name][~missing]
        assert here.tolist() == ([str(cell) for cell in there] if texts else there.tolist()), name


def test_what_pandas_itself_reads_is_what_comes_out(path: Path) -> None:
    assert_equals_what_pandas_reads(path)


@pytest.mark.parametrize("name", ["fixed", "table"])
def test_files_that_an_older_pandas_wrote_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    path.write_bytes(gzip.decompress((DATA / f"published-{name}-pandas-1.5.3.h5.gz").read_bytes()))
    assert_equals_what_pandas_reads(path)
    meta = tables_of(path).meta
    # The table layout of that time has one text for a missing one and for "nan".
    assert meta["Paper"].isna().sum() == (30 if name == "table" else 15)
    assert meta["Visual Category"].unique().tolist() == ["formula", "natural"]
    assert verify(path) == []


def rename_attributes_to_python_2(path: Path) -> None:
    """Put the names of columns and levels where pandas put them there: pickled."""
    import tables as pytables

    with pytables.open_file(path, "a") as file:
        for node in ("axis0", *(f"block{block}_items" for block in range(3))):
            names = np.array([name.decode() for name in file.get_node(f"/meta/{node}")[:]], object)
            file.remove_node(f"/meta/{node}")
            file.create_vlarray("/meta", node, pytables.ObjectAtom()).append(names)
            file.get_node(f"/meta/{node}")._v_attrs.kind = "object"
    with h5py.File(path, "r+") as raw:
        for level, name in enumerate(INDEX):
            raw[f"meta/axis1_level{level}"].attrs["name"] = np.bytes_(f"V{name}\np0\n.")


def test_names_that_python_2_pickled_are_read(small: Path) -> None:
    before = tables_of(small).meta
    rename_attributes_to_python_2(small)
    assert tables_of(small).meta.equals(before)


def test_the_vocabulary_is_ours(path: Path) -> None:
    tables = tables_of(path)
    columns = {**schema.LEADING, **schema.TOTALS, **schema.RECORD, **dict.fromkeys(schema.METADATA, "str")}
    unknown = set(schema.RECORD) - {"filter_start", "filter_end", "layer_name"}
    for name, dtype in columns.items():
        column = tables.meta[name]
        if name in unknown:
            assert column.isna().all(), name
            assert column.dtype == ("str" if dtype == "str" else "float64"), name
        else:
            assert column.dtype == dtype, name
    assert tables.meta["layer_name"].iloc[:3].tolist() == ["layer_0", "layer_1", "layer_2"]
    assert tables.meta["Datatype"].equals(tables.meta["Visual Category"].rename("Datatype"))
    assert list(tables.skipped.columns) == list(schema.SKIPPED)
    assert len(tables.skipped) == 0


def test_the_kind_of_images_has_the_words_of_its_version(tmp_path: Path) -> None:
    newer, older = tables_of(SMALL.v1(tmp_path / "v1.h5")), tables_of(SMALL.v0(tmp_path / "v0.h5"))
    assert newer.meta["Visual Category"].tolist() == SMALL.frame["Visual Category"].tolist()
    renamed = SMALL.frame["Visual Category"].replace({"fractals": "formula"})
    assert older.meta["Visual Category"].tolist() == renamed.tolist()


def test_counts_are_integers_and_a_missing_count_is_none(path: Path) -> None:
    meta = tables_of(path).meta
    for name in ("(3, 3) filters", "(7, 1) filters", "Conv", "Not"):
        assert meta[name].dtype == "int64"
        assert meta[name].tolist() == ZOO.frame[name].fillna(0).astype(int).tolist()


def test_the_models_are_summed_up(path: Path) -> None:
    models = tables_of(path).models
    assert models.index.name == "model_id"
    assert set(models["status"]) == {"ok"}
    assert int(models["n_filters"].sum()) == len(ZOO.filters)
    assert int(models["n_records"].sum()) == len(ZOO.frame)
    assert models["name"].tolist() == ZOO.frame["model"].drop_duplicates().tolist()
    assert models["n_skipped"].isna().all()
    assert list(models.columns) == [*schema.MODELS, *schema.METADATA]


@settings(max_examples=15)
@given(start=st.integers(0, len(ZOO.filters) - 1), length=st.integers(1, len(ZOO.filters)))
def test_any_rows_are_float32_whatever_they_are_in_the_file(path: Path, start: int, length: int) -> None:
    rows = RowRange(start, min(start + length, len(ZOO.filters)))
    with open_dataset(path) as file:
        assert file.kernel == Kernel(3, 3)
        assert np.array_equal(file.read(rows), ZOO.filters[rows.slice])
        buffer = np.full((len(rows) + 3, 9), 7, np.float32)
        assert np.shares_memory(file.read(rows, buffer), buffer)
        assert (buffer[len(rows) :] == 7).all()
        with pytest.raises(CorruptDataError, match="no filter"):
            file.read(RowRange(start, len(ZOO.filters) + 1))


def test_many_rows_are_converted_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterdb.store.published.file._BLOCK_ROWS", 1_000)
    monkeypatch.setattr("filterdb.store.published.file._scratch", type("Held", (), {})())
    with open_dataset(ZOO.v1(tmp_path / "v1.h5")) as file:
        assert np.array_equal(np.concatenate([block.copy() for block in file.blocks()]), ZOO.filters)


def test_values_beyond_float32_become_infinite_without_a_warning(small: Path) -> None:
    with h5py.File(small, "r+") as file:
        file["filters"][0, 0, 0], file["filters"][1, 2, 2] = 1e300, np.nan
    with open_dataset(small) as file:
        rows = file.read(RowRange(0, 2))
    assert rows[0, 0] == np.inf
    assert np.isnan(rows[1, 8])
    assert verify(small) == [f"filters 0:{len(SMALL.filters) - 1}: 2 values are NaN or infinite"]


def replace_filters(path: Path, name: str = "filters", **options: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file["filters"]
        file.create_dataset(name, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": True},
        {"chunks": (7, 2, 3), "compression": "gzip"},
        {"compression": "gzip", "shuffle": True},
    ],
)
def test_chunks_of_any_shape_are_read(options: dict[str, Any], small: Path) -> None:
    replace_filters(small, data=SMALL.filters.reshape(-1, 3, 3).astype(np.float64), **options)
    with open_dataset(small) as file:
        assert np.array_equal(file.read(RowRange(3, 77)), SMALL.filters[3:77])


@pytest.mark.parametrize("link", [h5py.SoftLink("/filters"), "hard"])
def test_the_filters_may_be_linked_under_their_other_name(link: object, small: Path) -> None:
    with h5py.File(small, "r+") as file:
        file["filter"] = file["filters"] if link == "hard" else link
    with open_dataset(small) as file:
        assert np.array_equal(file.read(RowRange(0, 9)), SMALL.filters[:9])


def test_records_in_another_order_are_put_into_that_of_the_filters(tmp_path: Path) -> None:
    shuffled = SMALL.frame.sample(frac=1, random_state=1)
    meta = tables_of(Published(SMALL.layers, shuffled, SMALL.filters).v1(tmp_path / "a.h5")).meta
    assert meta["filter_ids"].tolist() == SMALL.frame["filter_ids"].tolist()
    assert meta["Task"].tolist() == SMALL.frame["Task"].tolist()


def test_layers_without_a_usable_number_are_counted(tmp_path: Path) -> None:
    frame = SMALL.frame.assign(layer_id=0, conv_depth=1, conv_depth_norm=np.nan)
    meta = tables_of(Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5")).meta
    assert meta.index.is_unique
    assert meta.index.get_level_values("layer_id").tolist() == SMALL.frame["layer_id"].tolist()
    assert meta.index.get_level_values("conv_depth_norm").isna().all()


def test_a_plain_index_beside_columns_of_these_names_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["filters"] = SMALL.filters
    for layout in ("fixed", "table"):
        meta = tables_of(write_meta(path, SMALL.frame, layout)).meta
        assert meta["filter_ids"].tolist() == SMALL.frame["filter_ids"].tolist()


def ids(rows: dict[int, str]) -> list[str]:
    cells = SMALL.frame["filter_ids"].tolist()
    for row, cell in rows.items():
        cells[row] = cell
    return cells


FIRST = SMALL.frame["filter_ids"].iloc[0]
LAST = SMALL.frame["filter_ids"].iloc[-1]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ({1: FIRST}, "overlaps"),
        ({0: f"1:{FIRST.split(':')[1]}"}, "leaves a gap"),
        ({39: f"{LAST.split(':')[0]}:99999"}, "runs past the last filter"),
        ({39: f"{LAST.split(':')[0]}:{LAST.split(':')[0]}"}, "leaves filters over"),
        ({3: "7:3"}, "ends before it begins"),
        ({3: "7-9"}, "has no range of filters"),
        ({3: "-1:9"}, "has no range of filters"),
        ({3: "99999999999999999999:99999999999999999999"}, "has no range of filters"),
        ({3: ""}, "has no range of filters"),
    ],
)
@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_ranges_that_do_not_cover_the_filters_are_refused(
    rows: dict[int, str], what: str, layout: str, tmp_path: Path
) -> None:
    frame = SMALL.frame.assign(filter_ids=pd.Series(ids(rows), dtype=object))
    error = refusal(Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5", layout=layout))
    assert isinstance(error, CorruptDataError)
    assert what in error.what
    assert "net0" in error.what


@pytest.mark.parametrize("name", ["filter_ids", "model"])
def test_a_missing_column_is_named(name: str, tmp_path: Path) -> None:
    zoo = Published(SMALL.layers, SMALL.frame.drop(columns=name), SMALL.filters)
    assert f"no column or index level {name!r}" in refusal(zoo.v1(tmp_path / "a.h5")).what


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_a_depth_that_is_no_count_is_refused(value: float, tmp_path: Path) -> None:
    frame = SMALL.frame.astype({"conv_depth": float})
    frame.loc[3, "conv_depth"] = value
    error = refusal(Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5"))
    assert "conv_depth" in error.what


@pytest.mark.parametrize("cell", [[1], {"a": 1}, pd.Timestamp("2020-01-01")], ids=str)
def test_a_cell_that_is_neither_text_nor_number_is_refused(cell: object, tmp_path: Path) -> None:
    frame = SMALL.frame.assign(Task=pd.Series([cell, *["x"] * 39], dtype=object))
    error = refusal(Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5"))
    assert isinstance(error, CorruptDataError | UnsafeFileError)


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_a_column_of_dates_is_refused_by_name(layout: str, tmp_path: Path) -> None:
    frame = SMALL.frame.assign(When=pd.Timestamp("2020-01-01"))
    error = refusal(Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5", layout=layout))
    assert "datetime" in error.what


def test_a_column_of_categories_is_refused_rather_than_read_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["filters"] = SMALL.filters
    frame = SMALL.indexed().astype({"Task": "category"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame.drop(columns=["Accessible"]).to_hdf(path, key="meta", mode="a", format="table")
    assert "category" in refusal(path).what


def test_meta_of_csv_text_is_refused_by_name(small: Path) -> None:
    with h5py.File(small, "r+") as file:
        del file["meta"]
        file["meta"] = np.frombuffer(b"filter_ids,model\n0:63,a\n", np.uint8)
    error = refusal(small)
    assert isinstance(error, NotADatasetError)
    assert "CSV text" in error.what
    assert "early version" in error.what
    assert error.hint


def test_a_compressed_download_is_refused_with_the_command_that_unpacks_it(tmp_path: Path) -> None:
    import lzma

    path = tmp_path / "dataset.h5.xz"
    path.write_bytes(lzma.compress(b"content"))
    with pytest.raises(NotADatasetError, match=r"xz --decompress --keep dataset\.h5\.xz"):
        open_dataset(path)


@pytest.mark.parametrize(
    "options",
    [
        {"data": np.zeros((5, 9), np.float16)},
        {"data": np.zeros((5, 9), ">f8")},
        {"data": np.zeros((5, 9), np.int32)},
        {"data": np.zeros((5, 8), np.float32)},
        {"data": np.zeros(45, np.float32)},
        {"data": np.zeros((0, 3, 3))},
        {"shape": (1 << 40, 3, 3), "dtype": "<f8", "chunks": (1000, 3, 3)},
        {"shape": (1 << 40, 3, 3), "dtype": "<f8"},
    ],
    ids=str,
)
def test_filters_of_another_type_or_shape_are_refused(options: dict[str, Any], small: Path) -> None:
    replace_filters(small, **options)
    assert isinstance(refusal(small), CorruptDataError)


def test_two_arrays_under_the_two_names_are_refused(small: Path) -> None:
    with h5py.File(small, "r+") as file:
        file["filter"] = SMALL.filters
    assert "two objects" in refusal(small).what


@pytest.mark.parametrize("missing", ["meta", "meta/axis0", "meta/block0_values", "meta/axis1_label0"])
def test_a_missing_part_of_the_table_is_named(missing: str, small: Path) -> None:
    with h5py.File(small, "r+") as file:
        del file[missing]
    assert missing.removeprefix("meta/") in refusal(small).what or missing == "meta/axis0"


def test_our_own_files_are_opened_as_such(tmp_path: Path) -> None:
    with open_dataset(SMALL.ours(tmp_path / "ours.h5")) as file:
        assert type(file) is DatasetFile
    with h5py.File(tmp_path / "ours.h5", "r+") as raw:
        raw.attrs.clear()
    with pytest.raises(NotADatasetError, match="not one of filterdb's"):
        open_dataset(tmp_path / "ours.h5")


def test_an_open_file_goes_to_a_worker_by_its_path(small: Path) -> None:
    with open_dataset(small) as file, pickle.loads(pickle.dumps(file)) as other:
        assert type(other) is PublishedFile
        assert np.array_equal(other.read(RowRange(0, 5)), SMALL.filters[:5])


def identity(path: Path) -> str:
    with open_dataset(path) as file:
        return file.content_hash


def test_the_identity_stays_and_changes_with_the_file(small: Path, tmp_path: Path) -> None:
    first = identity(small)
    assert identity(small) == first
    assert len(first) == 64
    stat = small.stat()
    with h5py.File(small, "r+") as file:
        file["filters"][5, 1, 1] += 1
    os.utime(small, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    changed = identity(small)
    assert changed != first
    os.utime(small, ns=(stat.st_atime_ns, stat.st_mtime_ns + 2))
    assert identity(small) != changed


def test_the_identity_covers_the_table_and_rows_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SMALL.v1(tmp_path / "a.h5")
    stat = first.stat()
    seen = {identity(first)}
    for change in ("first", "last", "cell"):
        path = tmp_path / f"{change}.h5"
        frame, filters = SMALL.frame.copy(), SMALL.filters.copy()
        if change == "cell":
            frame.loc[20, "Task"] = "Other         "[: len(frame.loc[20, "Task"])]
        else:
            filters[0 if change == "first" else -1, 0] += 1
        Published(SMALL.layers, frame, filters).v1(path)
        with path.open("ab") as file:
            file.truncate(stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        seen.add(identity(path))
    assert len(seen) == 4


def test_verify_finds_nothing_wrong_with_a_sound_file(path: Path) -> None:
    done: list[tuple[int, int]] = []
    assert verify(path, lambda *counts: done.append(counts)) == []
    assert done[-1] == (len(ZOO.filters), len(ZOO.filters))


@pytest.mark.parametrize(
    ("column", "row", "value", "what"),
    [
        ("(3, 3) filters", slice(0, 4), 7.0, "model net00_imagenet_11: (3, 3) filters is 7"),
        ("3x3_filter_share", slice(0, 4), 0.99, "3x3_filter_share is 0.99"),
        ("model", 3, "another", "model_id 0 has several"),
        ("conv_depth_norm", 3, 1.5, "1 records have a conv_depth_norm"),
    ],
)
def test_verify_names_what_contradicts_itself(
    column: str, row: Any, value: Any, what: str, tmp_path: Path
) -> None:
    frame = SMALL.frame.copy()
    frame.loc[row, column] = value
    path = Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5")
    assert any(what in problem for problem in verify(path)), verify(path)


def test_two_levels_of_one_name_are_named_by_what_is_missing(tmp_path: Path) -> None:
    frame = SMALL.indexed(3)
    frame.index.names = ["model_id", "conv_depth", "conv_depth"]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["filters"] = SMALL.filters
    write_meta(path, frame, "fixed")
    assert "no column or index level 'conv_depth_norm'" in refusal(path).what


def test_columns_that_are_called_by_numbers_are_kept(tmp_path: Path) -> None:
    frame = SMALL.frame.assign(**{"0": 1.5}).rename(columns={"0": 0})
    meta = tables_of(Published(SMALL.layers, frame, SMALL.filters).v1(tmp_path / "a.h5")).meta
    assert set(meta["0"]) == {1.5}
