"""The data set file as researchers hold it: tables, filters and what is read of the disk."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from large_files import bytes_read, needs_counters, write_sparse
from published_fixtures import published
from store_cases import small_case

import filterdb
from filterdb import FilterDB, schema
from filterdb.config import RunConfig
from filterdb.errors import FilterDBError, NotADatasetError, StoreError, UsageError
from filterdb.run.analysis.analyze import analyze
from filterdb.types import RowRange


def raw(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["filter"][:]


def test_all_filters_are_those_of_the_file(db: FilterDB, demo: Path) -> None:
    np.testing.assert_array_equal(db.filters(), raw(demo))
    assert len(db) == len(raw(demo))


def test_rows_give_their_filters_in_the_order_of_the_rows(db: FilterDB, demo: Path) -> None:
    rows = db.meta.sample(40, random_state=0)
    pairs = list(zip(rows["filter_start"].tolist(), rows["filter_end"].tolist(), strict=True))
    expected = np.concatenate([raw(demo)[a:b] for a, b in pairs])
    for given in (rows, pairs, rows[["model"]], db.layers.loc[rows.index], rows.reset_index()):
        np.testing.assert_array_equal(db.filters(given), expected)


def test_one_row_a_mask_and_a_range_are_rows_too(db: FilterDB, demo: Path) -> None:
    row = db.meta.iloc[7]
    expected = raw(demo)[row["filter_start"] : row["filter_end"]]
    np.testing.assert_array_equal(db.filters(row), expected)
    np.testing.assert_array_equal(db.filters(RowRange(row["filter_start"], row["filter_end"])), expected)
    mask = db.meta["filter_start"] == row["filter_start"]
    np.testing.assert_array_equal(db.filters(mask), expected)


def test_kernels_are_filters_in_two_dimensions(db: FilterDB) -> None:
    rows = db.meta.tail(3)
    kernels = db.kernels(rows)
    assert kernels.shape[1:] == (3, 3)
    np.testing.assert_array_equal(kernels.reshape(-1, 9), db.filters(rows))


@pytest.mark.parametrize(
    "rows",
    [
        "Task == 'x'",
        3,
        {"Task": "x"},
        pd.DataFrame({"model": ["a"]}),
        pd.Series([1, 2]),
        [1, 2],
        [("a", "b")],
    ],
    ids=repr,
)
def test_what_are_no_rows_is_refused(db: FilterDB, rows: object) -> None:
    with pytest.raises(UsageError, match=r"rows|no condition"):
        db.filters(rows)


def test_rows_of_another_data_set_are_refused(db: FilterDB) -> None:
    strange = db.meta.head(2).assign(filter_start=[5, 6])
    with pytest.raises(UsageError, match="2 of the 2 rows are not of this data set"):
        db.select(strange)


def test_rows_of_another_data_set_are_no_filters_of_this_one(db: FilterDB, demo: Path) -> None:
    """Their ranges exist here too: the numbers would be wrong, and nobody would know."""
    others = db.meta.rename({0: 99}, level="model_id").head(3)
    renamed = db.meta.head(3).assign(model="another")
    for rows, count in ((others, 3), (renamed, 3), (db.meta.head(3).assign(filter_end=300), 3)):
        for read in (db.filters, db.kernels, db.filters_dask):
            with pytest.raises(UsageError, match=f"{count} of the 3 rows are not of this data set"):
                read(rows)
    # A part of a layer is asked for on purpose, and so is a layer outside of a selection.
    part = db.meta.head(1).assign(filter_end=10)
    np.testing.assert_array_equal(db.filters(part), raw(demo)[:10])
    last = db.meta.tail(1)
    np.testing.assert_array_equal(db.select(models="cls-*").filters(last), db.filters(last))


def test_truth_values_without_an_index_choose_rows_in_order(db: FilterDB) -> None:
    sparse = db.layers["sparsity"] > 0.1
    expected = db.select(sparse)
    for mask in (sparse.to_numpy(), sparse.tolist(), list(sparse.to_numpy())):
        assert db.select(mask).meta.index.equals(expected.meta.index)
        np.testing.assert_array_equal(db.filters(mask), expected.filters())
    for mask in (sparse.to_numpy()[1:], [True, False]):
        with pytest.raises(UsageError, match="truth values of shape"):
            db.select(mask)
        with pytest.raises(UsageError, match="truth values of shape"):
            db.filters(mask)


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"filter_start": [math.nan], "filter_end": [3]}),
        pd.DataFrame({"filter_start": ["a"], "filter_end": ["b"]}),
        pd.DataFrame({"filter_start": [0.5], "filter_end": [3]}),
        [(0, 10**30)],
        [0, 1, 2],
        range(3),
    ],
    ids=repr,
)
def test_rows_that_hold_no_counts_are_refused_in_words(db: FilterDB, rows: Any) -> None:
    with pytest.raises(UsageError, match=r"hold what are no counts|these are no rows"):
        db.filters(rows)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda db: db.select(models=3), "models is 3"),
        (lambda db: db.select(models=["cls-*", 3]), "models is"),
        (lambda db: db.select(models="resnet"), r"'\*resnet\*'"),
        (lambda db: db.filters(db.models.head(2)), r"models=rows\['name'\]"),
        (lambda db: db.filters_dask(chunk_rows="auto"), "chunk_rows is 'auto'"),
        (lambda db: db.filters_dask(chunk_rows=1e3), "chunk_rows is 1000.0"),
        (lambda db: db.shift(["Task", "Family"]), "combine_with='Family'"),
        (lambda db: db.shift(None), "the axis is None"),
        (lambda db: db.shift("Task", combine_with=["Family"]), "combine_with is"),
        (lambda db: db.shifts["Taks"], "did you mean 'Task'"),
        (lambda db: db.shifts["Nothing"], "db.shift"),
        (lambda db: filterdb.Figures(str(db.path)), "figures are of a str"),
        (lambda db: filterdb.open(db.path.parent), "it holds dataset.h5"),
        (lambda db: filterdb.open(db.results.path), "open_results"),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_what_to_write(
    db: FilterDB, ask: Callable[[FilterDB], object], message: str
) -> None:
    with pytest.raises(FilterDBError) as caught:
        ask(db)
    assert re.search(message, str(caught.value))


@pytest.mark.parametrize("pair", [(0, 10**9), (-1, 4), (5, 5), (9, 3)], ids=repr)
def test_filters_that_do_not_exist_are_refused(db: FilterDB, pair: tuple[int, int]) -> None:
    for rows in ([pair], pd.DataFrame([pair], columns=["filter_start", "filter_end"])):
        for read in (db.filters, db.kernels, db.filters_dask):
            with pytest.raises(UsageError, match="there are no filters"):
                read(rows)


def test_a_dask_array_holds_the_same_whatever_its_chunks(db: FilterDB) -> None:
    rows = db.meta.sample(30, random_state=1)
    expected = db.filters(rows)
    for chunk in (1, 100, 777, 10**6):
        lazy = db.filters_dask(rows, chunk_rows=chunk if chunk > 1 else 50)
        np.testing.assert_array_equal(lazy.compute(scheduler="threads"), expected)
        np.testing.assert_array_equal(lazy[37:301:3, 2].compute(), expected[37:301:3, 2])
        np.testing.assert_array_equal(lazy[::-7].compute(), expected[::-7])
    assert lazy.dtype == np.float32
    with pytest.raises(UsageError, match="chunk_rows is 0"):
        db.filters_dask(chunk_rows=0)


def test_a_dask_array_has_a_name_that_its_content_decides(db: FilterDB, demo: Path) -> None:
    with filterdb.open(demo) as again:
        assert db.filters_dask().name == again.filters_dask().name
        assert db.filters_dask().name != again.filters_dask(db.meta.head(2)).name


def test_dask_reads_in_other_processes(db: FilterDB) -> None:
    lazy = db.filters_dask(chunk_rows=40_000)
    total = lazy.astype("f8").sum().compute(scheduler="processes", num_workers=2)
    assert math.isclose(float(total), float(db.filters().astype("f8").sum()), rel_tol=1e-9)


def test_threads_may_share_one(db: FilterDB) -> None:
    rows = [db.meta.iloc[[place]] for place in range(len(db.meta))]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(db.filters, rows))
    np.testing.assert_array_equal(np.concatenate(found), db.filters())


def test_more_filters_than_memory_are_refused_before_anything_is_read(sparse: Path) -> None:
    with filterdb.open(sparse) as db:
        count = len(db)
        rows = [(0, count)] * 10_000
        with pytest.raises(UsageError, match=r"take [\d,]+\.\d GB of memory") as caught:
            db.filters(rows)
    assert "filters_dask" in str(caught.value)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20,000 records and 100 million filters, of which no byte was written."""
    return write_sparse(tmp_path_factory.mktemp("sparse") / "large.h5", models=2_500, layers=8, filters=5_000)


