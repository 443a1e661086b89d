"""Selections: what they hold, what they compose to, and what is said of a slip of the pen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from published_fixtures import published
from store_cases import small_case

import filterdb
from filterdb import FilterDB
from filterdb.errors import ColumnError, UsageError


def test_an_expression_selects_what_pandas_selects(db: FilterDB) -> None:
    layers = db.layers
    chosen = db.select("sparsity > 0 and Task != 'Denoising' and conv_depth_norm < 0.5")
    depth = layers.index.get_level_values("conv_depth_norm")
    expected = layers[(layers["sparsity"] > 0) & (layers["Task"] != "Denoising") & (depth < 0.5)]
    assert 0 < len(expected) < len(layers)
    pd.testing.assert_frame_equal(chosen.layers, expected)
    pd.testing.assert_index_equal(chosen.meta.index, expected.index)


def test_all_ways_to_say_the_same_select_the_same(db: FilterDB) -> None:
    rows = db.meta[db.meta["Task"] == "Segmentation"]
    ways = [
        "Task == 'Segmentation'",
        {"Task": "Segmentation"},
        {"Task": ["Segmentation"], "Trained": ["yes", "no"]},
        db.meta["Task"] == "Segmentation",
        db.meta["Task"].astype("string") == "Segmentation",
        rows,
        rows[["model"]],
        rows.reset_index(),
        db.layers.loc[rows.index].sample(frac=1, random_state=0),
        (rows["Task"] == "Segmentation"),
    ]
    for where in ways:
        pd.testing.assert_frame_equal(db.select(where).meta, rows)
    pd.testing.assert_frame_equal(db.select(models="seg-*").meta, rows)


def test_a_selection_reads_only_its_filters(db: FilterDB) -> None:
    part = db.select({"Visual Category": "fractals"})
    expected = db.filters(db.meta[db.meta["Visual Category"] == "fractals"])
    np.testing.assert_array_equal(part.filters(), expected)
    np.testing.assert_array_equal(part.filters_dask(chunk_rows=500).compute(), expected)
    assert len(part) == len(expected)
    assert part.kernels().shape == (len(expected), 3, 3)


def test_selections_compose(db: FilterDB) -> None:
    once = db.select("Task == 'Denoising' and sparsity > 0")
    twice = db.select("Task == 'Denoising'").select("sparsity > 0")
    for part in (twice, db.select("sparsity > 0").select({"Task": "Denoising"})):
        pd.testing.assert_frame_equal(part.meta, once.meta)
        pd.testing.assert_frame_equal(part.layers, once.layers)
        np.testing.assert_array_equal(part.filters(), once.filters())
        np.testing.assert_array_equal(part.cube.counts, once.cube.counts)


def test_the_tables_of_a_selection_fit_together(db: FilterDB) -> None:
    part = db.select({"Family": "depthwise-separable"})
    assert set(part.models["name"]) == set(part.meta["model"])
    assert set(part.skipped["model_id"]) <= set(part.models.index)
    assert len(part.skipped) > 0
    assert set(part.results.models["model"]) == set(part.meta["model"])
    assert len(part.cube) == len(part.layers) == len(part.meta)
    np.testing.assert_array_equal(part.cube.rows["n"], part.layers["n"])
    assert "selected of 484 layers" in repr(part)


def test_models_by_name_and_by_pattern(db: FilterDB) -> None:
    part = db.select(models=["cls-textures-plain-fit", "gen-*"])
    names = set(part.meta["model"])
    assert "cls-textures-plain-fit" in names
    assert {name.split("-")[0] for name in names} == {"cls", "gen"}


def test_a_name_with_brackets_is_a_name_before_it_is_a_pattern(tmp_path: Path) -> None:
    with filterdb.open(small_case().write(tmp_path / "d.h5")) as db:
        assert db.select(models="alpha").meta["model"].unique().tolist() == ["alpha"]
        with pytest.raises(UsageError, match="no model with filters is called 'empty'"):
            db.select(models="empty")


def test_nothing_may_be_selected(db: FilterDB) -> None:
    part = db.select("sparsity > 2")
    assert part.filters().shape == (0, 9)
    assert part.filters_dask().compute().shape == (0, 9)
    assert [len(table) for table in (part.meta, part.layers, part.models, part.skipped)] == [0, 0, 0, 0]
    assert len(part) == 0
    assert "0 filters" in repr(part)
    assert "0 of 3x3" in part._repr_html_()


def test_a_record_without_a_value_is_not_selected(db: FilterDB) -> None:
    assert db.meta["Twin"].isna().any()
    other = db.meta["Twin"].dropna().iloc[0]
    assert db.select(f"Twin != {other!r}").meta["Twin"].notna().all()
    mask = pd.Series(pd.array([True, None] * (len(db.meta) // 2), dtype="boolean"), index=db.meta.index)
    assert len(db.select(mask).meta) == len(db.meta) // 2


def test_columns_that_a_person_adds_can_be_named(demo: Path) -> None:
    with filterdb.open(demo) as db:
        db.meta["mine"] = np.arange(len(db.meta))
        assert db.select("mine < 10").meta["mine"].tolist() == list(range(10))
        assert db.select("mine < 10 and sparsity >= 0").layers.shape[0] == 10


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ("Taks == 'Denoising'", "did you mean 'Task'?"),
        ({"Visual Categry": "fractals"}, "did you mean 'Visual Category'?"),
        ("sparsty > 0.1", "did you mean 'sparsity'?"),
        ({"variance_entrpy": 1}, "did you mean 'variance_entropy'?"),
    ],
)
def test_a_misspelt_column_is_answered_with_the_nearest(db: FilterDB, where: object, meant: str) -> None:
    with pytest.raises(ColumnError) as caught:
        db.select(where)
    assert meant in str(caught.value)


def test_a_misspelt_value_or_model_is_answered_with_the_nearest(db: FilterDB) -> None:
    with pytest.raises(UsageError, match="no record has the Task 'Segmentaton'") as value:
        db.select({"Task": ["Denoising", "Segmentaton"]})
    assert "did you mean 'Segmentation'?" in str(value.value)
    with pytest.raises(UsageError, match="no model with filters is called") as model:
        db.select(models="cls-texture-plain-fit")
    assert "did you mean 'cls-textures-plain-fit'?" in str(model.value)


@pytest.mark.parametrize(
    "where", [3, ["a"], lambda frame: frame, pd.Series([1.0])], ids=["int", "list", "function", "series"]
)
def test_what_is_no_condition_is_refused(db: FilterDB, where: object) -> None:
    with pytest.raises(UsageError) as caught:
        db.select(where)
    assert "an expression, values by column, truth values" in str(caught.value)


@pytest.mark.parametrize("where", ["sparsity", "Task", "sparsity + 1"])
def test_an_expression_that_is_no_truth_value_is_refused(db: FilterDB, where: str) -> None:
    with pytest.raises(ColumnError, match=r"is text|is a number"):
        db.select(where)


@pytest.mark.parametrize("where", ["__import__('os').system('x')", "model.str.len() > 3", "@x == 1"])
def test_nothing_in_an_expression_is_executed(db: FilterDB, where: str) -> None:
    with pytest.raises(UsageError):
        db.select(where)


def test_without_results_a_metric_is_said_to_need_them(tmp_path: Path) -> None:
    with filterdb.open(small_case().write(tmp_path / "d.h5")) as db:
        with pytest.raises(ColumnError) as caught:
            db.select("sparsity > 0.1")
        assert "a metric where there are results" in str(caught.value)
        assert len(db.select("conv_depth > 0").meta) == 2


def test_published_records_without_a_depth_can_be_selected(tmp_path: Path) -> None:
    zoo = published(60, models=6)
    zoo.frame.loc[:4, "conv_depth_norm"] = np.nan
    with filterdb.open(zoo.v1(tmp_path / "p.h5")) as db:
        rows = db.meta.iloc[[1, 3, 9]]
        for given in (rows, rows[["model"]]):
            pd.testing.assert_frame_equal(db.select(given).meta, rows)
