"""Pictures in the page: kernels pixel by pixel, and figures whose parts do not disturb each other."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from filterdb import figures
from filterdb.figures import Drawing
from filterdb.report import vector
from filterdb.report.blocks import Column, Table
from filterdb.report.pixels import PIXEL, strip


def pixels_of(source: str) -> np.ndarray:
    return imread(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"))), format="png")


def test_a_kernel_is_red_above_zero_blue_below_it_and_white_at_zero() -> None:
    kernels = np.array([[[1.0, 0, -1], [0.5, 0, -0.5], [np.nan, 0.1, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 1]]])
    image = strip(kernels, alt="two kernels")
    pixels = pixels_of(image.source)
    assert pixels.shape == (3, 7, 4)
    assert (image.width, image.height, image.alt) == (7 * PIXEL, 3 * PIXEL, "two kernels")
    red, white, blue = pixels[0, 0], pixels[0, 1], pixels[0, 2]
    np.testing.assert_allclose(red[:3] * 255, (178, 24, 43), atol=0.5)
    np.testing.assert_allclose(white[:3] * 255, (247, 247, 247), atol=0.5)
    np.testing.assert_allclose(blue[:3] * 255, (33, 102, 172), atol=0.5)
    np.testing.assert_array_equal(pixels[2, 6], red)
    # Half is half-way, and what is no number and what lies between kernels is nothing.
    np.testing.assert_allclose(pixels[1, 0, :3] * 255, (212.5, 135.5, 145), atol=1)
    assert pixels[2, 0, 3] == 0
    assert not pixels[:, 3, 3].any()


def test_kernels_of_zeros_are_white() -> None:
    pixels = pixels_of(strip(np.zeros((1, 3, 3)), alt="").source)
    np.testing.assert_allclose(pixels[..., :3] * 255, 247, atol=0.5)


def drawing_of(label: str) -> Drawing:
    with figures.styled():
        figure = Figure(figsize=(3, 2))
        ax = figure.add_subplot()
        ax.plot([0, 1], [0, 1], marker="o", color="#0072b2")
        ax.imshow(np.eye(3))
        ax.set_title(label)
    return Drawing(figure, None, f"About {label}")


def test_two_figures_share_no_name_and_refer_to_their_own_parts_only() -> None:
    one, other = (vector.picture(drawing_of("same"), f"figure-{k}").markup for k in range(2))
    names = [set(re.findall(r' id="([^"]+)"', markup)) for markup in (one, other)]
    assert names[0]
    assert not names[0] & names[1]
    for markup, own in zip((one, other), names, strict=True):
        referred = set(re.findall(r"url\(#([^)]+)\)", markup)) | set(re.findall(r'href="#([^"]+)"', markup))
        assert referred <= own
        assert "<style" not in markup
        assert "<metadata" not in markup


def test_ink_and_paper_follow_the_page() -> None:
    markup = vector.picture(drawing_of("title"), "figure-0").markup
    assert "fill: var(--ink)" in markup
    assert "fill: var(--paper)" in markup
    assert "#1a1a1a" not in markup


def test_a_name_in_a_figure_is_text() -> None:
    found = vector.picture(drawing_of("<script>alert(1)</script>"), "figure-0").markup
    assert "<script" not in found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found


def test_a_figure_of_very_many_shapes_becomes_a_picture_on_paper() -> None:
    drawing = drawing_of("many")
    ax = drawing.figure.axes[0]
    for k in range(3_000):
        ax.plot([k, k + 1], [0, k % 7], linewidth=0.1)
    found = vector.picture(drawing, "figure-0")
    assert found.paper
    assert found.markup.startswith('<img src="data:image/png;base64,')
    assert 'aria-labelledby="figure-0-caption"' in found.markup


def test_a_table_whose_rows_do_not_fit_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 cells"):
        Table("t", "caption", (Column("a"), Column("b")), (("only one",),))
