"""Figures in the hands of researchers: by name, shown by a notebook, the same as in files."""

from __future__ import annotations

import io
import typing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from store_cases import small_case

import filterdb
from filterdb.config import FiguresConfig, RunConfig
from filterdb.errors import ConfigError, UsageError
from filterdb.figures import Drawing
from filterdb.run.analysis.analyze import analyze
from filterdb.run.drawing.figures import draw
from filterdb.run.extraction.extract import extract
from filterdb.testing import conv_net, write_model


@pytest.fixture(scope="module")
def figures(demo: Path) -> filterdb.Figures:
    return filterdb.Figures(filterdb.open(demo), groups=5)


def test_the_figures_are_those_that_the_command_writes(tmp_path: Path) -> None:
    for seed in range(6):
        weights = [(8, 3, 3, 3), (12, 8, 3, 3), (16, 12, 3, 3)]
        write_model(tmp_path / "zoo" / f"m{seed}.onnx", conv_net(weights, seed=seed))
    config = RunConfig(zoo=(str(tmp_path / "zoo"),), workers=1).with_figures(dpi=60)
    extract(config, tmp_path / "d.h5")
    few = config.with_analyze(by=("depth_decile",), permutations=9, draws=9)
    analyze(tmp_path / "d.h5", tmp_path / "results", few)
    captions = draw(tmp_path / "d.h5", tmp_path / "results", tmp_path / "out", config).captions
    with filterdb.open(tmp_path / "d.h5") as db:
        figures = filterdb.Figures(db)
        assert list(figures) == list(captions)
        assert {"covariance", "drift_depth_decile", "ridges_depth_decile", "scatter"} <= set(captions)
        for name in list(captions)[::3]:
            drawing = figures[name]
            assert drawing.caption == captions[name]
            assert drawing.csv() == (tmp_path / "out" / f"{name}.csv").read_bytes()
            assert drawing.render("png", dpi=60) == (tmp_path / "out" / f"{name}.png").read_bytes()


def test_a_figure_has_the_numbers_of_the_analysis(figures: filterdb.Figures, db: filterdb.FilterDB) -> None:
    pd.testing.assert_frame_equal(figures["drift_Task"].data, db.shifts["Task"].pairs)
    shares = figures["eigenimages"].data["explained"].to_numpy()
    np.testing.assert_allclose(shares, db.basis.explained, rtol=1e-12)


def test_a_notebook_shows_a_figure_in_few_colours_and_nearly_the_same(figures: filterdb.Figures) -> None:
    drawing = figures["drift_Task"]
    with Image.open(io.BytesIO(drawing._repr_png_())) as image:
        assert image.format == "PNG"
        small = np.asarray(image.convert("RGB"), np.float64)
    full = drawing.render("png", dpi=120)
    with Image.open(io.BytesIO(full)) as image:
        whole = np.asarray(image.convert("RGB"), np.float64)
    assert small.shape == whole.shape
    assert len(drawing._repr_png_()) < len(full) / 2
    assert np.abs(small - whole).mean() < 3
    assert drawing._repr_png_() == figures["drift_Task"]._repr_png_()


def test_what_is_printed_names_the_figure_in_one_line(figures: filterdb.Figures) -> None:
    assert repr(figures) == "<Figures of dataset.h5: 43, along Task, Visual Category, Family, depth_decile>"
    text = repr(figures["covariance"])
    assert text.startswith("<Drawing, 4.2 x ")
    assert "81 rows of data: Covariance of the 9 values" in text
    assert "\n" not in text
    assert "ridges_Task" in figures._repr_html_()
    assert figures._ipython_key_completions_() == list(figures)


def test_a_caption_with_control_characters_prints_without_them(figures: filterdb.Figures) -> None:
    known = figures["covariance"]
    assert "\x1b" not in repr(Drawing(known.figure, known.data, "red \x1b[31m"))


def test_a_misspelt_name_is_answered_with_the_nearest(figures: filterdb.Figures) -> None:
    assert "drift_Task" in figures
    assert "drift_Tsk" not in figures
    with pytest.raises(UsageError, match="there is no figure 'drift_Tsk'") as caught:
        figures["drift_Tsk"]
    assert "did you mean 'drift_Task'?" in str(caught.value)
    with pytest.raises(UsageError, match="adds an axis"):
        figures["?"]


def test_models_can_be_named_and_have_to_be_there(db: filterdb.FilterDB) -> None:
    name = db.results.models["model"].iloc[5]
    figures = filterdb.Figures(db, models=[name])
    assert [one for one in figures if one.startswith("filters_")] == [f"filters_{name}"]
    with pytest.raises(UsageError, match="has no model 'nobody'"):
        filterdb.Figures(db, models=["nobody"])


def test_options_are_those_of_the_configuration(db: filterdb.FilterDB) -> None:
    hints = typing.get_type_hints(filterdb.Figures.__init__)
    for name in ("width", "ridges"):
        assert hints[name] == FiguresConfig.model_fields[name].annotation
    assert filterdb.Figures(db, width="column")["covariance"].figure.get_size_inches()[0] == 3.4
    with pytest.raises(ConfigError, match=r"figures\.groups = 1 cannot be used"):
        filterdb.Figures(db, groups=1)
    with pytest.raises(ConfigError, match=r"figures\.width"):
        filterdb.Figures(db, width="poster")  # type: ignore[arg-type]


def test_figures_of_a_selection_or_without_results_are_refused(db: filterdb.FilterDB, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not of a selection") as caught:
        filterdb.Figures(db.select({"Task": "Classification"}))
    assert "filterdb subset" in str(caught.value)
    with (
        filterdb.open(small_case().write(tmp_path / "d.h5")) as other,
        pytest.raises(UsageError, match="there are no results"),
    ):
        filterdb.Figures(other)


def test_a_data_set_that_was_closed_says_so(demo: Path) -> None:
    with filterdb.open(demo) as db:
        figures = filterdb.Figures(db)
        assert "scatter" in figures
    with pytest.raises(UsageError, match="was closed"):
        figures["scatter"]
