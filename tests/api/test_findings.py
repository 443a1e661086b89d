"""Results in the hands of researchers: where they are found, and what is answered from the cube."""

from __future__ import annotations

import itertools
import shutil
import typing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from large_files import bytes_read, needs_counters, write_sparse
from published_fixtures import published
from store_cases import small_case

import filterdb
import reference
from filterdb import FilterDB, Results, Shifts, shift
from filterdb.api import Measure, Weighting
from filterdb.config import RunConfig
from filterdb.errors import ColumnError, CorruptDataError, NotADatasetError, StoreError, UsageError
from filterdb.run.analysis.analyze import analyze
from filterdb.run.analysis.results import load
from filterdb.shift import Resampling, axis_shift, make_axis, restrict
from filterdb.shift.divergence import MEASURES
from filterdb.shift.units import WEIGHTINGS
from filterdb.stats import Cube


@pytest.fixture
def copied(demo: Path, tmp_path: Path) -> Path:
    """A copy of the data set and its results, which a test may change."""
    shutil.copytree(demo.parent, tmp_path / "demo")
    return tmp_path / "demo" / "dataset.h5"


def test_the_results_beside_a_file_are_found(db: FilterDB, demo: Path) -> None:
    assert db.results.path == demo.with_name("results")
    assert db.results.manifest["dataset"] == db.content_hash
    assert set(db.shifts) == {"Task", "Visual Category", "Family", "depth_decile"}


def test_layers_are_meta_with_the_quality_beside_it(db: FilterDB, demo: Path) -> None:
    stored = load(demo.with_name("results"))
    pd.testing.assert_frame_equal(db.layers[db.meta.columns], db.meta)
    pd.testing.assert_series_equal(db.layers["sparsity"], stored.layers["sparsity"])
    assert {"degenerate", "variance_entropy", "orthogonality", "reason"} <= set(db.layers.columns)


def test_results_of_another_data_set_are_not_taken(demo: Path, copied: Path, tmp_path: Path) -> None:
    other = small_case().write(copied.with_name("other.h5"))
    with filterdb.open(other) as db:
        assert "none" in db._repr_html_()
        with pytest.raises(UsageError, match="there are no results") as caught:
            _ = db.layers
        assert "filterdb analyze" in str(caught.value)
        assert db.select("conv_depth == 0").models["status"].eq("ok").all()
    with pytest.raises(NotADatasetError, match="another data set"):
        filterdb.open(other, results=demo.with_name("results"))
    with pytest.raises(NotADatasetError, match="no such folder"):
        filterdb.open(demo, results=tmp_path / "absent")


def test_results_elsewhere_are_named(copied: Path) -> None:
    moved = copied.parent.rename(copied.parent.with_name("moved"))
    elsewhere = (moved / "results").rename(moved.with_name("elsewhere"))
    with filterdb.open(moved / "dataset.h5", results=elsewhere) as db:
        assert db.results.path == elsewhere
        assert len(db.shift("Task").groups) == 7


def test_results_that_appear_later_are_found(copied: Path) -> None:
    hidden = copied.with_name("results").rename(copied.with_name("hidden"))
    with filterdb.open(copied) as db:
        with pytest.raises(UsageError, match="there are no results"):
            db.shift("Task")
        hidden.rename(copied.with_name("results"))
        assert len(db.shift("Task").groups) == 7


def test_results_that_are_replaced_meanwhile_are_not_mixed(copied: Path) -> None:
    folder = copied.with_name("results")
    with filterdb.open(copied) as db:
        _ = db.results
        analyze(copied, folder, RunConfig().with_analyze(by=("Task",), permutations=1, draws=1, bins=20))
        with pytest.raises(StoreError, match="they were replaced"):
            _ = db.layers
    with filterdb.open(copied) as db:
        assert db.cube.counts.shape[2] == 20


@pytest.mark.parametrize("name", ["layers.parquet", "meta.parquet", "cube.npy", "basis.json"])
def test_damaged_results_are_said_to_be(copied: Path, name: str) -> None:
    (copied.with_name("results") / name).write_bytes(b"PAR1 or not")
    with (
        filterdb.open(copied) as db,
        pytest.raises(CorruptDataError, match=r"the results are damaged|no coord"),
    ):
        db.shift("Task")


def test_results_need_no_data_set(copied: Path) -> None:
    with filterdb.open(copied) as db:
        expected = db.shift("Task", where="Trained == 'yes'").matrix
    copied.unlink()
    results = filterdb.open_results(copied.with_name("results"))
    pd.testing.assert_frame_equal(results.shift("Task", where="Trained == 'yes'").matrix, expected)
    part = results.select({"Trained": "yes"})
    pd.testing.assert_frame_equal(part.shift("Task").matrix, expected)
    assert len(part) == len(part.layers) == len(part.meta) < len(results)
    assert "selected of 484 layers" in repr(part)


