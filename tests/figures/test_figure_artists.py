"""What figures are made of: names, numbers, marks and order; at both widths nothing lies on anything else."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from drawings import (
    LONG_NAMES,
    all_kinds,
    bases,
    density,
    drawn,
    group_codes,
    group_frame,
    layer_frame,
    matrix_frame,
    model_frame,
    pair_frame,
    rng,
    squares,
    weight,
)
from matplotlib.axes import Axes
from matplotlib.text import Text

from filterdb import figures
from filterdb.figures import Drawing
from filterdb.figures.labels import columns, compact, component, shortened, titled
from filterdb.figures.scatter import joined_bins
from seldom import seldom

WIDTHS = [figures.COLUMN, figures.DOUBLE]
GROUPS = group_frame()
PAIRS = pair_frame(GROUPS)
MATRIX = matrix_frame(GROUPS, PAIRS)


def texts(drawing: Drawing) -> list[Text]:
    found = drawing.figure.findobj(Text)
    beyond = {id(label) for ax in drawing.figure.axes for label in ticks_beyond(ax)}
    shown = [text for text in found if text.axes is None or text.axes.get_visible()]
    return [one for one in shown if one.get_visible() and one.get_text().strip() and id(one) not in beyond]


def ticks_beyond(ax: Axes) -> list[Text]:
    """Return labels of ticks that lie beyond the ends of an axis, and are not drawn."""
    found = []
    for which, labels in enumerate((ax.get_xticklabels(), ax.get_yticklabels())):
        low, high = sorted((ax.get_xlim(), ax.get_ylim())[which])
        margin = 1e-6 * (high - low)
        found += [one for one in labels if not low - margin <= one.get_position()[which] <= high + margin]
    return found


def said(drawing: Drawing) -> str:
    return "\n".join(text.get_text() for text in texts(drawing))


def row_names(ax: Axes) -> list[str]:
    return [label.get_text().strip() for label in ax.get_yticklabels() if label.get_text().strip()]


def overlaps(drawing: Drawing) -> Iterator[tuple[str, str]]:
    """Yield labels that stand upright or lie flat and cover each other."""
    flat = [text for text in drawing_labels(drawing) if text.get_rotation() in (0.0, 90.0)]
    boxes = [(text.get_text().strip(), text.get_window_extent()) for text in flat]
    for (a, first), (b, second) in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        # A label of two lines has room in its second line for the sizes.
        if across > 2 and along > 0.35 * min(first.height, second.height):
            yield a, b


def drawing_labels(drawing: Drawing) -> list[Text]:
    figure = drawing.figure
    outside = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    ticks = [
        label
        for ax in drawing.figure.axes
        for label in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title, ax.xaxis.label, ax.yaxis.label)
    ]
    drawn = {id(text) for text in texts(drawing)}
    return [text for text in (*outside, *ticks) if id(text) in drawn]


@pytest.mark.parametrize("width", [WIDTHS[0], seldom(WIDTHS[1])])
@pytest.mark.parametrize("kind", sorted(all_kinds()))
def test_labels_are_inside_the_page_apart_from_each_other_and_large_enough(kind: str, width: float) -> None:
    drawing = drawn(kind, width)
    figure = drawing.figure
    assert figure.get_size_inches()[0] == pytest.approx(width)
    assert figure.get_size_inches()[1] < 11
    page = figure.bbox
    for text in texts(drawing):
        box = text.get_window_extent()
        if box.width:
            assert box.x0 >= page.x0 - 3, text.get_text()
            assert box.x1 <= page.x1 + 3, text.get_text()
            assert box.y0 >= page.y0 - 3, text.get_text()
            assert box.y1 <= page.y1 + 3, text.get_text()
        assert text.get_fontsize() >= 4.2
    assert list(overlaps(drawing)) == []


@pytest.mark.parametrize("kind", sorted(all_kinds()))
def test_every_figure_has_numbers_and_a_caption(kind: str) -> None:
    drawing = drawn(kind)
    assert len(drawing.data) > 0
    assert drawing.data.columns.is_unique
    assert drawing.caption.endswith(".")
    assert len(drawing.csv().splitlines()) == len(drawing.data) + 1


@pytest.mark.parametrize("kind", ["heatmap", "ridges", "kernels"])
def test_files_are_the_same_bytes_each_time_and_svg_text_is_text(kind: str) -> None:
    first, second = drawn(kind), all_kinds()[kind]()
    for one in figures.KINDS:
        assert first.render(one, dpi=100) == second.render(one, dpi=100) == first.render(one, dpi=100)
    svg = first.render("svg").decode()
    assert "<text" in svg
    assert "DejaVu Sans" in svg
    assert "<dc:date>" not in svg
    assert first.caption.split(".")[0][:40] in svg
    assert b"Software" not in first.render("png")


def test_no_state_is_left_behind_and_pyplot_is_not_loaded() -> None:
    before = dict(mpl.rcParams)
    all_kinds()["boxes"]()
    assert dict(mpl.rcParams) == before
    program = "import filterdb.figures, sys; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_style_that_somebody_set_changes_nothing() -> None:
    plain = all_kinds()["boxes"]().render("png", dpi=60)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": False}):
        assert all_kinds()["boxes"]().render("png", dpi=60) == plain


# --- eigenimages and explained variance


def test_eigenimages_are_the_components_on_one_scale_around_zero() -> None:
    components, explained = bases(15)
    drawing = figures.eigenimages(components, explained, GROUPS)
    images = drawing.figure.axes[0].images
    assert len(images) == 15 * 9
    assert np.array_equal(np.asarray(images[10].get_array()), components[1, 1].reshape(3, 3))
    assert {image.get_clim() for image in images} == {(-np.abs(components).max(), np.abs(components).max())}
    assert f"{explained[3, 2]:.1%}\n{explained[3, :3].sum():.1%}" in said(drawing)
    row = drawing.data[(drawing.data["group"] == LONG_NAMES[3]) & (drawing.data["component"] == 3)].iloc[0]
    assert row["cumulative"] == pytest.approx(explained[3, :3].sum())
    assert row["loading_4"] == components[3, 2, 4]


def test_shares_of_variance_add_up_along_each_row() -> None:
    _, explained = bases(15)
    drawing = figures.explained_variance(explained, GROUPS)
    bars = drawing.figure.axes[0].patches
    inside = [text.get_text() for text in drawing.figure.axes[0].texts if text.get_text().startswith("c")]
    assert f"{component(0)}\n{explained[0, 0]:.0%}" in inside
    assert all("%" in text for text in inside)
    ends = [bar.get_x() + bar.get_width() for bar in bars if bar.get_y() == bars[0].get_y()]
    assert ends == pytest.approx(np.cumsum(explained[0]).tolist())


def test_more_components_than_fit_are_said() -> None:
    explained = np.full((1, 25), 1 / 25)
    components = np.eye(25)[None]
    drawing = figures.explained_variance(explained, GROUPS[:1])
    assert "the other 16 components" in said(drawing)
    assert (
        len(figures.eigenimages(components, explained, GROUPS[:1], kernel=(5, 5)).figure.axes[0].images) == 9
    )


def test_the_covariance_image_is_centred_on_zero_and_says_n() -> None:
    covariance = np.diag(np.arange(9.0)) - 0.5
    drawing = figures.covariance_image(covariance, sizes=GROUPS[:1])
    image = drawing.figure.axes[0].images[0]
    assert image.get_clim() == (-7.5, 7.5)
    assert np.array_equal(np.asarray(image.get_array()), covariance)
    assert "n = 1,000 filters, 20 layers, 3 models" in said(drawing)


# --- drift


def marks(drawing: Drawing, kind: str) -> int:
    return sum(patch.get_gid() == kind for patch in drawing.figure.axes[0].patches)


def test_the_heatmap_keeps_order_values_and_symmetry() -> None:
    drawing = figures.drift_heatmap(MATRIX, PAIRS, GROUPS, axis="Task", width=figures.DOUBLE)
    ax = drawing.figure.axes[0]
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    expected = MATRIX.to_numpy().copy()
    np.fill_diagonal(expected, np.nan)
    assert np.array_equal(shown, expected, equal_nan=True)
    assert [name.rstrip("†")[:9] for name in row_names(ax)] == [name[:9] for name in LONG_NAMES]
    assert ax.images[0].cmap.name == "viridis"
    assert ax.images[0].get_clim()[0] == 0


def test_cells_that_may_be_chance_and_cells_that_were_not_tested_are_marked() -> None:
    drawing = figures.drift_heatmap(MATRIX, PAIRS, GROUPS, axis="Task")
    chance, untested = int((PAIRS["p_holm"] >= 0.05).sum()), int(PAIRS["p_holm"].isna().sum())
    assert chance > 0
    assert untested > 0
    assert marks(drawing, "chance") == 2 * chance
    assert marks(drawing, "untested") == 2 * untested
    words = said(drawing).replace("\n", " ")
    assert f"not distinguishable from chance (Holm-adjusted p ≥ 0.05): {chance} of 105 pairs" in words
    assert "† too few models to test: fewer than 5" in words
    few = (GROUPS["models"] < 5).tolist()
    assert [name.endswith("†") for name in row_names(drawing.figure.axes[0])] == few


def test_p_of_exactly_the_level_is_not_beyond_chance() -> None:
    pairs = PAIRS.assign(p_holm=0.05)
    assert marks(figures.drift_heatmap(MATRIX, pairs, GROUPS, axis="Task"), "chance") == 210
    pairs = PAIRS.assign(p_holm=0.0499)
    drawing = figures.drift_heatmap(MATRIX, pairs, GROUPS, axis="Task")
    assert marks(drawing, "chance") == 0
    assert "All tested pairs are distinguishable" in said(drawing)


def test_of_many_groups_the_largest_are_shown_and_it_is_said() -> None:
    drawing = figures.drift_heatmap(MATRIX, PAIRS, GROUPS, axis="Task", most=4)
    largest = GROUPS.nlargest(4, "filters").sort_index()["group"]
    assert [name[:8] for name in row_names(drawing.figure.axes[0])] == [name[:8] for name in largest]
    assert "The 4 largest of 15 groups are shown." in said(drawing).replace("\n", " ")


def test_intervals_show_the_largest_pairs_with_low_high_and_chance() -> None:
    drawing = figures.drift_intervals(PAIRS, axis="Task", most=20)
    ordered = PAIRS.sort_values("D", ascending=False).reset_index(drop=True)
    assert drawing.data["D"].tolist() == ordered["D"].tolist()
    ax = drawing.figure.axes[0]
    dots = [line for line in ax.lines if line.get_gid()]
    assert [float(line.get_xdata()[0]) for line in dots] == ordered["D"].head(20).tolist()
    tested = ordered.head(20)["p_holm"].notna().tolist()
    assert [line.get_gid() == "tested" for line in dots] == tested
    spans = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    rows = ordered.head(20)[["low", "high"]].dropna().to_numpy().tolist()
    assert spans == rows
    hollow = [line.get_markerfacecolor() == "white" for line in dots]
    assert hollow == (ordered.head(20)["p_holm"] >= 0.05).tolist()
    words = said(drawing).replace("\n", " ")
    assert f"105 pairs; {int(PAIRS['p_holm'].notna().sum())} of all 105 could be tested" in words
    assert "p is Holm-adjusted" in words
    assert "n = " in said(figures.drift_intervals(PAIRS, GROUPS, axis="Task"))


def test_boxes_hold_every_pair_of_each_axis() -> None:
    drawing = figures.drift_boxes({"Task": PAIRS, "depth_decile": PAIRS[:9], "none": PAIRS[:0]})
    ax = drawing.figure.axes[0]
    dots = sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o")
    assert dots == 105 + 9
    assert row_names(ax) == ["Task\n105 pairs", "depth decile\n9 pairs", "none\n0 pairs"]
    assert "no pair to compare" in said(drawing)


# --- ridges, scatter, phenotypes


def test_ridges_stand_in_the_order_of_the_groups_in_their_colours() -> None:
    drawing = figures.ridges(density(15), GROUPS, axis="Task", width=figures.DOUBLE)
    panels = [ax for ax in drawing.figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == [f"c{i}" for i in "₁₂₃₄₅₆₇₈₉"]
    colours = figures.group_colours(LONG_NAMES)
    for ax in panels:
        assert len(ax.collections) == 15
        filled = [mpl.colors.to_hex(one.get_facecolor()[0]) for one in ax.collections]
        assert filled == [colours[name] for name in LONG_NAMES]
    one = drawing.data[(drawing.data["group"] == LONG_NAMES[2]) & (drawing.data["component"] == 5)]
    assert one["density"].tolist() == density(15).values[2, 4, ::4].tolist()


def test_a_group_has_the_same_colour_in_every_figure() -> None:
    codes = group_codes(15)
    drawing = figures.metrics_by_group(layer_frame(), codes, GROUPS, axis="Task", most=6)
    boxes = drawing.figure.axes[0].patches
    shown = GROUPS.nlargest(6, "filters").sort_index()["group"]
    colours = figures.group_colours(LONG_NAMES)
    assert [mpl.colors.to_hex(box.get_facecolor()[:3]) for box in boxes] == [colours[name] for name in shown]


def test_scatter_densities_are_on_a_logarithmic_scale_from_1e_5() -> None:
    pairs = list(itertools.combinations(range(4), 2))
    counts = np.concatenate([squares(), squares()[:2]])
    drawing = figures.scatter_density(counts, pairs, limit=3.3)
    images = [image for ax in drawing.figure.axes for image in ax.images]
    assert len(images) == 6
    assert {(image.norm.vmin, image.norm.vmax) for image in images} == {(1e-5, 1)}
    assert {tuple(image.get_extent()) for image in images} == {(-3.3, 3.3, -3.3, 3.3)}
    assert all(np.ma.max(image.get_array()) == 1 for image in images)
    assert drawing.data.groupby("pair")["filters"].sum().to_dict() == {
        f"c{a + 1}, c{b + 1}": int(counts[i].sum()) for i, (a, b) in enumerate(pairs)
    }


def test_panels_that_are_compared_have_bins_of_one_size() -> None:
    draws = rng(11)
    dense, thin = draws.normal(size=(400_000, 2)) * 0.5, draws.normal(size=(2_000, 2)) * 0.5
    # A heap of equal filters is no reason to draw the others one by one.
    thin[:60] = 0.01
    counts = np.stack([figures.pair_counts(*xy.T, 3.3) for xy in (dense, thin)])
    assert joined_bins(counts[:1]).shape == (1, 512, 512)
    assert joined_bins(counts).shape == (2, 64, 64)
    assert joined_bins(counts).sum(axis=(1, 2)).tolist() == counts.sum(axis=(1, 2)).tolist()
    shapes = [figures.shape_of(one, 3.3) for one in counts]
    drawing = figures.phenotypes(counts, ["many", "few"], shapes, limit=3.3)
    sides = {ax.images[0].get_array().shape for ax in drawing.figure.axes if ax.images}
    assert sides == {(64, 64)}


def test_the_phenotype_stands_above_each_panel() -> None:
    shapes = [figures.shape_of(one, 3.3) for one in squares()]
    drawing = figures.phenotypes(squares(), LONG_NAMES[:4], shapes, limit=3.3, axis="Task", of=33)
    words = said(drawing)
    assert [words.count(f"{name}, n = 20k") for name in figures.PHENOTYPES] == [1, 1, 1, 1]
    assert "The 4 largest of 33 groups are shown." in words.replace("\n", " ")
    layers = figures.phenotypes(squares()[:1], list(LONG_NAMES[:4]), shapes, limit=3.3, kind="layer")
    assert "Of 4 layers: 1 sun, 1 spikes, 1 symbols, 1 point." in said(layers).replace("\n", " ")


# --- quality


def test_boxes_are_quartiles_and_small_groups_are_dots() -> None:
    layers, codes = layer_frame(), group_codes(15)
    drawing = figures.metrics_by_group(layers, codes, GROUPS, axis="Task")
    ax = drawing.figure.axes[0]
    values = layers["sparsity"].to_numpy()[codes == 4]
    box = ax.patches[4].get_path().get_extents()
    assert (box.x0, box.x1) == pytest.approx(tuple(np.quantile(values, (0.25, 0.75))))
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert sorted(dots[0].get_xdata()) == sorted(layers["sparsity"].to_numpy()[codes == 0])
    assert len(dots) == 1
    row = drawing.data.query("metric == 'sparsity' and group == @LONG_NAMES[4]").iloc[0]
    assert row["q50"] == pytest.approx(np.median(values))
    assert row["layers"] == len(values)


def test_undefined_metrics_are_left_out_and_counted() -> None:
    layers, codes = layer_frame(), group_codes(15)
    drawing = figures.metrics_by_group(layers, codes, GROUPS, axis="Task", metrics=("orthogonality",))
    undefined = int(layers["orthogonality"].isna()[codes >= 0].sum())
    assert f"{undefined} of orthogonality" in said(drawing)
    assert drawing.data["undefined"].sum() == undefined


def test_models_are_ranked_by_their_share_of_degenerate_layers() -> None:
    drawing = figures.degenerate_by_model(model_frame(), most=10)
    shares = [bar.get_width() for bar in drawing.figure.axes[0].patches]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 10
    first = drawing.data.iloc[0]
    assert f"{first['degenerate_layers']} of {first['layers']}" in said(drawing)
    with_any = int((model_frame()["degenerate_layers"] > 0).sum())
    assert f"{with_any} of 40 models have a degenerate layer" in said(drawing)


def test_no_degenerate_model_is_said_too() -> None:
    drawing = figures.degenerate_by_model(model_frame().assign(degenerate_layers=0))
    assert "0 of 40 models" in said(drawing)


# --- filters


def test_kernels_are_where_their_channels_are() -> None:
    drawing = figures.layer_kernels(weight(), name="layer")
    image = np.ma.filled(drawing.figure.axes[0].images[0].get_array(), np.nan)
    for out, into in ((0, 0), (3, 5), (11, 7)):
        top, left = out * 15, into * 15
        part = image[top : top + 12 : 4, left : left + 12 : 4]
        assert np.array_equal(part, weight()[out, into])
    limit = float(np.abs(weight()).max())
    assert drawing.figure.axes[0].images[0].get_clim() == (-limit, limit)


def test_filters_that_are_zero_or_hold_nan_can_be_drawn() -> None:
    layers = [np.zeros((4, 3, 3)), np.full((2, 3, 3), np.nan), np.eye(3)[None]]
    drawing = figures.first_filters(layers, ["zero", "nan", "one"], model="m", sizes=[4, 2, 1])
    assert np.nanmax(np.ma.filled(drawing.figure.axes[0].images[0].get_array(), np.nan)) == 1
    figures.layer_kernels(np.full((2, 2, 3, 3), np.nan), name="nan").render("png", dpi=50)


# --- what nobody expects


@pytest.mark.parametrize("width", [WIDTHS[0], seldom(WIDTHS[1])])
@pytest.mark.parametrize(
    "names", [("only",), ("a", "b"), ("x" * 3000, "x" * 2999 + "y"), ("$\\frac{", "_^", " ")]
)
def test_any_number_of_groups_and_any_name_can_be_drawn(names: tuple[str, ...], width: float) -> None:
    for kind, draw in all_kinds(width, names).items():
        if kind in ("intervals", "boxes", "heatmap") and len(names) < 2:
            continue
        if kind in ("phenotypes", "degenerate"):
            continue
        drawing = draw()
        assert drawing.render("png", dpi=50)
        assert drawing.figure.get_size_inches()[1] < 12
        for text in texts(drawing):
            assert len(max(text.get_text().split("\n"), key=len)) < 200


@pytest.mark.parametrize("names", [("日本語", "العربية"), ("tab\tand\nline", "\x1b[31mred")])
def test_names_in_other_scripts_and_with_control_characters_are_whole_in_the_table(
    names: tuple[str, ...],
) -> None:
    groups = group_frame(names)
    drawing = figures.drift_heatmap(
        matrix_frame(groups, pair_frame(groups)), pair_frame(groups), groups, axis="Task"
    )
    assert drawing.render("svg")
    assert set(drawing.data["group_a"]) <= set(names)
    assert "\x1b" not in said(drawing)


def test_pairs_without_a_distance_are_grey_and_said() -> None:
    pairs = PAIRS.assign(D=np.nan, p_holm=np.nan, low=np.nan, high=np.nan, null_mean=np.nan)
    matrix = MATRIX * np.nan
    drawing = figures.drift_heatmap(matrix, pairs, GROUPS, axis="Task")
    assert "no distance" in said(drawing).replace("\n", " ")
    assert "105 pairs without a distance" in figures.drift_intervals(pairs, axis="Task").caption
    figures.drift_boxes({"Task": pairs}).render("png", dpi=50)


def test_groups_without_a_layer_or_a_filter_can_be_drawn() -> None:
    codes = np.full(600, -1)
    figures.metrics_by_group(layer_frame(), codes, GROUPS, axis="Task").render("png", dpi=50)
    values = np.full((2, 9, 1024), np.nan)
    empty = figures.Densities(density(2).grid, values, values[..., 0], exact=True)
    drawing = figures.ridges(empty, GROUPS[:2], axis="Task")
    assert "Without a coefficient in the range: Image Classification" in said(drawing).replace("\n", " ")
    nothing = np.zeros((1, 512, 512), np.uint32)
    assert "no filter" in said(figures.scatter_density(nothing, [(0, 1)], limit=3.3))


def test_names_are_shortened_and_stay_apart() -> None:
    assert shortened(["short", "a name that is long"], 10) == ["short", "a name th…"]
    alike = shortened(["encoder.layer.1", "encoder.layer.2", "other"], 9)
    assert len(set(alike)) == 3
    assert all(len(name) <= 9 for name in alike)
    assert len(set(shortened(["same", "same", "same"], 10))) == 3


def test_names_in_wide_letters_are_cut_by_their_width() -> None:
    assert shortened(["日本語の長い名前", "日本"], 8) == ["日本語…", "日本"]
    alike = shortened(["日本語の長い名前一", "日本語の長い名前二"], 9)
    assert len(set(alike)) == 2
    assert all(columns(name) <= 9 for name in alike)
    groups = group_frame(("日本語のとても長い名前" * 6, "short"))
    pairs = pair_frame(groups)
    drawing = figures.drift_heatmap(matrix_frame(groups, pairs), pairs, groups, axis="Task")
    ax = drawing.figure.axes[0]
    assert ax.get_window_extent().width > 0.25 * drawing.figure.bbox.width


def test_a_name_is_not_cut_behind_a_point() -> None:
    assert shortened(["encoder.1.layers.0.conv"], 20) == ["encoder.1.layers.0…"]


def test_a_layer_stands_below_its_model_where_one_line_is_too_short() -> None:
    assert titled("net / block.1", 20) == "net / block.1"
    assert titled("a-network / /features/block.1", 20) == "a-network\n/features/block.1"
    assert titled("a" * 30, 10) == "a" * 9 + "…"


@pytest.mark.parametrize("kind", ["eigenimages", "explained_variance", "heatmap", "ridges", "metrics"])
def test_numbers_below_a_name_are_explained_where_they_stand_alone(kind: str) -> None:
    few = ("Task A", "Task B")
    narrow, wide = (said(all_kinds(width, few)[kind]()).replace("\n", " ") for width in WIDTHS)
    explained = "Below each name: filters · layers · models."
    assert "1k · 20 · 3" in narrow
    assert explained in narrow
    assert ("1k filters, 20 layers, 3 models" in wide) == (explained not in wide)


def test_numbers_are_short() -> None:
    assert [compact(n) for n in (0, 812, 999, 1_000, 12_345, 999_600, 1_464_797_156)] == [
        *("0", "812", "999", "1k", "12.3k", "1M", "1.46G"),
    ]


def test_colours_do_not_depend_on_order_and_differ() -> None:
    names = [f"group {i}" for i in range(30)]
    forward, backward = figures.group_colours(names), figures.group_colours(names[::-1])
    assert forward == backward
    assert len(set(forward.values())) == 30
    few = figures.group_colours(["Classification", "Segmentation"])
    assert few["Classification"] != few["Segmentation"]
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in forward.values())
    steps = list(figures.group_colours(names, ordered=True).values())
    lightness = [sum(mpl.colors.to_rgb(colour)) for colour in steps]
    assert lightness[0] < lightness[-1]


def test_captions_say_how_large_the_sample_is() -> None:
    total = f"n = {GROUPS['filters'].sum():,} filters"
    for kind in ("heatmap", "ridges", "metrics"):
        assert total in drawn(kind).caption


def test_frames_given_are_not_changed() -> None:
    before = pd.util.hash_pandas_object(PAIRS).sum(), pd.util.hash_pandas_object(GROUPS).sum()
    figures.drift_heatmap(MATRIX, PAIRS, GROUPS, axis="Task")
    figures.drift_intervals(PAIRS, axis="Task")
    assert (pd.util.hash_pandas_object(PAIRS).sum(), pd.util.hash_pandas_object(GROUPS).sum()) == before
