"""Where a model stands: the numbers of an analysis, though the model was measured alone."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from analyses import FEW, groups_of, make, run, write_zoo

import filterdb
import reference
from filterdb import compare_model
from filterdb.config import RunConfig, demo_folder
from filterdb.errors import (
    ColumnError,
    CorruptDataError,
    FilterDBError,
    ModelError,
    NotADatasetError,
    UsageError,
)
from filterdb.onnxgraph import read_layers
from filterdb.quality import LABELS, METRICS
from filterdb.run.analysis import results
from filterdb.run.analysis.analyze import analyze
from filterdb.run.extraction.extract import extract
from filterdb.shift import DEFAULT_BINS, axis_matrix, make_axis, shift_matrix
from filterdb.testing import conv_net, random_weight, write_model

RANKED = [name for name in METRICS if name != "n"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the shipped zoo."""
    folder = tmp_path_factory.mktemp("standing")
    config = RunConfig(zoo=("package:demo",), metadata="package:demo", workers=1)
    config = config.with_analyze(by=("Task", "Family", "depth_decile"), **FEW)
    extract(config, folder / "dataset.h5")
    analyze(folder / "dataset.h5", folder / "results", config)
    return folder / "results"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of five models, and its results in `results`."""
    folder = tmp_path_factory.mktemp("small")
    run(make(write_zoo(folder / "zoo", [0, 1, 2, 4, 5]), folder / "d.h5"), folder / "results")
    return folder


def shipped(name: str) -> Path:
    return demo_folder() / "zoo" / f"{name}.onnx"


def weights_of(dataset: Path) -> dict[str, dict[str, np.ndarray]]:
    """The weights of each model, as they lie in the file."""
    meta = pd.read_hdf(dataset, "meta")
    with h5py.File(dataset) as file:
        filters = file["filter"][:]
    found: dict[str, dict[str, np.ndarray]] = {}
    for row in meta.itertuples():
        weight = filters[row.filter_start : row.filter_end].reshape(row.out_channels, row.in_channels, 3, 3)
        found.setdefault(row.model, {})[f"{row.layer_name}.weight"] = weight
    return found


# The numbers are those of an analysis.


def test_models_of_the_zoo_have_the_bits_of_their_own_rows(demo: Path) -> None:
    held = results.load(demo)
    names = held.meta["model"]
    assert names.nunique() > 40
    for name in names.unique()[::4]:
        rows = np.flatnonzero(names == name)
        found = compare_model(shipped(name), demo, by="Task")
        assert found.cube.rows.tobytes() == held.measured.cube.rows[rows].tobytes(), name
        layers, expected = found.layers, held.layers.iloc[rows]
        assert layers.index.tolist() == expected["layer_name"].tolist()
        columns = [*METRICS, *LABELS, "outside", "reason"]
        pd.testing.assert_frame_equal(
            layers[columns].reset_index(drop=True),
            expected[columns].reset_index(drop=True),
            check_exact=True,
        )
        depths = expected.index.get_level_values("conv_depth_norm")
        assert layers["depth"].tolist() == depths.tolist()


def test_the_distance_to_every_model_is_that_of_the_axis_of_models(demo: Path) -> None:
    held = results.load(demo)
    frame = results.joined(held.meta, held.layers)
    where = held.measured.coordinates
    matrix = axis_matrix(make_axis(frame, "model"), held.measured.cube, where).frame()
    for name in ("cls-cells-invres-fit", "sr-textures-plain-over"):
        nearest = compare_model(shipped(name), demo, by="Task").nearest
        assert sorted([*nearest["model"], name]) == sorted(matrix.index)
        assert nearest["D"].tolist() == [matrix.loc[name, other] for other in nearest["model"]]
        assert nearest["D"].is_monotonic_increasing


def test_the_distance_to_every_group_is_that_of_shift_without_the_models_own_layers(demo: Path) -> None:
    held = results.load(demo)
    cube, where = held.measured.cube, held.measured.coordinates
    name = "seg-cells-unet-over"
    own = (held.meta["model"] == name).to_numpy()
    found = compare_model(shipped(name), demo).drift
    assert list(found) == ["Task", "Family", "depth_decile"]
    for axis, table in found.items():
        groups = make_axis(results.joined(held.meta, held.layers), axis)
        assert set(table["group"]) == set(groups.groups)
        for row in table.itertuples():
            members = (groups.codes == groups.groups.index(row.group)) & ~own
            sums = np.stack([cube.counts[one].sum(axis=0, dtype=np.int64) for one in (own, members)])
            expected = shift_matrix(["a", "b"], sums, weights=where.weights, width=where.width)
            assert expected.values[0, 1] == row.D
            assert row.filters == held.layers["n"][members].sum()
            assert (row.layers, row.models) == (members.sum(), held.meta["model"][members].nunique())
        assert table["D"].is_monotonic_increasing


def test_a_foreign_model_is_the_definition_from_the_filters_to_the_distance(small: Path) -> None:
    state = {
        "a.weight": random_weight((12, 3, 3, 3), seed=3),
        "b.weight": random_weight((9, 12, 3, 3), seed=4),
    }
    found = compare_model(state, small / "results")
    groups = groups_of(small / "d.h5")
    where = reference.coordinates(np.concatenate(list(groups.values())))
    mine = np.concatenate([weight.reshape(-1, 9) for weight in state.values()])
    assert dict(zip(found.drift["Task"]["group"], found.drift["Task"]["D"], strict=True)) == pytest.approx(
        {name: reference.shift(mine, filters, where) for name, filters in groups.items()}, rel=1e-6
    )
    models = groups_of(small / "d.h5", by="model")
    assert dict(zip(found.nearest["model"], found.nearest["D"], strict=True)) == pytest.approx(
        {name: reference.shift(mine, filters, where) for name, filters in models.items()}, rel=1e-6
    )


def test_measure_and_weighting_are_those_of_the_analysis(small: Path, tmp_path: Path) -> None:
    run(small / "d.h5", tmp_path / "r", measure="wasserstein", weighting="layers")
    state = weights_of(small / "d.h5")["m04"]
    found = compare_model(state, tmp_path / "r")
    matrix = filterdb.measure_shift(tmp_path / "r", "model", measure="wasserstein", weighting="layers").matrix
    assert (found.facts["measure"], found.facts["weighting"]) == ("wasserstein", "layers")
    for row in found.nearest.itertuples():
        assert pytest.approx(matrix.loc["m04", row.model], rel=1e-12) == row.D


def test_labels_begin_where_they_do_in_the_results(small: Path, tmp_path: Path) -> None:
    run(small / "d.h5", tmp_path / "r", labels={"low_entropy": 0.99})
    state = weights_of(small / "d.h5")["m01"]
    expected = pd.read_parquet(tmp_path / "r" / "layers.parquet").query("model == 'm01'")
    found = compare_model(state, tmp_path / "r").layers
    assert expected["low_diversity"].any()
    for name in LABELS:
        assert found[name].tolist() == expected[name].tolist()


def test_coefficients_outside_the_range_are_counted_and_told(small: Path, tmp_path: Path) -> None:
    # The range of filters that all are nearly alike is narrow.
    weights = [1 + 0.05 * random_weight((8, 4, 3, 3), seed=seed) for seed in range(3)]
    for place, weight in enumerate(weights):
        write_model(tmp_path / "zoo" / f"m{place}.onnx", conv_net([weight]))
    (tmp_path / "zoo" / "models.csv").write_text("Name,Task\nm0,a\nm1,b\nm2,b\n")
    run(make(tmp_path / "zoo", tmp_path / "d.h5"), tmp_path / "r")
    mine = random_weight((30, 30, 3, 3), seed=9)
    found = compare_model(mine, tmp_path / "r")
    where = reference.coordinates(np.concatenate([weight.reshape(-1, 9) for weight in weights]))
    expected = reference.outside(mine.reshape(-1, 9), where)
    assert expected > 100
    assert found.layers["outside"].tolist() == [expected]
    assert any(f"{expected:,} of 8,100 coefficients" in finding for finding in found.findings)


# Percentiles.


def plain_percentiles(held: results.Results, row: pd.Series, own: str | None) -> tuple[int, dict[str, float]]:
    frame = held.layers[held.layers["model"] != own].reset_index()
    if not math.isnan(row["depth"]):
        edges = [i / 10 for i in range(11)]
        deciles = pd.cut(frame["conv_depth_norm"], edges, include_lowest=True)
        mine = pd.cut(pd.Series([row["depth"]]), edges, include_lowest=True)[0]
        frame = frame[deciles == mine]
    ratio = np.maximum(frame["n"] / row["n"], row["n"] / frame["n"])
    for factor in (2, 4, 8, 16, 32, 64, 128, math.inf):
        if (ratio <= factor).sum() >= 20 or factor == math.inf:
            break
    peers = frame[ratio <= factor]
    found = {}
    for name in RANKED:
        values = peers[name].dropna()
        below, equal = (values < row[name]).mean(), (values == row[name]).mean()
        found[name] = math.nan if math.isnan(row[name]) else 100 * (below + equal / 2)
    return len(peers), found


@pytest.mark.parametrize("name", ["cls-cells-invres-fit", "ae-textures-densenet-fit", None])
def test_percentiles_are_those_of_plain_pandas(demo: Path, name: str | None) -> None:
    model = random_weight((20, 20, 3, 3)) if name is None else shipped(name)
    layers = compare_model(model, demo).layers
    held = results.load(demo)
    for _, row in layers.iterrows():
        count, expected = plain_percentiles(held, row, name)
        assert row["peers"] == count >= 20
        assert {one: row[f"{one}_percentile"] for one in RANKED} == pytest.approx(expected, nan_ok=True)


def test_a_layer_that_is_deeper_than_any_has_no_percentile_and_says_so(small: Path) -> None:
    # The models of this data set have two layers each: at the first and at the last depth.
    state = {f"l{i}.weight": random_weight((4, 4, 3, 3), seed=i) for i in range(3)}
    found = compare_model(state, small / "results")
    assert found.layers["peers"].tolist() == [5, 0, 5]
    assert found.layers["sparsity_percentile"].isna().tolist() == [False, True, False]
    assert any("no layer of the data set is as deep as l1" in note for note in found.notes)


def test_what_stands_out_is_told_in_a_sentence(demo: Path) -> None:
    sparse = random_weight((32, 32, 3, 3))
    sparse[:20] *= np.float32(1e-6)
    found = compare_model({"odd.weight": sparse, "even.weight": random_weight((32, 32, 3, 3), seed=2)}, demo)
    assert any(
        finding.startswith("odd is more sparse than all of the")
        and finding.endswith("layers of its depth and size")
        for finding in found.findings
    )
    assert found.layers.loc["odd", "sparsity_percentile"] == 100
    first = found.nearest.iloc[0]
    assert f"the nearest of 51 models is {first['model']}, {first['Task']}" in found.findings[0]
    closest = found.drift["Task"].iloc[0]
    assert any(f"closest Task: {closest['group']} (D = {closest['D']:.3f})" in one for one in found.findings)


# A model that is in the data set is not compared with itself.


def without_hashes(folder: Path, to: Path) -> Path:
    """A copy of results that know no hashes, as those of published files."""
    shutil.copytree(folder, to)
    meta = pd.read_parquet(to / "meta.parquet")
    meta["weights_sha256"] = pd.Series([None] * len(meta), index=meta.index, dtype="str")
    meta.to_parquet(to / "meta.parquet")
    return to


@pytest.mark.parametrize("hashes", [True, False])
def test_a_model_of_the_data_set_is_found_whatever_it_is_called_and_left_out(
    small: Path, tmp_path: Path, hashes: bool
) -> None:
    folder = small / "results" if hashes else without_hashes(small / "results", tmp_path / "r")
    state = {
        f"renamed.{place}": weight for place, weight in enumerate(weights_of(small / "d.h5")["m02"].values())
    }
    found = compare_model(state, folder)
    assert found.copies.to_dict("records") == [
        {"model": "m02", "model_id": 2, "same_layers": 2, "layers": 2, "same_model": True}
    ]
    assert (
        found.findings[0]
        == "the model is in the data set, as m02: 2 layers with the same weights are left out"
    )
    assert found.layers["same_weights"].str.startswith("m02: ").all()
    assert sorted(found.nearest["model"]) == ["m00", "m01", "m04", "m05"]
    assert found.layers["peers"].tolist() == [4, 4]
    sizes = found.drift["Task"].set_index("group")["models"].to_dict()
    assert sizes == {"Classification": 1, "Segmentation": 2, "Denoising": 1}
    assert any("knows no hashes" in note for note in found.notes) is not hashes


@pytest.mark.parametrize("hashes", [True, False])
def test_a_layer_that_another_model_shares_is_no_peer_but_the_model_stays(
    small: Path, tmp_path: Path, hashes: bool
) -> None:
    folder = small / "results" if hashes else without_hashes(small / "results", tmp_path / "r")
    frozen = next(iter(weights_of(small / "d.h5")["m04"].values()))
    found = compare_model({"stem.weight": frozen, "new.weight": random_weight((8, 8, 3, 3), seed=7)}, folder)
    assert found.copies.to_dict("records") == [
        {"model": "m04", "model_id": 3, "same_layers": 1, "layers": 2, "same_model": False}
    ]
    assert found.nearest.set_index("model")["same_layers"].to_dict()["m04"] == 1
    assert len(found.nearest) == 5
    assert found.layers["peers"].tolist() == [4, 5]
    assert found.findings[0] == "m04 has 1 layer with the same weights, left out of peers and groups"
    assert found.drift["Task"]["layers"].sum() == 9


def test_a_model_that_holds_another_whole_is_not_that_model(small: Path) -> None:
    state = {**weights_of(small / "d.h5")["m01"], "head.weight": random_weight((3, 3, 3, 3))}
    found = compare_model(state, small / "results")
    assert found.copies[["model", "same_layers", "layers"]].values.tolist() == [["m01", 2, 2]]
    assert found.copies["same_model"].tolist() == [False]
    assert "m01" not in set(found.nearest["model"])
    assert found.findings[0] == "m01 has 2 layers with the same weights, left out of peers and groups"


def test_a_model_of_other_weights_has_no_copy(small: Path, tmp_path: Path) -> None:
    weights = weights_of(small / "d.h5")["m02"]
    changed = {name: weight * np.float32(1 + 1e-6) for name, weight in weights.items()}
    for folder in (small / "results", without_hashes(small / "results", tmp_path / "r")):
        assert compare_model(changed, folder).copies.empty


def test_results_of_the_model_alone_leave_nothing_to_compare_with(small: Path) -> None:
    alone = filterdb.open_results(small / "results").select(models="m05")
    with pytest.raises(UsageError, match="nothing is left to compare the model with: each of the 2 layers"):
        compare_model(weights_of(small / "d.h5")["m05"], alone)


# What is compared, and with what.


def test_depth_is_the_graphs_or_the_order_of_layers_or_unknown(small: Path) -> None:
    weights = [(4, 3, 3, 3), (4, 4, 1, 1), (4, 4, 3, 3)]
    model = write_model(small / "three.onnx", conv_net(weights))
    record, _ = read_layers(model)
    graph = compare_model(model, small / "results")
    assert graph.layers["depth"].tolist() == [layer.conv_depth_norm for layer in record.layers] == [0, 1]
    assert (graph.facts["depth"], any("order" in note and "depth" in note for note in graph.notes)) == (
        "graph",
        False,
    )
    # Kernels of other sizes have a place in the order too.
    state = {f"l{place}.weight": random_weight(shape) for place, shape in enumerate([*weights, weights[1]])}
    order = compare_model(state, small / "results")
    assert order.layers["depth"].tolist() == [0, 2 / 3]
    assert order.facts["depth"] == "order"
    assert any("place in the order of the layers" in note for note in order.notes)
    array = compare_model(random_weight((4, 4, 3, 3)), small / "results")
    assert array.facts["depth"] == "unknown"
    assert array.layers[["depth", "depth_decile"]].isna().all(axis=None)
    assert array.layers["peers"].tolist() == [10]


def test_every_kind_of_input_stands_at_the_same_place(small: Path, tmp_path: Path) -> None:
    weights = {f"l{seed}": random_weight((6, 5, 3, 3), seed=seed) for seed in range(2)}
    model = write_model(tmp_path / "m.onnx", conv_net(list(weights.values())))
    np.savez(tmp_path / "m.npz", **{f"{name}.weight": weight for name, weight in weights.items()})
    state = {f"{name}.weight": weight for name, weight in weights.items()}
    found = [compare_model(one, small / "results") for one in (model, tmp_path / "m.npz", state)]
    for other in found[1:]:
        assert other.cube.rows.tobytes() == found[0].cube.rows.tobytes()
        pd.testing.assert_frame_equal(other.nearest, found[0].nearest)
        pd.testing.assert_frame_equal(other.drift["Task"], found[0].drift["Task"])
    np.save(tmp_path / "one.npy", weights["l0"])
    ours, theirs = (compare_model(one, small / "results") for one in (weights["l0"], tmp_path / "one.npy"))
    assert ours.cube.rows.tobytes() == theirs.cube.rows.tobytes()
    assert (ours.layers.index.tolist(), theirs.layers.index.tolist()) == ([""], ["one"])


def test_kernels_of_other_sizes_are_left_out_by_name(small: Path) -> None:
    state = {"a.weight": random_weight((4, 4, 3, 3)), "b.weight": random_weight((4, 4, 5, 5))}
    found = compare_model(state, small / "results")
    assert found.layers.index.tolist() == ["a"]
    assert [(layer.name, layer.reason) for layer in found.skipped] == [("b", "the kernel is 5x5, not 3x3")]


@pytest.mark.parametrize("shape", [(4, 4, 5, 5), (4, 4, 1, 9)])
def test_a_model_without_kernels_of_the_data_sets_size_is_refused(
    small: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    weight = random_weight(shape)
    np.save(tmp_path / "w.npy", weight)
    for model in (weight, {"a.weight": weight}, tmp_path / "w.npy"):
        with pytest.raises(ModelError, match=f"the kernel is {shape[2]}x{shape[3]}, not 3x3") as caught:
            compare_model(model, small / "results")
        assert caught.value.expected == "a layer with kernels of 3x3, the size of the data set's filters"


def test_a_data_set_of_other_kernels_takes_those(tmp_path: Path) -> None:
    run(make(write_zoo(tmp_path / "zoo", [0, 1, 2], kernel=5), tmp_path / "d.h5", "5x5"), tmp_path / "r")
    found = compare_model(tmp_path / "zoo" / "m01.onnx", tmp_path / "r")
    held = results.load(tmp_path / "r")
    rows = np.flatnonzero(held.meta["model"] == "m01")
    assert found.cube.rows.tobytes() == held.measured.cube.rows[rows].tobytes()
    assert found.copies["model"].tolist() == ["m01"]


def test_the_default_axes_are_those_of_the_analysis_combined_and_restricted(
    small: Path, tmp_path: Path
) -> None:
    run(small / "d.h5", tmp_path / "r", combine_with="Stars > 1", where="Stars != 4")
    found = compare_model(random_weight((9, 9, 3, 3)), tmp_path / "r")
    (name,) = found.drift
    assert name == "Task / Stars > 1"
    expected = results.load(tmp_path / "r").shifts[name].groups.set_index("group")["filters"]
    assert found.drift[name].set_index("group")["filters"].to_dict() == expected.to_dict()
    assert any("restricted to: Stars != 4" in note for note in found.notes)
    own = compare_model(random_weight((9, 9, 3, 3)), tmp_path / "r", by=["Stars", "sparsity > 0.5"])
    assert list(own.drift) == ["Stars", "sparsity > 0.5"]
    assert own.drift["Stars"]["layers"].sum() == 10


def test_a_group_that_only_the_model_is_in_is_told(small: Path) -> None:
    found = compare_model(weights_of(small / "d.h5")["m04"], small / "results", by="Stars")
    assert set(found.drift["Stars"]["group"]) == {"0", "1", "2", "5"}
    assert "Stars: no other layer is in '4'" in found.notes


def test_of_a_selection_only_the_selected_layers_are_compared_with(small: Path) -> None:
    chosen = filterdb.open_results(small / "results").select("Task == 'Segmentation'")
    mine = random_weight((9, 9, 3, 3))
    found = compare_model(mine, chosen)
    everything = compare_model(mine, filterdb.open(small / "d.h5"))
    assert found.nearest["model"].sort_values().tolist() == ["m01", "m04"]
    assert found.drift["Task"].to_dict("records") == (
        everything.drift["Task"].query("group == 'Segmentation'").to_dict("records")
    )
    assert (found.facts["layers"], found.layers["peers"].tolist()) == (4, [4])


def test_few_filters_are_a_caveat(small: Path) -> None:
    few = compare_model(random_weight((2, 2, 3, 3)), small / "results")
    assert any("4 filters are few" in note for note in few.notes)
    many = compare_model(random_weight((10, DEFAULT_BINS, 3, 3)), small / "results")
    assert not any("are few" in note for note in many.notes)


def test_layers_without_a_finite_filter_have_no_distance_and_a_reason(small: Path) -> None:
    found = compare_model(np.full((2, 2, 3, 3), np.nan, np.float32), small / "results")
    assert found.nearest["D"].isna().all()
    assert "no finite filter" in found.drift["Task"]["reason"].iloc[0]
    assert found.layers["nonfinite_filters"].tolist() == [4]


# What cannot be compared is refused.


def test_results_that_cannot_be_used_say_why(small: Path, tmp_path: Path) -> None:
    mine = random_weight((4, 4, 3, 3))
    with pytest.raises(NotADatasetError, match="no such folder") as caught:
        compare_model(mine, tmp_path / "nowhere")
    assert caught.value.hint == "filterdb analyze writes one"
    with pytest.raises(NotADatasetError, match="this is no results folder"):
        compare_model(mine, tmp_path)
    old = tmp_path / "old"
    shutil.copytree(small / "results", old)
    manifest = json.loads((old / "manifest.json").read_text())
    (old / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(NotADatasetError, match="results of format version 99"):
        compare_model(mine, old)
    manifest["settings"]["labels"] = {"low_entropy": "much"}
    (old / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptDataError, match="labels"):
        compare_model(mine, old)
    (old / "cube.npy").write_bytes(b"nothing of use")
    with pytest.raises(CorruptDataError, match="the results are damaged"):
        compare_model(mine, old)


def test_axes_that_do_not_exist_are_refused_by_the_nearest_name(small: Path) -> None:
    with pytest.raises(ColumnError, match="Tusk") as caught:
        compare_model(random_weight((4, 4, 3, 3)), small / "results", by="Tusk")
    assert "Task" in str(caught.value)
    with pytest.raises(ColumnError, match="no group to compare the model with") as caught:
        compare_model(random_weight((4, 4, 3, 3)), small / "results", by="Paper")
    assert caught.value.where == str(small / "results")


def test_what_has_no_weights_is_refused(small: Path) -> None:
    for nothing in (
        7,
        {"a": 1},
        np.zeros((3, 3)),
        small / "none.onnx",
        {"a.weight": np.ones((2, 2, 3), "f4")},
    ):
        with pytest.raises(FilterDBError):
            compare_model(nothing, small / "results")


def test_it_shows_itself_by_its_findings(small: Path) -> None:
    found = compare_model(random_weight((9, 9, 3, 3)), small / "results")
    lines = repr(found).splitlines()
    assert lines[0] == f"<Standing of 1 layer against {small / 'results'}>"
    assert [line.strip() for line in lines[1:]] == list(found.findings)


def test_the_page_shows_what_the_command_says_and_code_that_runs(demo: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "quality.md").read_text("utf-8")
    shutil.copy(shipped("cls-shapes-resnet-fit"), tmp_path / "model.onnx")
    (tmp_path / "results").symlink_to(demo)
    command = ["quality", "model.onnx", "--against", "results", "--by", "Task"]
    done = python("-m", "filterdb", *command, cwd=tmp_path)
    assert f"$ filterdb {' '.join(command)}\n{done.stdout}```" in page
    (block,) = re.findall(r"```python\n(standing = .*?)```", page, re.DOTALL)
    done = python("-W", "error", "-c", f"import filterdb\n{block}\nassert standing.findings", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=100)
