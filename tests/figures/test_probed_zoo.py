"""The figures of a probed zoo: each layer has its cell, place and colour; the interval is over models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from scipy import stats

from filterdb.figures import style
from filterdb.figures.probed_zoo import layers_against, rank_correlation, zoo_strips


def table(models: int = 6, layers: int = 5, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "model": np.repeat([f"m{i:02}" for i in range(models)], layers),
            "position": np.tile(np.arange(layers), models),
            "value": rng.uniform(size=models * layers),
            "x": rng.normal(size=models * layers),
            "conv_depth_norm": np.tile(np.linspace(0, 1, layers), models),
        }
    )


def test_each_layer_has_a_cell_and_models_are_ordered_by_their_mean() -> None:
    data = table()
    data.loc[3, "value"] = np.nan
    drawing = zoo_strips(data, value="value", title="saturation")
    ax = drawing.figure.axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    means = data.groupby("model")["value"].mean()
    assert names == means.sort_values().index.tolist()
    cells = next(one for one in ax.collections if isinstance(one, PolyCollection))
    drawn = {}
    for path, value in zip(cells.get_paths(), np.ma.getdata(cells.get_array()), strict=True):
        left, top = path.vertices[:4].min(axis=0)
        drawn[names[round(top + 0.4)], round(left * 5)] = value
    assert len(drawn) == len(data)
    for row in data.itertuples():
        np.testing.assert_equal(drawn[row.model, row.position], row.value)
    assert "n = 30 layers of 6 models. Grey: not defined (1 layer)." in drawing.caption


def test_models_whose_names_begin_alike_are_told_apart() -> None:
    names = [
        "cls-fractals-resnet-over",
        "cls-fractals-resnet-over-untrained",
        "seg-fractals-unet-fit-untrained",
    ]
    data = table(3)
    data["model"] = np.repeat(names, 5)
    ax = zoo_strips(data, value="value", title="saturation").figure.axes[0]
    said = {label.get_text() for label in ax.get_yticklabels()}
    assert len(said) == 3
    assert sum(text.endswith("-untrained") for text in said) == 2
    assert names[0] in said


def test_models_of_any_depth_reach_from_the_first_to_the_last_layer() -> None:
    data = pd.concat([table(1, 3), table(1, 40, seed=1).assign(model="long")])
    ax = zoo_strips(data, value="value", title="saturation").figure.axes[0]
    vertices = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    assert vertices[:, 0].min() == 0
    assert vertices[:, 0].max() == pytest.approx(1)
    assert len(ax.collections[0].get_paths()) == 43


def test_very_many_models_are_shown_evenly_and_it_is_said() -> None:
    drawing = zoo_strips(table(400, 2), value="value", title="saturation", width=style.DOUBLE)
    assert "120 of the models are shown, evenly." in drawing.caption
    assert drawing.figure.get_size_inches()[1] <= 14.01
    assert len(drawing.data) == 800


def test_the_rank_correlation_is_spearmans() -> None:
    data = table(12, 8)
    rank, low, high = rank_correlation(data, "x", "value")
    assert rank == pytest.approx(stats.spearmanr(data["x"], data["value"]).statistic, abs=1e-12)
    assert low < rank < high
    assert (rank, low, high) == rank_correlation(data, "x", "value")
    assert rank_correlation(data, "x", "value", seed=1)[0] == rank


def test_layers_of_a_model_are_not_taken_for_independent() -> None:
    # Each model has one value in all its layers: there is no more to know than of 12 points.
    data = table(12, 40)
    rng = np.random.default_rng(5)
    for name in ("x", "value"):
        data[name] = np.repeat(rng.normal(size=12), 40) + 1e-6 * rng.normal(size=480)
    _, low, high = rank_correlation(data, "x", "value")
    assert high - low > 0.6
    apart = data.assign(model=np.arange(480).astype(str))
    _, low, high = rank_correlation(apart, "x", "value")
    assert high - low < 0.3


def test_few_models_and_constant_values_have_no_interval() -> None:
    assert np.isnan(rank_correlation(table(4, 9), "x", "value")[1:]).all()
    assert np.isnan(rank_correlation(table(8, 3).assign(x=1.0), "x", "value")).all()


def test_a_point_is_a_layer_that_has_both() -> None:
    data = table()
    data.loc[0, "x"] = np.nan
    data.loc[7, "value"] = np.nan
    drawing = layers_against(data, x="x", y="value", titles=("entropy", "saturation"))
    ax = drawing.figure.axes[0]
    known = data.dropna()
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), known[["x", "value"]])
    np.testing.assert_array_equal(ax.collections[0].get_array(), known["conv_depth_norm"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("entropy", "saturation")
    assert "n = 28 layers of 6 models. Rank correlation" in drawing.caption