def test_measure_shift_takes_results_in_any_form(db: FilterDB, demo: Path) -> None:
    expected = db.shift("Family", measure="wasserstein").pairs
    folder = demo.with_name("results")
    for given in (db, db.results, folder, str(folder)):
        found = filterdb.measure_shift(given, by="Family", measure="wasserstein")
        pd.testing.assert_frame_equal(found.pairs, expected)


QUESTIONS = [
    {"by": "Task"},
    {"by": "depth_decile"},
    {"by": "Visual Category", "where": "Trained == 'yes' and sparsity < 0.2"},
    {"by": "Family", "combine_with": "Width"},
    {"by": "sparsity > 0.05", "measure": "jensen_shannon"},
    {"by": "variance_entropy", "weighting": "models"},
    {"by": "Task", "measure": "wasserstein", "weighting": "layers"},
]


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_the_quick_answer_is_that_of_the_analysis(db: FilterDB, question: dict[str, str]) -> None:
    options = {"combine_with": None, "where": None, "measure": "paper", "weighting": "filters", **question}
    axis = make_axis(db.layers, options["by"], with_=options["combine_with"])
    if options["where"]:
        axis = restrict(axis, shift.evaluate(options["where"], db.layers))
    results = db.results
    expected = axis_shift(
        axis,
        results.cube,
        results.coordinates,
        by=options["measure"],
        weighting=options["weighting"],
        resampling=Resampling(0, 1, 1),
    )
    found = db.shift(**question)
    pd.testing.assert_frame_equal(found.matrix, expected.matrix.frame(), rtol=1e-12)
    pd.testing.assert_frame_equal(found.groups, expected.groups)
    shared = [name for name in found.pairs.columns if name != "reason"]
    pd.testing.assert_frame_equal(found.pairs[shared], expected.pairs[shared], rtol=1e-12)


def test_with_uncertainty_the_answer_is_what_the_analysis_has_written(db: FilterDB) -> None:
    for axis in ("Task", "Family"):
        found, stored = db.shift(axis, uncertainty=True), db.shifts[axis]
        pd.testing.assert_frame_equal(found.pairs, stored.pairs)
        pd.testing.assert_frame_equal(found.groups, stored.groups)
        pd.testing.assert_frame_equal(found.matrix, stored.matrix)


def test_the_seed_and_the_draws_count(db: FilterDB) -> None:
    quick = {"uncertainty": True, "permutations": 50, "draws": 50}
    first = db.shift("Trained", seed=1, **quick).pairs["null_mean"].item()
    assert first == db.shift("Trained", seed=1, **quick).pairs["null_mean"].item()
    assert first != db.shift("Trained", seed=2, **quick).pairs["null_mean"].item()


def test_a_selection_keeps_the_bins_of_all_layers(db: FilterDB) -> None:
    for by in ("depth_decile", "variance_entropy", "Family"):
        part = db.select("Task == 'Denoising'").shift(by)
        pd.testing.assert_frame_equal(part.matrix, db.shift(by, where="Task == 'Denoising'").matrix)
        assert set(part.groups["group"]) <= set(db.shift(by).groups["group"])


def test_a_column_of_one_s_own_groups_layers(db: FilterDB) -> None:
    mine = db.layers["Task"].where(db.layers["Trained"] == "yes").rename("mine")
    expected = db.shift("Task", where="Trained == 'yes'").matrix
    pd.testing.assert_frame_equal(db.shift(mine).matrix, expected)
    shuffled = mine.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(db.shift(shuffled).matrix, expected)
    some = mine[mine == "Denoising"]
    with pytest.raises(ColumnError, match="a single group, 'Denoising'"):
        db.shift(some)
    depth = pd.cut(db.layers["sparsity"], [-1, 0, 0.1, 1], labels=["none", "few", "many"])
    assert db.shift(depth).matrix.index.tolist() == ["none", "few", "many"]
    for strange in (
        pd.Series(range(len(mine))),
        mine.reset_index(drop=True),
        mine.set_axis(mine.index.rename("a", level=0)),
    ):
        with pytest.raises(UsageError, match="is not of these layers"):
            db.shift(strange)


def test_labels_are_those_of_the_analysis_where_there_is_one(tmp_path: Path) -> None:
    path = published(200, models=20).v1(tmp_path / "p.h5")
    rule = {"column": "Task", "contains": "Segmentation", "to": "Segmentation"}
    settings = RunConfig().with_analyze(by=("Task",), relabel=(rule,), permutations=1, draws=1)
    analyze(path, tmp_path / "results", settings)
    with filterdb.open(path) as db:
        part = db.select("Task == 'Segmentation' and variance_entropy > 0")
        assert set(part.meta["Task"]) == {"Semantic Segmentation", "Panoptic Segmentation"}
        assert set(part.layers["Task"]) == {"Segmentation"}
        pd.testing.assert_frame_equal(db.shift("Task").matrix, db.shifts["Task"].matrix, rtol=1e-12)