@needs_counters
def test_opening_a_large_file_reads_no_filter_and_no_table(sparse: Path) -> None:
    before = bytes_read()
    with filterdb.open(sparse) as db:
        shown = repr(db)
        assert bytes_read() - before < 1 << 20
    assert shown == "<FilterDB large.h5: 100,000,000 filters of 20,000 layers of 2,500 models>"


@needs_counters
def test_selecting_one_model_reads_only_its_rows(sparse: Path) -> None:
    with filterdb.open(sparse) as db:
        one = db.select(models="m01234")
        before = bytes_read()
        filters = one.filters()
        read = bytes_read() - before
    assert filters.shape == (40_000, 9)
    # HDF5 reads whole chunks, of which these rows touch two at most.
    assert filters.nbytes <= read < 3 * schema.CHUNK_ROWS * 36


@needs_counters
def test_a_slice_of_a_dask_array_reads_only_its_chunks(sparse: Path) -> None:
    with filterdb.open(sparse) as db:
        lazy = db.filters_dask(chunk_rows=schema.CHUNK_ROWS)[50_000_000:50_000_100]
        before = bytes_read()
        assert lazy.compute(scheduler="synchronous").shape == (100, 9)
        assert bytes_read() - before < 3 * schema.CHUNK_ROWS * 36


