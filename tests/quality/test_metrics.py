from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

import reference
from filter_kinds import KINDS, filters_of, trained
from filterdb.quality import layer_quality, random_entropy, variance_entropy
from filterdb.stats import Moments, measure_record
from filterdb.stats.cube import merge_records, pack

Found = dict[str, float | int | str]
SHAPES = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 40), (73, 7), (32, 16), (27, 19)]


def ours(weight: np.ndarray) -> Found:
    return layer_quality(weight.reshape(-1, weight.shape[2] * weight.shape[3]), out_channels=len(weight))


def weight_of(kind: str, out_channels: int, in_channels: int, size: int = 3, *, seed: int = 0) -> np.ndarray:
    filters = filters_of(kind, out_channels * in_channels, size * size, seed=seed)
    return filters.reshape(out_channels, in_channels, size, size)


def assert_equal(found: Found, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [3, 5, 1])
def test_every_metric_equals_its_definition(kind: str, shape: tuple[int, int], size: int) -> None:
    weight = weight_of(kind, *shape, size)
    assert_equal(ours(weight), reference.quality(weight))


@pytest.mark.parametrize("kind", ["random", "trained", "large mean", "sparse", "constant"])
def test_a_layer_of_several_chunks_and_panels_equals_its_definition(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filterdb.stats.record._PANEL_BYTES", 1 << 20)
    weight = weight_of(kind, 280, 250)
    assert_equal(ours(weight), reference.quality(weight))


def test_every_layer_size_of_the_shipped_zoo_equals_its_definition() -> None:
    filters = trained(9)
    for out_channels, in_channels in [(16, 3), (32, 16), (64, 1), (48, 48)]:
        for start in range(0, 20_000, 4_999):
            part = filters[start : start + out_channels * in_channels]
            weight = part.reshape(out_channels, in_channels, 3, 3)
            assert_equal(ours(weight), reference.quality(weight))


@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e5, 3e5, 1e6])
@pytest.mark.parametrize("mean", [1.0, -3e-20, 5e30])
def test_a_tiny_variance_around_a_large_mean_keeps_its_entropy(ratio: float, mean: float) -> None:
    spread = np.random.default_rng(3).normal(size=(2_000, 9)) * np.linspace(1, 0.3, 9)
    weight = (mean * (1 + spread / ratio)).astype(np.float32).reshape(50, 40, 3, 3)
    found, expected = ours(weight), reference.quality(weight)
    assert found["variance_entropy"] > 0.8
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_a_tiny_variance_around_a_large_mean_survives_the_merging_of_layers() -> None:
    rng = np.random.default_rng(4)
    layers = [(1 + rng.normal(size=(300, 9)) * 1e-6 * (i + 1)).astype(np.float32) for i in range(7)]
    records = pack(
        [measure_record(lambda a, b, rows=rows: rows[a:b], n=300, out_channels=3) for rows in layers], 9
    )
    entropy, reason = variance_entropy(merge_records(records, "raw"))
    assert entropy == pytest.approx(reference.entropy(np.concatenate(layers)), rel=1e-9)
    assert reason == ""


