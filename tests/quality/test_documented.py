"""What docs/metrics.md says of special layers; tests/oracles holds torchconvquality's side."""

from __future__ import annotations

import re

import pytest

from filterdb.config import LabelsConfig
from filterdb.quality import METRICS, Thresholds, layer_quality
from quality.special_layers import PAGE, SPECIAL, documented, written


def test_our_values_are_the_documented_ones_and_each_has_a_reason() -> None:
    rows = documented()
    assert len(rows) > 10
    for row in rows:
        weight = SPECIAL[row.layer]
        found = layer_quality(weight.reshape(-1, 9), out_channels=len(weight))
        assert written(found[row.key]) == row.ours, row
        assert row.because, row


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_defined_on_the_page(name: str) -> None:
    text = PAGE.read_text("utf-8")
    assert f"`{name}`" in text or f"`...{name.removeprefix('variance_entropy')}`" in text


def test_the_thresholds_of_labels_are_the_documented_ones() -> None:
    text = PAGE.read_text("utf-8")
    block = re.search(r"```yaml\nanalyze:\n  labels:\n(.*?)```", text, re.DOTALL)
    assert block is not None
    given = dict(re.findall(r"^    (\w+): ([\d.]+)", block[1], re.MULTILINE))
    assert {name: float(value) for name, value in given.items()} == LabelsConfig().model_dump()
    assert Thresholds(**LabelsConfig().model_dump()) == Thresholds()