@pytest.mark.parametrize("layout", ["v1", "v0"])
def test_published_files_answer_alike(layout: str, tmp_path: Path) -> None:
    zoo = published(200, models=10)
    ours, theirs = zoo.ours(tmp_path / "ours.h5"), getattr(zoo, layout)(tmp_path / "theirs.h5")
    with filterdb.open(ours) as a, filterdb.open(theirs) as b:
        assert repr(b) == repr(a).replace("ours", "theirs")
        np.testing.assert_array_equal(a.filters(), b.filters())
        models = a.meta["model"].unique()[[1, 4]].tolist()
        views = [db.select(models=models) for db in (a, b)]
        np.testing.assert_array_equal(*(view.filters() for view in views))
        assert [len(view.models) for view in views] == [2, 2]
        np.testing.assert_array_equal(views[1].filters_dask(chunk_rows=50).compute(), views[0].filters())
        assert "theirs.h5" in b._repr_html_()


def test_labels_of_a_published_file_are_those_of_its_analysis_where_there_is_one(tmp_path: Path) -> None:
    path = published(40, models=10).v1(tmp_path / "dataset.h5")
    kinds = {"Semantic Segmentation", "Panoptic Segmentation"}
    with filterdb.open(path) as bare:
        assert kinds <= set(bare.meta["Task"])
        with pytest.raises(UsageError, match="Semantic Segmentation"):
            bare.select({"Task": "Segmentation"})
    rules = [{"column": "Task", "contains": "Segmentation", "to": "Segmentation"}]
    settings = {"analyze": {"by": ["Task"], "relabel": rules, "permutations": 1, "draws": 1}, "workers": 1}
    analyze(path, tmp_path / "results", RunConfig.parse(settings, where="test"))
    with filterdb.open(path) as db:
        raw_kinds = db.meta["Task"].isin(kinds)
        assert set(db.layers["Task"]) == (set(db.meta["Task"]) - kinds) | {"Segmentation"}
        for view in (db.select("Task == 'Segmentation'"), db.select({"Task": "Segmentation"})):
            np.testing.assert_array_equal(view.filters(), db.filters(db.meta[raw_kinds]))
        assert "Segmentation" in db.shift("Task").matrix.index
        assert db.select("Task == 'Segmentation'").meta["Task"].isin(kinds).all()


def test_a_closed_file_says_so_and_keeps_what_was_read(demo: Path) -> None:
    db = filterdb.open(demo)
    part = db.select(models="cls-*")
    meta = db.meta
    with db:
        pass
    assert len(meta) > 0
    for held in (db, part):
        with pytest.raises(UsageError, match="was closed"):
            held.filters()


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match="no such file"):
        filterdb.open(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(NotADatasetError):
        filterdb.open(str(tmp_path / "text.h5"))


def test_what_a_notebook_shows_is_escaped(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>.h5"
    path = small_case().write(tmp_path / name.replace("/", "∕"))
    with filterdb.open(path) as db:
        page = db._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "1 failed" in page


def test_a_repr_holds_no_control_characters(tmp_path: Path) -> None:
    path = small_case().write(tmp_path / "a\x1b[31mb.h5")
    with filterdb.open(path) as db:
        assert "\x1b" not in repr(db) + db._repr_html_()


def test_a_replaced_file_is_read_as_it_was_until_it_is_opened_again(tmp_path: Path) -> None:
    path = small_case().write(tmp_path / "d.h5")
    with filterdb.open(path) as db:
        before = db.filters()
        path.unlink()
        published(50, models=5).ours(path)
        np.testing.assert_array_equal(db.filters(), before)
    with filterdb.open(path) as db:
        assert len(db) != len(before)


def test_every_annotation_of_the_interface_can_be_resolved() -> None:
    import dask

    import filterdb.api.database as database
    import filterdb.api.results as results
    from filterdb import shift, stats

    known = {"dask": dask, "Basis": shift.Basis, "Cube": stats.Cube} | {
        "CoordinateSystem": shift.CoordinateSystem
    }
    for module, kind in ((database, FilterDB), (results, filterdb.Results)):
        for name, member in vars(kind).items():
            function = member.fget if isinstance(member, property) else member
            if not name.startswith("_") and inspect.isfunction(function):
                hints = typing.get_type_hints(function, {**vars(module), **known})
                assert "return" in hints, name


def test_the_classes_have_no_names_that_appear_by_magic() -> None:
    for kind in (FilterDB, filterdb.Results, filterdb.Shifts):
        assert not {"__getattr__", "__getattribute__"} & set(vars(kind))


def test_opening_loads_neither_dask_nor_matplotlib_nor_compiled_code(demo: Path) -> None:
    program = (
        "import sys, filterdb; db = filterdb.open(sys.argv[1]); repr(db);"
        "db.meta; db.filters(db.meta.head(1));"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", program, str(demo)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in ("dask", "distributed", "matplotlib", "numba", "onnx", "tables", "scipy"):
        assert f"'{name}'" not in loaded


def test_a_missing_rest_of_a_file_is_a_store_error(demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(demo.read_bytes()[:1_000_000])
    with pytest.raises(StoreError):
        filterdb.open(path)
