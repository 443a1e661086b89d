"""The stage: every figure of a data set as files, whole or not at all, and of the filters that are there."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from importlib import resources
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np
import pandas as pd
import pytest

from filterdb.config import RunConfig
from filterdb.errors import NotADatasetError, OutputError, UsageError
from filterdb.figures import Drawing, density
from filterdb.run.analysis import results
from filterdb.run.analysis.analyze import analyze
from filterdb.run.drawing import figure_files, figure_scan, figure_views, sources
from filterdb.run.drawing import figures as stage
from filterdb.run.drawing.figure_files import write_figures
from filterdb.run.drawing.figure_plan import Call, Plan, Sheet
from filterdb.run.drawing.figures import draw
from filterdb.run.extraction.extract import extract
from filterdb.store import open_dataset
from filterdb.testing import conv_net, write_model
from in_process import call

FEW = {"permutations": 19, "draws": 19}


def write_zoo(folder: Path, *, kernel: int = 3, models: int = 11) -> Path:
    """Write models of two tasks, of a layer with many filters each; one holds NaN."""
    rows = []
    for seed in range(models):
        rng = np.random.default_rng(seed)
        shapes = [(8, 3, kernel, kernel), (40, 8, kernel, kernel), (44, 40, kernel, kernel)]
        weights = [(rng.normal(size=shape) ** (1 + 2 * (seed % 2))).astype(np.float32) for shape in shapes]
        if seed == 3:
            weights[0][0, 0] = np.nan
        write_model(folder / f"m{seed:02d}.onnx", conv_net(weights))
        rows.append(f"m{seed:02d},{('Classification', 'Denoising')[seed % 2]},{('a', 'b', 'c')[seed % 3]}")
    (folder / "models.csv").write_text("\n".join(["Name,Task,Family", *rows]) + "\n")
    return folder


def make(folder: Path, *, kernel: int = 3, models: int = 11, **values: object) -> tuple[Path, Path]:
    zoo = write_zoo(folder / "zoo", kernel=kernel, models=models)
    config = RunConfig(zoo=(str(zoo),), metadata=str(zoo / "models.csv"), workers=1)
    data, found = folder / "d.h5", folder / "results"
    extract(config.with_extract(kernel=f"{kernel}x{kernel}"), data)
    analyze(data, found, RunConfig(workers=1).with_analyze(**{"by": ("Task",), **FEW, **values}))
    return data, found


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make(tmp_path_factory.mktemp("figures"), by=("Task", "depth_decile"))


@pytest.fixture(scope="module")
def plain(analyzed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same data set with the few figures that it has without an axis."""
    folder = tmp_path_factory.mktemp("plain") / "results"
    analyze(analyzed[0], folder, RunConfig(workers=1).with_analyze(by=(), **FEW))
    return analyzed[0], folder


