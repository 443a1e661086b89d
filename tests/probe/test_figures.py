"""Figures of probes: every layer is in them, gaps are said, and odd names harm nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from filterdb.figures.probes import cka_heatmap, saturation_bars, sparsity_scores
from filterdb.figures.probes_names import shown


def pairs(a: int, b: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(i, j, f"enc.{i}", f"dec.{j}", rng.uniform()) for i in range(a) for j in range(b)]
    return pd.DataFrame(rows, columns=["position_a", "position_b", "layer_a", "layer_b", "cka"])


def layers(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"layer": [f"block.{i}" for i in range(count)]})
    for name in ("saturation", "alpha", "ari", "ami", "fmi"):
        table[name] = rng.uniform(size=count)
    return table.assign(tail=np.arange(count) >= count - 2, reason="")


def test_the_heatmap_has_every_pair_in_its_place() -> None:
    table = pairs(3, 5).sample(frac=1, random_state=0)
    drawing = cka_heatmap(table, models=("a", "b"))
    values = drawing.figure.axes[0].images[0].get_array()
    for row in table.itertuples():
        assert values[row.position_a, row.position_b] == row.cka
    names = [label.get_text() for label in drawing.figure.axes[0].get_xticklabels()]
    assert names == [f"dec.{j}" for j in range(5)]


def test_what_is_not_defined_is_grey_and_said() -> None:
    table = pairs(3, 3)
    table.loc[4, "cka"] = np.nan
    drawing = cka_heatmap(table, models=("a", "b"))
    assert drawing.figure.axes[0].images[0].get_array().mask.sum() == 1
    assert "not defined (1 of 9 pairs)" in drawing.caption
    empty = layers(4).assign(saturation=np.nan, alpha=np.nan, tail=False)
    assert "not defined (4 layers)" in saturation_bars(empty, model="m").caption
    assert "not defined (4 layers)" in sparsity_scores(empty, model="m").caption


def test_the_tail_is_marked_where_there_is_one() -> None:
    drawing = saturation_bars(layers(6), model="m")
    lines = [line for line in drawing.figure.axes[0].get_lines() if line.get_gid() == "tail"]
    assert [line.get_ydata()[0] for line in lines] == [3.5]
    assert len({bar.get_facecolor() for bar in drawing.figure.axes[0].patches}) == 2
    assert "Orange: the tail, 2 layers." in drawing.caption
    flat = saturation_bars(layers(6).assign(tail=False), model="m")
    assert "No tail." in flat.caption


def test_scores_are_drawn_layer_by_layer() -> None:
    table = layers(5)
    drawing = sparsity_scores(table, model="m")
    line = drawing.figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == table["alpha"].tolist()
    assert drawing.data.equals(table)


@pytest.mark.parametrize(("a", "b"), [(4, 151), (151, 4), (151, 151), (3, 5)])
def test_both_sides_of_a_heatmap_can_be_read_whatever_its_shape(a: int, b: int) -> None:
    figure = cka_heatmap(pairs(a, b), models=("a", "b")).figure
    ax = figure.axes[0]
    box = ax.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    assert min(box.width, box.height) > 0.3
    assert figure.get_size_inches()[1] <= 14.01
    if a == 4:
        assert len(ax.get_yticks()) == 4
    if a == b or a == 3:
        assert box.width / b == pytest.approx(box.height / a, rel=1e-3)
    for labels, pitch in ((ax.get_yticklabels(), box.height / a), (ax.get_xticklabels(), box.width / b)):
        step = -(-(a if labels is ax.get_yticklabels() else b) // len(labels))
        assert labels[0].get_fontsize() <= 72 * pitch * max(1, step) * 1.3


def test_scores_and_agreements_have_axes_of_their_own() -> None:
    table = layers(5)
    table.loc[2, ["ari", "ami", "fmi"]] = np.nan
    figure = sparsity_scores(table, model="m").figure
    score, agreement = figure.axes
    boxes = [ax.get_window_extent() for ax in (score, agreement)]
    assert boxes[0].x1 < boxes[1].x0
    assert boxes[0].y0 == pytest.approx(boxes[1].y0)
    assert len(score.get_lines()) == 1
    found = {line.get_label(): line.get_xdata() for line in agreement.get_lines()}
    for name in ("ari", "ami", "fmi"):
        np.testing.assert_array_equal(found[name.upper()], table[name])
    assert len(agreement.patches) == 1


def test_an_operator_goes_from_the_end_of_a_name_and_nothing_else() -> None:
    fire = [f"fire0/conv{i}" for i in range(4)]
    assert shown(fire, ["Conv"] * 4, 30) == fire
    assert shown(["/a/Conv", "/b/Conv_1", "head"], ["Conv", "Conv", "Gemm"], 30) == ["a", "b", "head"]
    assert shown(["/a/Conv", "/a/Gemm"], ["Conv", "Gemm"], 30) == ["a/Conv", "a/Gemm"]
    assert shown(["/a/Conv"], [""], 30) == ["a/Conv"]


def test_what_long_names_begin_with_alike_goes_from_all_of_them() -> None:
    names = ["features.5.first.conv", "features.5.second.conv", "features.12.x", "head"]
    assert shown(names, [""] * 4, 21) == ["…5.first.conv", "…5.second.conv", "…12.x", "head"]
    assert shown(names, [""] * 4, 22) == names
    # One name alone has nothing in common, and what is cut in the middle keeps both ends.
    assert shown(["encoder.layer.query", "head"], [""] * 2, 11) == ["encod…query", "head"]
    assert shown(["same" * 9, "same" * 9], [""] * 2, 9)[1].endswith("~2")
    # Beside a name that is short already, no other becomes the same.
    assert len(set(shown(["…b", "long.long.b", "long.long.c"], [""] * 3, 8))) == 3


@pytest.mark.parametrize("count", [1, 30, 400])
def test_any_number_of_layers_and_any_name_are_drawn_without_a_warning(count: int) -> None:
    odd = ["$x^$", "漢字" * 40, "", "a\x1b[31m", "same", "same"]
    table = layers(count)
    table["layer"] = [odd[i % len(odd)] for i in range(count)]
    assert saturation_bars(table, model="$m$").render("png", dpi=60)[:4] == b"\x89PNG"
    assert b"<svg" in sparsity_scores(table, model="m").render("svg")
    wide = pairs(min(count, 60), 2)
    assert b"<svg" in cka_heatmap(wide, models=("a" * 300, "b")).render("svg")


def test_the_spread_of_forests_and_shuffled_labels_are_drawn_where_there_are_any() -> None:
    table = layers(4).assign(alpha_sd=[0.1, 0.2, np.nan, 0.1], alpha_shuffled=[0.3, 0.4, 0.5, np.nan])
    drawing = sparsity_scores(table, model="m")
    score = drawing.figure.axes[0]
    ends = np.array([bar[:, 0] for bar in score.collections[0].get_segments() if len(bar)])
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], [0.2, 0.4, 0.2])
    np.testing.assert_array_equal(score.get_lines()[1].get_xdata(), table["alpha_shuffled"])
    assert "Bars: standard deviation of forests. Ticks: labels shuffled." in drawing.caption
    plain = sparsity_scores(layers(4).assign(alpha_sd=np.nan, alpha_shuffled=np.nan), model="m")
    assert len(plain.figure.axes[0].get_lines()) == 1
    assert "Bars" not in plain.caption


def test_without_clusters_there_is_one_panel() -> None:
    drawing = sparsity_scores(layers(4).assign(ari=np.nan, ami=np.nan, fmi=np.nan), model="m")
    assert len(drawing.figure.axes) == 1
    assert "clusters" not in drawing.caption
