"""What a page says of probes: sentences true to the numbers, and only of models of the data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_cases import Document

from filterdb.config import RunConfig
from filterdb.errors import UsageError
from filterdb.report.blocks import Findings, Table
from filterdb.report.probed import Probed, probe_blocks
from filterdb.run.analysis.analyze import analyze
from filterdb.run.drawing import report as stage
from filterdb.run.drawing.report import write
from filterdb.run.extraction.extract import extract
from filterdb.run.probing.settings import options_of
from filterdb.run.probing.zoo import probe_zoo
from filterdb.testing import conv_net, write_model

NAMES = [f"m{i}" for i in range(7)]


def probed(what: str = "saturation", **values: object) -> Probed:
    models = pd.DataFrame(
        {
            "model": [*NAMES, "gone"],
            "status": ["ok"] * 7 + ["failed"],
            "reason": [""] * 7 + ["the file is empty"],
            "layers": [6.0] * 7 + [np.nan],
            "saturation": [0.1, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7, np.nan],
            "tail": [0, 2, 0, 1, 0, 0, 0, np.nan],
            "cka": [0.1, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7, np.nan],
            "neighbours": [0.5] * 8,
            "best": [0.6] * 8,
        }
    )
    falling = np.linspace(1, 0.5, 6)
    layers = pd.DataFrame(
        {
            "model": np.repeat(NAMES, 6),
            "layer": np.tile([f"l{i}" for i in range(6)], 7),
            "layer_b": np.tile([f"l{i + 1}" for i in range(6)], 7),
            "position": np.tile(np.arange(6), 7),
            "value": np.concatenate([falling] * 5 + [falling[::-1]] * 2),
        }
    )
    known: dict = {"data": "64 rows of digits", "correlation": (-0.4, -0.6, -0.1), "figures": ()}
    return Probed(what, models=models, layers=layers, **{**known, **values})


def sentences(one: Probed) -> list[str]:
    found = next(block for block in probe_blocks([one], {}) if isinstance(block, Findings))
    return [text for item in found.items for text in (item.head, *item.details)]


def test_the_range_the_tails_and_the_trend_are_those_of_the_numbers() -> None:
    said = sentences(probed())
    assert "Mean saturation is 0.500 in the median of 7 models, from 0.100 to 0.900." in said
    assert "Lowest: m0 (0.100), m2 (0.300) and m3 (0.400)." in said
    assert "Highest: m1 (0.900), m6 (0.700) and m5 (0.600)." in said
    assert "2 models have a tail of layers that do little with the data." in said
    assert "m1 (2 layers) and m3 (1 layer)." in said
    assert "From the first to the last layer it falls in 5 of 7 models of at least 5 layers." in said
    assert "1 model could not be probed." in said
    assert "gone: the file is empty." in said


@pytest.mark.parametrize(
    ("correlation", "told"),
    [
        ((-0.4, -0.6, -0.1), "falls with the variance entropy"),
        ((0.4, 0.1, 0.6), "rises with the variance entropy"),
        ((0.4, -0.1, 0.6), "show no clear relation"),
        ((0.4, np.nan, np.nan), "show no clear relation"),
    ],
)
def test_a_relation_is_claimed_where_the_interval_excludes_none(
    correlation: tuple[float, float, float], told: str
) -> None:
    said = [text for text in sentences(probed(correlation=correlation)) if "variance entropy" in text]
    assert len(said) == 1
    assert told in said[0]


def test_without_a_common_layer_nothing_is_said_of_entropy() -> None:
    assert not any("entropy" in text for text in sentences(probed(correlation=None)))


def test_the_most_alike_layers_are_named() -> None:
    said = sentences(probed("cka"))
    # Of six values from 1 to 0.5 in each of seven models, one is at least 0.95.
    assert "7 of 42 pairs of compared layers (17%) have a CKA of at least 0.95. The most alike:" in said
    assert "m0: l0 and l1 (1.000)." in said
    assert "m5: l5 and l6 (1.000)." not in said  # the fifth of equals is m4


def test_every_model_has_a_row() -> None:
    table = next(block for block in probe_blocks([probed()], {}) if isinstance(block, Table))
    assert table.rows[1] == ("m1", "6", "0.900", "2", "ok")
    assert table.rows[7] == ("gone", "–", "–", "–", "failed")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    for seed in range(6):
        weights = [(8, 3, 3, 3), (12, 8, 3, 3), (6, 12, 3, 3)]
        write_model(folder / "zoo" / f"m{seed}.onnx", conv_net(weights, seed=seed))
    config = RunConfig.parse(
        {"zoo": [str(folder / "zoo")], "workers": 1, "analyze": {"by": ["depth_decile"], "permutations": 9},
         "probe": {"limit": 24}}, where="test",
    )  # fmt: skip
    extract(config, folder / "dataset.h5")
    analyze(folder / "dataset.h5", folder / "results", config)
    probe_zoo(
        "saturation", [folder / "zoo"], folder / "probes" / "saturation", config,
        options_of("saturation", config.probe),
    )  # fmt: skip
    return folder


def test_probes_beside_the_results_are_told_and_fresh_with_them(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The figures of the data set are not those of the probes, and take longest.
    monkeypatch.setattr(stage, "_drawings", lambda *_: {})
    out = written / "report.html"
    write(written / "dataset.h5", written / "results", out, RunConfig())
    document = Document(out.read_text("utf-8"))
    headings = [text for tag, text in document.texts if tag in ("h2", "h3")]
    assert "What the models do with data" in headings
    assert "Saturation" in headings
    assert [row[0] for row in document.rows["probe-saturation-table"]] == ["Model", *NAMES[:6]]
    figures = [text for tag, text in document.texts if tag == "figcaption"]
    assert any(text.startswith("Saturation, of every layer of every model") for text in figures)
    assert any(text.startswith("saturation against variance entropy") for text in figures)
    assert write(written / "dataset.h5", written / "results", out, RunConfig()).action == "fresh"
    plain = write(written / "dataset.h5", written / "results", out, RunConfig(), probes=[])
    assert plain.action == "written"
    assert "What the models do with data" not in out.read_text("utf-8")


def test_probes_of_other_models_are_refused(written: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "zoo" / "other.onnx", conv_net([(4, 3, 3, 3)], seed=77))
    config = RunConfig.parse({"workers": 1, "probe": {"limit": 8}}, where="test")
    out = tmp_path / "saturation"
    probe_zoo("saturation", [tmp_path / "zoo"], out, config, options_of("saturation", config.probe))
    with pytest.raises(UsageError, match="of none of the data set's models"):
        write(written / "dataset.h5", written / "results", tmp_path / "page.html", RunConfig(), probes=[out])
    folders = [written / "probes" / "saturation"] * 2
    with pytest.raises(UsageError, match="two of the probes are of saturation"):
        write(
            written / "dataset.h5", written / "results", tmp_path / "page.html", RunConfig(), probes=folders
        )
