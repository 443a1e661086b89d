"""Coordinates of an analysis: policies, subsets, other data, and what is not measured again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analyses import groups_of, make, run, write_zoo

import reference
from filterdb.errors import ColumnError, CorruptDataError, FilterDBError, NotADatasetError, UsageError
from filterdb.run import place
from filterdb.run.analysis import results
from filterdb.run.analysis.analyze import AnalyzeReport


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coordinates")
    return make(write_zoo(folder / "zoo", list(range(9))), folder / "d.h5")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    return make(write_zoo(folder / "zoo", list(range(20, 26))), folder / "other.h5")


def assert_is_the_definition(report: AnalyzeReport, dataset: Path, where: tuple, bins: int = 70) -> None:
    groups, table = groups_of(dataset), report.shifts["Task"]
    for a, b, d in zip(table["group_a"], table["group_b"], table["D"], strict=True):
        assert d == pytest.approx(reference.shift(groups[a], groups[b], where, bins), rel=1e-6)


@pytest.mark.parametrize("bins", [None, 25])
@pytest.mark.parametrize("policy", [None, "paper", "fixed"])
def test_every_policy_is_its_definition(
    policy: str | None, bins: int | None, dataset: Path, tmp_path: Path
) -> None:
    report = run(dataset, tmp_path / "r", policy=policy, bins=bins)
    where = reference.coordinates(np.concatenate(list(groups_of(dataset).values())), policy or "paper")
    assert_is_the_definition(report, dataset, where, bins or 70)
    stored = json.loads((tmp_path / "r" / "basis.json").read_text())
    assert stored["range"] == pytest.approx(list(where[2:4]), rel=1e-9)
    assert (stored["policy"], stored["bins"]) == (policy or "paper", bins or 70)
    manifest = results.read_manifest(tmp_path / "r")
    assert manifest["coordinates"]["identity"] == stored["coordinates"]
    assert manifest["coordinates"]["policy"] == manifest["settings"]["policy"] == (policy or "paper")


def test_the_basis_of_a_subset_is_that_of_a_data_set_without_the_rest(dataset: Path, tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "zoo", [seed for seed in range(9) if seed % 3])
    alone = run(make(zoo, tmp_path / "alone.h5"), tmp_path / "alone")
    found = run(dataset, tmp_path / "r", basis="subset", where="Task != 'Classification'")
    assert found.coordinates.identity == alone.coordinates.identity
    pd.testing.assert_frame_equal(found.shifts["Task"], alone.shifts["Task"])
    described = results.read_manifest(tmp_path / "r")["coordinates"]
    assert (described["basis"], described["fitted_to_layers"]) == ("subset", 12)
    assert described["fitted_to_filters"] == alone.coordinates.basis.n
    apart = found.layers["outside"][pd.read_hdf(dataset, "meta")["Task"].to_numpy() != "Classification"]
    assert not apart.any()


def test_a_condition_alone_changes_no_coordinates(dataset: Path, tmp_path: Path) -> None:
    whole = run(dataset, tmp_path / "a")
    part = run(dataset, tmp_path / "b", where="Task != 'Classification'")
    assert part.coordinates.identity == whole.coordinates.identity


def test_a_subset_may_be_of_what_is_only_measured(dataset: Path, tmp_path: Path) -> None:
    report = run(dataset, tmp_path / "r", basis="subset", where="variance_entropy > 0.9", by="Stars")
    chosen = report.layers["variance_entropy"] > 0.9
    assert 0 < chosen.sum() < len(chosen)
    assert report.coordinates.basis.n == report.layers.loc[chosen, "n"].sum()


def test_a_given_basis_brings_its_coordinates_bins_and_weights(
    dataset: Path, other: Path, tmp_path: Path
) -> None:
    first = run(other, tmp_path / "a", bins=31, basis="subset", where="Stars in (20, 21)")
    second = run(dataset, tmp_path / "b", basis=str(tmp_path / "a" / "basis.json"))
    assert second.coordinates.identity == first.coordinates.identity
    assert (tmp_path / "a" / "basis.json").read_bytes() == (tmp_path / "b" / "basis.json").read_bytes()
    fitted = groups_of(other, "model")
    where = reference.coordinates(np.concatenate([fitted["m20"], fitted["m21"]]))
    assert_is_the_definition(second, dataset, where, 31)
    filters = np.concatenate(list(groups_of(dataset).values()))
    assert second.layers["outside"].sum() == reference.outside(filters, where) > 0
    assert second.results.shifts["Task"].groups["outside"].sum() == second.layers["outside"].sum()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": "fixed"}, "policy is 'fixed', but the given basis has 'paper'"),
        ({"bins": 71}, "bins is 71, but the given basis has 70"),
    ],
)
def test_settings_that_contradict_a_given_basis_are_refused(
    values: dict[str, object], message: str, dataset: Path, tmp_path: Path
) -> None:
    run(dataset, tmp_path / "a")
    basis = str(tmp_path / "a" / "basis.json")
    with pytest.raises(UsageError, match=message):
        run(dataset, tmp_path / "b", basis=basis, **values)
    assert run(dataset, tmp_path / "b", basis=basis, policy="paper", bins=70).action == "analyzed"


def test_a_basis_of_another_kernel_is_refused(dataset: Path, tmp_path: Path) -> None:
    five = make(write_zoo(tmp_path / "zoo", [0, 1, 2], kernel=5), tmp_path / "five.h5", "5x5")
    run(five, tmp_path / "a")
    with pytest.raises(UsageError, match="the basis is of 5x5 filters, and the data set holds 3x3 filters"):
        run(dataset, tmp_path / "b", basis=str(tmp_path / "a" / "basis.json"))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("text", [b"", b"[1]", b"\xff", b"{}", b"[" * 100_000, b'{"format": 1'])
def test_a_basis_that_is_none_is_named(text: bytes, dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "basis.json"
    path.write_bytes(text)
    with pytest.raises(CorruptDataError, match="these are no coordinates") as caught:
        run(dataset, tmp_path / "r", basis=str(path))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("name", ["nowhere.json", "."])
def test_a_basis_that_is_not_there_is_named(name: str, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        run(dataset, tmp_path / "r", basis=str(tmp_path / name))
    assert "all, subset, or the basis.json" in str(caught.value)


def test_a_subset_needs_a_condition_that_some_record_meets(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a condition"):
        run(dataset, tmp_path / "r", basis="subset")
    with pytest.raises(UsageError, match="no record meets the condition"):
        run(dataset, tmp_path / "r", basis="subset", where="Stars > 99", by=())


def test_what_was_measured_is_not_measured_again(dataset: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(other, tmp_path / "other")
    given = str(tmp_path / "other" / "basis.json")
    steps: list[tuple[dict[str, object], tuple[str, ...]]] = [
        ({}, ("statistics", "range", "counts")),
        ({"by": ("Stars",)}, ()),
        ({"measure": "wasserstein"}, ()),
        ({"where": "Stars > 2"}, ()),
        ({"bins": 12}, ("range", "counts")),
        ({"policy": "fixed"}, ("counts",)),
        ({"basis": given}, ("counts",)),
        ({"basis": "subset", "where": "Stars > 2"}, ("range", "counts")),
        ({"basis": "subset", "where": "not (Stars <= 2)"}, ()),
        ({"basis": "subset", "where": "Stars > 3"}, ("range", "counts")),
        ({}, ("range", "counts")),
    ]
    for values, scans in steps:
        report = run(dataset, out, **values)
        assert (report.action, report.scans) == ("analyzed", scans), values
        fresh = run(dataset, tmp_path / "fresh", **values)
        assert report.results.measured.cube.rows.tobytes() == fresh.results.measured.cube.rows.tobytes()
        assert run(dataset, out, **values).action == "fresh"
        shutil.rmtree(tmp_path / "fresh")


def test_a_given_basis_is_known_by_its_content_wherever_it_lies(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "a")
    shutil.copy(tmp_path / "a" / "basis.json", tmp_path / "copy.json")
    run(dataset, tmp_path / "b", basis=str(tmp_path / "a" / "basis.json"))
    assert run(dataset, tmp_path / "b", basis=str(tmp_path / "copy.json")).action == "fresh"
    run(dataset, tmp_path / "a", policy="fixed")
    assert run(dataset, tmp_path / "b", basis=str(tmp_path / "a" / "basis.json")).action == "analyzed"


@pytest.mark.parametrize(
    "name", ["cube.npy", "cube.json", "basis.json", "layers.parquet", "shift/Task.parquet"]
)
def test_damaged_results_are_computed_again(name: str, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    before = run(dataset, out)
    (out / name).write_bytes((out / name).read_bytes()[:50])
    with pytest.raises(CorruptDataError):
        results.load(out)
    after = run(dataset, out)
    assert after.action == "analyzed"
    assert after.coordinates.identity == before.coordinates.identity
    assert run(dataset, out).action == "fresh"


def test_results_are_read_again_as_they_were_found(dataset: Path, tmp_path: Path) -> None:
    report = run(dataset, tmp_path / "r", by=("Task", "depth_decile"), weighting="layers")
    found = results.load(tmp_path / "r")
    pd.testing.assert_frame_equal(found.meta, report.results.meta)
    pd.testing.assert_frame_equal(found.layers, report.layers)
    for name, shift in report.results.shifts.items():
        again = found.shifts[name]
        pd.testing.assert_frame_equal(again.pairs, shift.pairs)
        pd.testing.assert_frame_equal(again.groups, shift.groups)
        assert again.matrix.groups == shift.matrix.groups
        assert again.matrix.values.tobytes() == shift.matrix.values.tobytes()
        square = pd.read_csv(tmp_path / "r" / "shift" / f"{name}.matrix.csv", index_col=0)
        assert square.to_numpy() == pytest.approx(shift.matrix.values, rel=1e-14)
        assert list(square.index) == list(square.columns) == list(shift.matrix.groups)
    assert found.shifts["depth_decile"].matrix.groups == ("0.0-0.1", "0.9-1.0")


def test_metadata_of_several_kinds_is_kept_as_text(dataset: Path, tmp_path: Path) -> None:
    found = run(dataset, tmp_path / "r").results
    cells = [1, "two", 3.5, None, *[("a", 1)] * (len(found.meta) - 4)]
    meta = found.meta.assign(odd=pd.Series(cells, index=found.meta.index, dtype=object))
    with place.held(tmp_path / "s") as staging:
        results.save(replace(found, meta=meta), tmp_path / "s", staging)
    odd = results.load(tmp_path / "s").meta["odd"]
    assert odd.tolist()[:3] == ["1", "two", "3.5"]
    assert odd.isna().tolist() == [cell is None for cell in cells]


def test_axes_with_alike_names_have_files_of_their_own(dataset: Path, tmp_path: Path) -> None:
    by = ("Stars > 2", "Stars < 2", "Task", "Task == 'Denoising'", "S" * 300)
    stems = results.axis_stems([*by, "TASK", "Task.matrix"])
    assert len({stem.casefold() for stem in stems.values()}) == 7
    assert max(map(len, stems.values())) < 80
    assert stems["Task"] == "Task"
    report = run(dataset, tmp_path / "r", by=by[:2])
    found = results.load(tmp_path / "r")
    assert found.shifts["Stars > 2"].pairs["group_a"].tolist() == ["Stars > 2"]
    assert found.shifts["Stars < 2"].pairs["group_a"].tolist() == ["Stars < 2"]
    assert set(report.shifts) == set(found.shifts)


def test_an_axis_without_two_groups_is_left_out_and_named(dataset: Path, tmp_path: Path) -> None:
    report = run(dataset, tmp_path / "r", by=("Task", "Visual Category", "Stars > 99"))
    assert set(report.shifts) == {"Task"}
    left = ("no group: 0 of 18", "a single group, 'not (Stars > 99)'")
    for axis, why, note in zip(("Visual Category", "Stars > 99"), left, report.notes, strict=True):
        assert note.startswith(f"left out: the axis {axis!r} has {why}")
    assert run(dataset, tmp_path / "r", by=("Task", "Visual Category", "Stars > 99")).notes == report.notes
    with pytest.raises(ColumnError, match="the axis 'Visual Category' has no group") as caught:
        run(dataset, tmp_path / "s", by=("Visual Category", "Stars > 99"))
    assert "the axis 'Stars > 99' has a single group" in str(caught.value)
    with pytest.raises(ColumnError, match="0 of 18 records have a value, and 18 are excluded"):
        run(dataset, tmp_path / "s", where="Stars > 99")


def test_a_misspelt_column_among_several_ends_the_run_before_anything_is_measured(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(ColumnError, match="Tsk"):
        run(dataset, tmp_path / "r", by=("Task", "Tsk"))
    assert not (tmp_path / "r").exists()


def test_results_of_another_data_set_are_replaced_and_it_is_said(
    dataset: Path, other: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r"
    run(other, out)
    report = run(dataset, out)
    assert report.scans == ("statistics", "range", "counts")
    assert report.notes == ("they replace the results of another data set",)
    mine = results.read_manifest(out)["dataset"]
    results.load(out, dataset=mine)
    with pytest.raises(NotADatasetError, match=r"results of another data set, '.*d\.h5'"):
        results.load(out, dataset="0" * 64)


def test_a_folder_that_is_not_results_is_never_replaced(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    run(dataset, out)
    shutil.rmtree(out)
    out.mkdir()
    (out / "chapter.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"no results folder: it holds 'chapter\.tex'"):
        run(dataset, out)
    (out / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(UsageError, match="no results folder"):
        run(dataset, out)
    assert (out / "chapter.tex").read_text() == "years of work"
    with pytest.raises(NotADatasetError, match="no results folder"):
        results.load(out)


@pytest.mark.parametrize("name", ["notes.txt", "shift/my own.csv"])
def test_a_file_of_somebody_elses_in_the_results_is_never_lost(
    name: str, dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r"
    run(dataset, out)
    (out / name).write_text("mine")
    with pytest.raises(UsageError, match=f"holds what filterdb has not written: '{name}'"):
        run(dataset, out, policy="fixed")
    assert (out / name).read_text() == "mine"


def test_a_foreign_working_folder_and_a_link_are_safe(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "r.staging").mkdir()
    (tmp_path / "r.staging" / "mine").write_text("mine")
    with pytest.raises(FilterDBError, match="the working folder holds"):
        run(dataset, tmp_path / "r")
    assert (tmp_path / "r.staging" / "mine").read_text() == "mine"
    run(dataset, tmp_path / "far" / "real")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "real")
    run(dataset, tmp_path / "link", policy="fixed")
    assert (tmp_path / "link").is_symlink()
    assert results.load(tmp_path / "far" / "real").measured.coordinates.policy == "fixed"


def test_results_of_another_format_version_are_refused_by_readers(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(dataset, out)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(NotADatasetError, match="results of format version 99"):
        results.load(out)
    assert run(dataset, out).scans == ("statistics", "range", "counts")
    assert run(dataset, out).action == "fresh"


def test_the_manifest_says_all_that_a_paper_needs(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "a", where="Stars > 1", seed=5, weighting="models", measure="jensen_shannon")
    settings = results.read_manifest(tmp_path / "a")["settings"]
    again = run(dataset, tmp_path / "b", **settings)
    assert results.read_manifest(tmp_path / "b")["inputs"] == results.read_manifest(tmp_path / "a")["inputs"]
    expected = pd.read_parquet(tmp_path / "a" / "shift" / "Task.parquet")
    pd.testing.assert_frame_equal(again.shifts["Task"], expected)
    assert (settings["seed"], settings["weighting"], settings["measure"]) == (5, "models", "jensen_shannon")
    assert (settings["policy"], settings["bins"], settings["basis"]) == ("paper", 70, "all")