@pytest.mark.parametrize("value", [0.1, 1 / 3, -7e-42, 3e38])
@pytest.mark.parametrize("n", [2, 514, 70_000])
def test_filters_that_are_all_alike_have_no_variance_whatever_rounding_says(value: float, n: int) -> None:
    found = ours(np.full((2, n // 2, 3, 3), value, np.float32))
    assert found["variance_entropy"] == 0
    assert math.isnan(found["norm_l1_norm"])
    assert math.isnan(found["norm_l2_norm"])
    assert "the filters do not vary" in found["reason"]


def test_one_value_that_differs_in_its_last_bit_is_variance() -> None:
    weight = np.full((7, 10_000, 3, 3), np.float32(1))
    weight[5, 4_321, 1, 1] = np.nextafter(np.float32(1), np.float32(2))
    found = ours(weight)
    assert found["reason"] == ""
    assert found["variance_entropy"] == pytest.approx(0, abs=1e-12)
    assert found["norm_l2_norm"] == pytest.approx(math.sqrt(9 * 70_000 - 1))


def test_filters_right_at_the_threshold_of_sparsity_are_judged_as_torchconvquality_does() -> None:
    """Layers of 8-bit integers times a scale whose largest is 100: 1 % of it is one step."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        steps = rng.integers(-1, 2, (16, 8, 3, 3))
        steps[0, 0, 0, 0] = 100
        weight = steps.astype(np.float32) * np.float32(rng.uniform(1e-4, 1e-2))
        magnitude = np.abs(weight.reshape(-1, 9)).max(axis=1)
        limit = np.float32(float(magnitude.max()) * 0.01)
        assert ours(weight)["sparsity"] == (magnitude < limit).mean()


def test_filters_with_nan_and_inf_change_nothing_but_the_count() -> None:
    weight = weight_of("random", 8, 4)
    broken = np.full((8, 1, 3, 3), np.float32(0.1))
    broken[:, :, 1, 1] = np.float32(np.inf)
    broken[3, 0, 0, 0] = np.float32(np.nan)
    rows = np.full((2, 5, 3, 3), np.float32(np.nan))
    found = ours(np.concatenate([np.concatenate([weight, broken], axis=1), rows]))
    expected = ours(weight)
    assert (found.pop("n"), expected.pop("n")) == (8 * 5 + 2 * 5, 32)
    assert found == expected


def test_a_layer_without_a_finite_filter_has_no_metric_and_a_reason() -> None:
    found = ours(np.full((4, 2, 3, 3), np.float32(np.nan)))
    assert (found.pop("n"), found.pop("norm_l1"), found.pop("norm_l2")) == (8, 0, 0)
    assert "no filter is left" in found.pop("reason")
    assert all(math.isnan(value) for value in found.values())


def test_degenerate_layers_have_the_defined_values_and_a_reason() -> None:
    zero = ours(np.zeros((4, 4, 3, 3), np.float32))
    assert (zero["sparsity"], zero["variance_entropy"]) == (1, 0)
    assert math.isnan(zero["variance_entropy_clean"])
    assert "do not vary" in zero["reason"]
    assert "no filter is left" in zero["reason"]
    one = ours(np.ones((1, 1, 3, 3), np.float32))
    assert one["variance_entropy"] == 0
    assert math.isnan(one["orthogonality"])
    assert math.isnan(one["variance_entropy_norm"])


def test_each_zero_row_costs_its_share_of_orthogonality() -> None:
    weight = np.zeros((4, 4, 3, 3), np.float32)
    for i in range(3):
        weight[i, i, 1, 1] = 2
    assert ours(weight)["orthogonality"] == pytest.approx(1 - 1 / (4 * 3))


def test_a_narrow_layer_of_many_channels_does_not_need_their_square_in_memory() -> None:
    weight = weight_of("random", 12_000, 1)
    tracemalloc.start()
    found = ours(weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6 < 12_000**2 * 4
    unit = weight.reshape(-1, 9) / np.linalg.norm(weight.reshape(-1, 9).astype(np.float64), axis=1)[:, None]
    overlap = sum(np.abs(unit[i : i + 500] @ unit.T).sum() for i in range(0, 12_000, 500)) - 12_000
    assert found["orthogonality"] == pytest.approx(1 - overlap / (12_000 * 11_999), rel=1e-9)


def test_channels_that_take_hours_to_compare_have_no_orthogonality() -> None:
    found = ours(np.ones((600_000, 1, 3, 3), np.float32))
    assert math.isnan(found["orthogonality"])
    assert found["n"] == 600_000
    assert "too many to compare" in str(found["reason"])


def test_metrics_are_plain_numbers_and_texts() -> None:
    assert {type(value) for value in ours(weight_of("trained", 8, 8)).values()} == {int, float, str}


def test_the_entropy_of_no_filter_is_unknown() -> None:
    entropy, reason = variance_entropy(Moments(0, np.zeros(9), np.zeros((9, 9))))
    assert math.isnan(entropy)
    assert reason


def test_the_random_threshold_has_the_published_values() -> None:
    published = {8: 0.5092, 16: 0.7221, 32: 0.8457, 64: 0.9056, 256: 0.9433, 1024: 0.9499, 65536: 0.9513}
    assert {n: round(random_entropy(n), 4) for n in published} == published
    assert {n: round(reference.threshold(n), 4) for n in published} == published
    assert math.isnan(random_entropy(0))


@pytest.mark.parametrize(
    ("name", "n", "norm"),
    [
        ("layer1.0.conv1", 64 * 64, 0.8243831176),
        ("layer2.0.conv1", 128 * 64, 0.9162120601),
        ("layer4.1.conv2", 512 * 512, 0.2192856216),
    ],
)
def test_the_threshold_of_random_layers_makes_the_published_ratios_entropies(
    name: str, n: int, norm: float
) -> None:
    """torchconvquality's README names H / T_H of three layers: their H must be that of nine values."""
    assert 0 < norm * random_entropy(n) < math.log10(9), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [3, 5, 1])
def test_no_metric_is_missing_without_a_reason_and_none_has_one_without_need(
    kind: str, shape: tuple[int, int], size: int
) -> None:
    found = ours(weight_of(kind, *shape, size))
    reason = str(found.pop("reason"))
    missing = {name for name, value in found.items() if math.isnan(value)}
    degenerate = {name for name in ("variance_entropy", "variance_entropy_clean") if found[name] == 0}
    assert bool(missing | degenerate) == bool(reason) or found["variance_entropy"] < 1e-9
    assert ("orthogonality" in missing) == ("output channel" in reason)
    assert ("norm_l2_norm" in missing) == ("all values are equal" in reason)
    assert ("variance_entropy_norm" in missing) <= ("T_H" in reason or size == 1)
    assert ("variance_entropy_clean" in missing) <= ("no filter is left" in reason or size == 1)