@pytest.fixture(scope="module")
def drawn(analyzed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "figures"
    assert draw(*analyzed, out, QUICK).action == "drawn"
    return out


QUICK = RunConfig(workers=1).with_figures(dpi=60, width="column")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_every_figure_is_there_as_png_svg_and_csv(drawn: Path) -> None:
    stated = json.loads((drawn / "manifest.json").read_text())
    kinds = (
        "eigenimages",
        "explained_variance",
        "covariance",
        "scatter",
        "drift_by_axis",
        "degenerate_models",
    )
    by_axis = ("drift", "drift_pairs", "quality", "orthogonality", "eigenimages", "ridges", "phenotypes")
    names = {*kinds, "phenotypes_layers", *(f"{a}_{b}" for a in by_axis for b in ("Task", "depth_decile"))}
    assert names <= set(stated["captions"])
    assert sum(name.startswith("filters_") for name in stated["captions"]) == 2
    expected = {f"{name}.{kind}" for name in stated["captions"] for kind in ("png", "svg", "csv")}
    assert {path.name for path in drawn.iterdir()} == expected | {"manifest.json"} == set(stated["files"])
    assert all(path.stat().st_size > 50 for path in drawn.iterdir())
    assert not drawn.with_name("figures.staging").exists()


def test_drawing_again_with_more_processes_gives_the_same_bytes(
    analyzed: tuple[Path, Path], drawn: Path, tmp_path: Path
) -> None:
    draw(*analyzed, tmp_path / "again", QUICK.with_values(workers=3))
    assert content(tmp_path / "again") == content(drawn)
    one, other = (
        json.loads((folder / "manifest.json").read_text())["captions"]
        for folder in (drawn, tmp_path / "again")
    )
    assert list(one.items()) == list(other.items())


def test_a_process_that_ends_costs_no_figure(plain: tuple[Path, Path], tmp_path: Path) -> None:
    with open_dataset(plain[0]) as file:
        jobs = list(Plan(file, results.load(plain[1]), QUICK.figures).jobs())[:2]
        jobs[0] = (jobs[0][0], Sheet(lambda: partial(drawn_by, os.getpid(), jobs[1][1].gather())))
        found = {one.name: one.caption for one in write_figures(jobs, tmp_path, dpi=60, workers=2)}
    assert len(found) == 2
    assert len(set(found.values())) == 1
    assert len(list(tmp_path.iterdir())) == 6


def drawn_by(process: int, call: Call) -> Drawing:
    """Draw in one process, and end any other."""
    if os.getpid() != process:
        os.kill(os.getpid(), signal.SIGKILL)
    return call()


def test_no_more_processes_are_started_than_are_allowed(
    plain: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(*_: object, workers: int) -> NoReturn:
        asked.append(workers)
        raise KeyboardInterrupt

    monkeypatch.setattr(figure_files, "started", refuse)
    assert draw(*plain, tmp_path / "alone", QUICK).action == "drawn"
    with pytest.raises(KeyboardInterrupt):
        draw(*plain, tmp_path / "several", QUICK.with_values(workers=3))
    assert asked == [3]
    assert not (tmp_path / "several").exists()


def test_nothing_is_drawn_where_nothing_changed(
    analyzed: tuple[Path, Path], drawn: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in drawn.iterdir()}
    report = draw(*analyzed, drawn, QUICK)
    assert report.action == "fresh"
    assert "scatter" in report.captions
    assert {path: path.stat().st_mtime_ns for path in drawn.iterdir()} == before


def test_another_setting_a_lost_file_or_other_code_is_drawn_again(
    plain: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "figures"
    draw(*plain, out, QUICK)
    (out / "scatter.svg").unlink()
    assert draw(*plain, out, QUICK).action == "drawn"
    assert (out / "scatter.svg").exists()
    assert draw(*plain, out, QUICK, force=True).action == "drawn"
    manifest = results.require_results(plain[1])
    same = stage._inputs(manifest, QUICK.figures)
    assert stage._fresh(out, same)
    assert stage._inputs(manifest, QUICK.with_figures(dpi=50).figures) != same
    monkeypatch.setattr(stage, "fingerprint", lambda *_: "of other code")
    assert stage._inputs(manifest, QUICK.figures) != same
    assert not stage._fresh(out, stage._inputs(manifest, QUICK.figures))


def test_every_source_that_draws_is_in_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "drawing_package"
    (package / "templates").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "templates/page.html.j2", "templates/style.css"):
        (package / name).write_text(f"# {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    prints = [sources.fingerprint("drawing_package")]
    for name in ("one.py", "templates/page.html.j2", "templates/style.css"):
        (package / name).write_text("changed\n")
        sources.fingerprint.cache_clear()
        prints.append(sources.fingerprint("drawing_package"))
    (package / "notes.pyc").write_text("no source\n")
    sources.fingerprint.cache_clear()
    assert sources.fingerprint("drawing_package") == prints[-1]
    assert len(set(prints)) == 4
    templates = resources.files("filterdb.report").joinpath("templates")
    assert all(entry.name.endswith(sources._KINDS) for entry in templates.iterdir())


def test_the_scan_counts_what_numpy_counts(
    analyzed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = analyzed
    found = results.load(folder)
    where = found.measured.coordinates
    with h5py.File(data) as file:
        filters = file["filter"][:].astype(np.float64)
    good = np.isfinite(filters).all(axis=1)
    assert not good.all()
    largest = np.abs(filters).max(axis=1, keepdims=True)
    scaled = (filters / np.where(largest > 0, largest, 1))[good]
    c = (scaled - where.basis.mean) @ where.basis.components.T
    views = figure_views.views(found)
    rows = found.meta["filter_end"].to_numpy() - found.meta["filter_start"].to_numpy()
    labels = np.repeat(views[0].codes, rows)[good]
    edges = np.linspace(-3.3, 3.3, 513)
    grid = density.grid_over(where.low, where.high)
    # Blocks that end within records.
    monkeypatch.setattr(figure_scan, "BLOCK", 1009)
    with open_dataset(data) as file:
        scanned = figure_scan.scan(file, views, where, most=20, grid=grid)
    for place, (a, b) in enumerate(scanned.pairs):
        expected, *_ = np.histogram2d(c[:, b], c[:, a], bins=[edges, edges])
        # A float32 quotient that lies on the border of a bin may fall on its other side.
        assert np.abs(scanned.counts[place] - expected).sum() <= 4
    for group in range(len(views[0].groups)):
        part = c[labels == group]
        expected, *_ = np.histogram2d(part[:, 1], part[:, 0], bins=[edges, edges])
        assert np.abs(scanned.tallies[0].pairs[group] - expected).sum() <= 4
        assert scanned.tallies[0].masses[group].sum(axis=1) == pytest.approx(len(part))
        exact = density.bin_linearly(part[:, 2], grid)
        assert scanned.tallies[0].masses[group, 2] == pytest.approx(exact, abs=0.02)
    assert [shape.filters for shape in scanned.shapes] == found.measured.cube.rows["finite"].tolist()
    assert {shape.phenotype for shape in scanned.shapes} == {"sun", "few"}


def test_blocks_change_nothing(analyzed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = analyzed
    found = results.load(folder)
    with open_dataset(data) as file:
        whole = figure_scan.scan(file, figure_views.views(found), found.measured.coordinates, most=20)
        monkeypatch.setattr(figure_scan, "BLOCK", 777)
        parts = figure_scan.scan(file, figure_views.views(found), found.measured.coordinates, most=20)
    assert np.array_equal(whole.counts, parts.counts)
    assert [one.phenotype for one in whole.shapes] == [one.phenotype for one in parts.shapes]


def test_ridges_from_bins_and_from_every_filter_agree(analyzed: tuple[Path, Path]) -> None:
    data, folder = analyzed
    found = results.load(folder)
    tables = []
    for how in ("bins", "exact"):
        with open_dataset(data) as file:
            plan = Plan(file, found, RunConfig().with_figures(ridges=how).figures)
            tables.append(dict(plan.jobs())["ridges_Task"]().data)
    bins, exact = tables
    keys = ["group", "component"]
    step = np.diff(exact["coefficient"].to_numpy()[:2])[0]
    gap = (bins["density"] - exact["density"]).abs().groupby([exact[key] for key in keys]).sum() * step / 2
    assert gap.max() < 0.03
    # Densities of the two groups differ by more, or the comparison would show nothing.
    one = exact[exact["component"] == 1].pivot_table(index="coefficient", columns="group", values="density")
    assert (one.iloc[:, 0] - one.iloc[:, 1]).abs().sum() * step / 2 > 0.05


def test_groups_stand_in_the_order_of_the_shifts_with_their_own_records(analyzed: tuple[Path, Path]) -> None:
    found = results.load(analyzed[1])
    for view in figure_views.views(found):
        assert view.groups["group"].tolist() == list(found.shifts[view.name].matrix.groups)
        finite = found.measured.cube.rows["finite"]
        sums = [int(finite[view.records(i)].sum()) for i in range(len(view.groups))]
        assert sums == view.groups["filters"].tolist()
    task = figure_views.views(found)[0]
    for i, name in enumerate(task.groups["group"]):
        assert set(found.meta["Task"].iloc[task.records(i)]) == {name}


def test_a_condition_and_a_second_axis_hold_in_figures_too(tmp_path: Path) -> None:
    data, folder = make(tmp_path, by=("Task",), combine_with="Family", where="model != 'm00'")
    found = results.load(folder)
    view = figure_views.views(found)[0]
    assert view.name == "Task / Family"
    assert "m00" not in set(found.meta["model"][view.codes >= 0])
    with open_dataset(data) as file:
        drawing = dict(Plan(file, found, QUICK.figures).jobs())["drift_Task_Family"]()
    assert drawing.data["D"].notna().all()


@pytest.mark.parametrize("kernel", [1, 5])
def test_filters_of_other_sizes_are_drawn(kernel: int, tmp_path: Path) -> None:
    data, folder = make(tmp_path, kernel=kernel, models=6)
    captions = draw(data, folder, tmp_path / "out", QUICK).captions
    assert ("scatter" in captions) == (kernel > 1)
    assert "ridges_Task" in captions


def test_without_any_axis_there_is_a_figure_of_all(plain: tuple[Path, Path]) -> None:
    with open_dataset(plain[0]) as file:
        captions = dict(Plan(file, results.load(plain[1]), QUICK.figures).jobs())
    assert "eigenimages" in captions
    assert not [name for name in captions if name.startswith("drift")]


def test_one_model_alone_is_drawn(tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "zoo", models=1)
    extract(RunConfig(zoo=(str(zoo),), workers=1), tmp_path / "d.h5")
    analyze(tmp_path / "d.h5", tmp_path / "r", RunConfig(workers=1).with_analyze(by=("depth_decile",), **FEW))
    captions = draw(tmp_path / "d.h5", tmp_path / "r", tmp_path / "out", QUICK).captions
    assert "too few models to test" in captions["drift_depth_decile"]


def test_results_of_another_data_set_are_refused(analyzed: tuple[Path, Path], tmp_path: Path) -> None:
    other, _ = make(tmp_path, models=6)
    with pytest.raises(NotADatasetError, match="another data set"):
        draw(other, analyzed[1], tmp_path / "out", QUICK)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_not_replaced(
    analyzed: tuple[Path, Path], drawn: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"no folder of figures: it holds 'thesis\.txt'"):
        draw(*analyzed, tmp_path / "mine", QUICK)
    with pytest.raises(UsageError, match="no folder of figures"):
        draw(*analyzed, analyzed[1], QUICK)
    added = drawn / "notes.txt"
    added.write_text("mine")
    try:
        with pytest.raises(UsageError, match=r"has not written: 'notes\.txt'"):
            draw(*analyzed, drawn, QUICK, force=True)
    finally:
        added.unlink()
    with pytest.raises(OutputError, match="this is a file"):
        draw(*analyzed, analyzed[0], QUICK)


def test_a_model_that_is_not_there_is_named_with_the_nearest(
    analyzed: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no model 'm1'") as caught:
        draw(*analyzed, tmp_path / "out", QUICK.with_figures(models=("m1",)))
    assert "did you mean" in str(caught.value)
    with open_dataset(analyzed[0]) as file:
        settings = QUICK.with_figures(models=("m04",)).figures
        captions = dict(Plan(file, results.load(analyzed[1]), settings).jobs())
    assert [name for name in captions if name.startswith("filters_")] == ["filters_m04"]


@pytest.mark.parametrize("names", [("a b", "a_b", "A_B"), ("x" * 80 + "1", "x" * 80 + "2")])
def test_models_of_like_names_have_files_of_their_own(names: tuple[str, ...], tmp_path: Path) -> None:
    for seed, name in enumerate(names):
        write_model(tmp_path / "zoo" / f"{name}.onnx", conv_net([(8, 3, 3, 3), (8, 8, 3, 3)], seed=seed))
    extract(RunConfig(zoo=(str(tmp_path / "zoo"),), workers=1), tmp_path / "d.h5")
    analyze(tmp_path / "d.h5", tmp_path / "r", RunConfig(workers=1).with_analyze(by=("depth_decile",), **FEW))
    with open_dataset(tmp_path / "d.h5") as file:
        plan = Plan(file, results.load(tmp_path / "r"), QUICK.with_figures(models=names).figures)
        files = [name.casefold() for name, _ in plan.jobs()]
    assert len(files) == len(set(files))
    assert sum(name.startswith("filters_") for name in files) == len(names)


def test_the_command_draws_and_says_so(plain: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("figures:\n  dpi: 50\n  width: column\n")
    command = ["figures", *plain, "--out", "out", "--config", "small.yaml", "--workers", "2"]
    first = call(*command, "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["action"] == "drawn"
    second = call(*command, cwd=tmp_path)
    assert "is fresh: nothing has changed" in second.stdout
    wrong = call(*command, "--width", "poster", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "figures.width" in wrong.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_place_that_cannot_be_written_is_a_message(analyzed: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot write here"):
        draw(*analyzed, tmp_path / "locked" / "out", QUICK)


def test_the_numbers_of_a_figure_are_those_of_the_results(analyzed: tuple[Path, Path], drawn: Path) -> None:
    found = results.load(analyzed[1])
    pairs = pd.read_csv(drawn / "drift_Task.csv")
    assert pairs["D"].tolist() == pytest.approx(found.shifts["Task"].pairs["D"].tolist())
    shares = pd.read_csv(drawn / "explained_variance.csv")["explained"]
    assert shares.tolist() == pytest.approx(found.measured.coordinates.basis.explained.tolist())