@pytest.mark.parametrize("kind", ["paper", "jensen_shannon", "wasserstein"])
def test_the_shift_is_the_definition(db: FilterDB, kind: Measure) -> None:
    """Scale, PCA, histograms and distances, computed from the filters by the plain reference."""
    part = db.select({"Task": ["Segmentation", "Denoising"], "Trained": "no"})
    basis = db.results.coordinates
    groups = {}
    for task in ("Segmentation", "Denoising"):
        scaled = reference.scaled(part.select({"Task": task}).filters())
        coefficients = (scaled - basis.basis.mean) @ basis.basis.components.T
        bins = [np.histogram(c, basis.bins, (basis.low, basis.high))[0] for c in coefficients.T]
        groups[task] = np.array(bins)
    expected = shift.shift_matrix(
        list(groups), np.stack(list(groups.values())), weights=basis.weights, width=basis.width, by=kind
    )
    found = part.shift("Task", measure=kind).pairs["D"].item()
    assert found == pytest.approx(expected.values[0, 1], rel=1e-6)


def test_shifts_and_results_show_themselves(db: FilterDB) -> None:
    shifts = db.shift("Task")
    assert repr(shifts).startswith("<Shifts along Task: 7 groups, D from 0.0")
    page = shifts._repr_html_()
    assert page.count("<tr") == 8
    assert "Segmentation" in page
    assert "128,825 filters" in db.results._repr_html_()


def test_names_of_groups_are_escaped(db: FilterDB) -> None:
    mine = db.layers["Trained"].map({"yes": "<b>yes</b>", "no": "no"}).rename("<i>axis</i>")
    page = db.shift(mine)._repr_html_()
    assert "<b>yes" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;yes" in page


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        ({"by": "Taks"}, "did you mean 'Task'?"),
        ({"by": "Task", "measure": "papper"}, "did you mean 'paper'?"),
        ({"by": "Task", "where": "sparsty > 1"}, "did you mean 'sparsity'?"),
        ({"by": "Task", "where": "sparsity > 2"}, "at least two groups"),
        ({"by": "Task", "weighting": "filter"}, "one of filters, layers, models"),
    ],
)
def test_a_question_that_cannot_be_asked_is_explained(
    db: FilterDB, call: dict[str, typing.Any], meant: str
) -> None:
    with pytest.raises(UsageError) as caught:
        db.shift(**call)
    assert meant in str(caught.value)


def test_the_names_of_measures_and_weightings_are_those_of_the_analysis() -> None:
    assert typing.get_args(Measure) == MEASURES
    assert typing.get_args(Weighting) == WEIGHTINGS


@needs_counters
def test_axes_are_answered_without_reading_filters(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "large.h5", models=600, layers=8, filters=80)
    analyze(path, tmp_path / "results", RunConfig().with_analyze(by=("Task",), permutations=1, draws=1))
    with filterdb.open(path) as db:
        db.shift("Task")
        before = bytes_read()
        for by in ("Visual Category", "depth_decile", "Task"):
            assert len(db.shift(by).groups) >= 3
        assert len(db.select({"Task": "Segmentation"}).shift("Visual Category").groups) == 3
        assert bytes_read() - before < len(db) * 36 / 4


def test_the_cube_of_results_is_in_the_order_of_layers(db: FilterDB) -> None:
    cube = db.cube
    assert isinstance(cube, Cube)
    sizes = db.meta["filter_end"] - db.meta["filter_start"]
    np.testing.assert_array_equal(cube.rows["n"], sizes)
    place = 17
    filters = db.filters(db.meta.iloc[[place]])
    assert cube.stats(place).largest == pytest.approx(float(abs(filters).max()))


def test_the_basis_projects_filters(db: FilterDB) -> None:
    filters = db.filters(db.meta.head(5))
    coefficients = db.basis.project(reference.scaled(filters).astype(np.float32))
    assert coefficients.shape == filters.shape
    low, high = db.results.manifest["coordinates"]["range"]
    assert low <= coefficients.min() <= coefficients.max() <= high


def test_every_pair_of_every_stored_axis_is_there(db: FilterDB) -> None:
    for name, shifts in db.shifts.items():
        assert isinstance(shifts, Shifts)
        groups = shifts.groups["group"]
        assert len(shifts.pairs) == len(list(itertools.combinations(groups, 2))), name
        assert shifts.matrix.index.tolist() == groups.tolist()


def test_an_empty_folder_is_no_results_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError):
        Results(tmp_path)
