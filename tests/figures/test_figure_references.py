"""Every figure looks as its reference does, and a wrong one does not."""

from __future__ import annotations

import numpy as np
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
    squares,
    weight,
)
from references import FOLDER, difference

from filterdb import figures

NEAR = 4.0
"""Of 255: what other versions of fonts may move. A wrong datum moves a figure by more than twice this."""


@pytest.mark.parametrize("kind", sorted(all_kinds()))
def test_the_figure_looks_as_it_did(kind: str) -> None:
    assert difference(drawn(kind), kind) < NEAR


def test_the_references_are_small_and_all_there() -> None:
    found = {path.stem: path.stat().st_size for path in FOLDER.glob("*.png")}
    assert sorted(found) == sorted(all_kinds())
    assert sum(found.values()) < 1_000_000


def wrong() -> dict[str, figures.Drawing]:
    """Figures that each have one mistake, which a person would see."""
    groups = group_frame()
    pairs, (components, explained) = pair_frame(groups), bases(len(groups))
    turned = figures.Densities(
        density(15).grid, density(15).values[:, :, ::-1], density(15).bandwidth, exact=False
    )
    backwards = matrix_frame(groups, pairs.assign(D=pairs["D"].to_numpy()[::-1]))
    worn = model_frame().assign(degenerate_layers=lambda t: t["degenerate_layers"] // 2)
    width = figures.COLUMN
    return {
        "eigenimages": figures.eigenimages(-components, explained, groups, width=width),
        "explained_variance": figures.explained_variance(explained[:, ::-1], groups, width=width),
        "heatmap": figures.drift_heatmap(backwards, pairs, groups, axis="Task"),
        "ridges": figures.ridges(turned, groups, axis="Task", width=width),
        "metrics": figures.metrics_by_group(
            1 - layer_frame(), group_codes(15), groups, axis="Task", width=width
        ),
        "degenerate": figures.degenerate_by_model(
            worn, groups=[LONG_NAMES[i % 15] for i in range(40)], names=LONG_NAMES, axis="Task"
        ),
        "kernels": figures.layer_kernels(np.swapaxes(weight(), 2, 3), name="net / block.1"),
        "phenotypes": figures.phenotypes(
            squares()[::-1],
            LONG_NAMES[:4],
            [figures.shape_of(one, 3.3) for one in squares()[::-1]],
            limit=3.3,
            axis="Task",
            width=width,
        ),
    }


def test_a_mistake_in_a_figure_is_seen() -> None:
    found = {name: difference(drawing, name) for name, drawing in wrong().items()}
    assert {name: value for name, value in found.items() if value < 2 * NEAR} == {}
