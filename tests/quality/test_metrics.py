from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from filterdb.quality import layer_quality, random_entropy

KINDS = ("normal", "low rank", "sparse", "large mean", "tiny", "zero rows")


def weight_of(kind: str, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.05, (*shape, 3, 3))
    if kind == "low rank":
        weight = rng.normal(size=(*shape, 2)) @ rng.normal(size=(2, 9))
        weight = weight.reshape(*shape, 3, 3)
    elif kind == "sparse":
        weight[rng.random(shape) < 0.4] *= 1e-5
    elif kind == "large mean":
        weight = 1000 + weight
    elif kind == "tiny":
        weight *= 1e-20
    elif kind == "zero rows":
        weight[: shape[0] // 3] = 0
    return weight.astype(np.float32)


def ours(weight: np.ndarray) -> dict[str, float | int | str]:
    return layer_quality(weight.reshape(-1, 9), out_channels=len(weight))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(16, 8), (3, 1), (64, 40), (2, 300)])
def test_every_metric_equals_its_definition(kind: str, shape: tuple[int, int]) -> None:
    weight = weight_of(kind, shape)
    expected, got = reference.quality(weight), ours(weight)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6, abs=1e-8, nan_ok=True), name


def test_a_layer_of_several_chunks_and_panels_equals_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterdb.stats.record._PANEL_BYTES", 40_000)
    weight = weight_of("sparse", (300, 250))
    expected, got = reference.quality(weight), ours(weight)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6), name


@given(seed=st.integers(0, 999), kind=st.sampled_from(KINDS), scale=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_metrics_stay_in_their_ranges_and_ignore_the_scale(seed: int, kind: str, scale: float) -> None:
    weight = weight_of(kind, (12, 7), seed)
    got, other = ours(weight), ours((weight * np.float32(scale)).astype(np.float32))
    assert 0 <= got["sparsity"] <= 1
    assert 0 <= got["variance_entropy"] <= math.log10(9) + 1e-12
    assert 0 <= got["orthogonality"] <= 1
    assert other["variance_entropy"] == pytest.approx(got["variance_entropy"], rel=1e-3)
    assert other["norm_l1_norm"] == pytest.approx(got["norm_l1_norm"], rel=1e-3)


def test_filters_with_nan_and_inf_change_nothing_but_the_count() -> None:
    weight = weight_of("normal", (8, 4))
    broken = np.full((8, 1, 3, 3), np.float32(0.1))
    broken[:, :, 1, 1] = np.float32(np.inf)
    broken[3, 0, 0, 0] = np.float32(np.nan)
    rows = np.full((2, 5, 3, 3), np.float32(np.nan))
    got = ours(np.concatenate([np.concatenate([weight, broken], axis=1), rows]))
    expected = ours(weight)
    assert (got.pop("n"), got.pop("reason")) == (8 * 5 + 2 * 5, "")
    assert (expected.pop("n"), expected.pop("reason")) == (32, "")
    assert got == pytest.approx(expected, rel=1e-7)


def test_degenerate_layers_have_the_defined_values_and_a_reason() -> None:
    zero = ours(np.zeros((4, 4, 3, 3), np.float32))
    assert (zero["sparsity"], zero["variance_entropy"]) == (1, 0)
    assert math.isnan(zero["variance_entropy_clean"])
    assert "do not vary" in zero["reason"]
    assert "no filter is left" in zero["reason"]
    constant = ours(np.full((4, 4, 3, 3), np.float32(0.1)))
    assert constant["variance_entropy"] == 0
    assert math.isnan(constant["norm_l1_norm"])
    one = ours(np.ones((1, 1, 3, 3), np.float32))
    assert one["variance_entropy"] == 0
    assert math.isnan(one["orthogonality"])
    assert math.isnan(one["variance_entropy_norm"])


def test_each_zero_row_costs_its_share_of_orthogonality() -> None:
    weight = np.zeros((4, 4, 3, 3), np.float32)
    for i in range(3):
        weight[i, i, 1, 1] = 2
    assert ours(weight)["orthogonality"] == pytest.approx(1 - 1 / (4 * 3))


def test_the_random_threshold_has_the_published_values() -> None:
    published = {8: 0.5092, 16: 0.7221, 32: 0.8457, 64: 0.9056, 256: 0.9433, 1024: 0.9499, 65536: 0.9513}
    assert {n: round(random_entropy(n), 4) for n in published} == published
