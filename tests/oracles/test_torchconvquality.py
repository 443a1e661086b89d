"""Quality metrics equal torchconvquality's where both are defined; where not, docs/metrics.md shows both."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
oracle = pytest.importorskip("torchconvquality")

from filter_kinds import filters_of, trained  # noqa: E402
from filterdb.quality import METRICS, layer_quality  # noqa: E402
from quality.special_layers import SPECIAL, documented, written  # noqa: E402

pytestmark = pytest.mark.oracle

KEYS = METRICS[:7]
AGREE = 1e-5


def theirs(weight: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        # It takes logarithms of 0 and divides by 0 on special layers.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = oracle.measure_conv_weight_quality(torch.from_numpy(weight))
    return {key: float(value) for key, value in found.items()}


def ours(weight: np.ndarray) -> dict[str, float]:
    found = layer_quality(weight.reshape(-1, 9), out_channels=len(weight))
    return {key: float(found[key]) for key in KEYS}


def agree(a: float, b: float) -> bool:
    return a == pytest.approx(b, rel=AGREE, abs=AGREE, nan_ok=True)


def assert_agree(weight: np.ndarray) -> None:
    expected, found = theirs(weight), ours(weight)
    assert set(expected) == set(KEYS)
    for key, value in expected.items():
        assert agree(found[key], value), (key, found[key], value)


@pytest.mark.parametrize("kind", ["random", "trained", "sparse", "zero filters", "duplicates"])
@pytest.mark.parametrize("shape", [(32, 16), (64, 3), (8, 8), (128, 64), (48, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_the_seven_keys_agree(kind: str, shape: tuple[int, int], seed: int) -> None:
    assert_agree(filters_of(kind, shape[0] * shape[1], seed=seed).reshape(*shape, 3, 3))


@pytest.mark.parametrize("rows", [1, 5, 15])
def test_the_seven_keys_agree_where_output_channels_are_zero(rows: int) -> None:
    weight = filters_of("trained", 16 * 12).reshape(16, 12, 3, 3).copy()
    weight[:rows] = 0
    assert_agree(weight)


@pytest.mark.parametrize("groups", [1, 2, 4, 16, 32])
def test_the_seven_keys_agree_on_modules_with_groups(groups: int) -> None:
    torch.manual_seed(groups)
    module = torch.nn.Conv2d(32, 64, 3, groups=groups)
    weight = module.weight.detach().numpy()
    assert weight.shape[1] == 32 // groups
    expected = {key: float(value) for key, value in oracle.measure_layer_quality(module).items()}
    found = ours(weight)
    assert all(agree(found[key], expected[key]) for key in KEYS)


def test_sparsity_agrees_on_8_bit_layers_with_filters_at_the_threshold() -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        steps = rng.integers(-1, 2, (16, 8, 3, 3))
        steps[0, 0, 0, 0] = 100
        weight = steps.astype(np.float32) * np.float32(rng.uniform(1e-4, 1e-2))
        assert ours(weight)["sparsity"] == pytest.approx(theirs(weight)["sparsity"], rel=AGREE)


def test_the_whole_shipped_zoo_agrees() -> None:
    filters = trained(9)
    for start in range(0, len(filters) - 2_048, 2_048):
        assert_agree(filters[start : start + 2_048].reshape(64, 32, 3, 3))


def test_the_documented_differences_are_all_there_are() -> None:
    found = {
        (layer, key, written(expected[key]), written(mine[key]))
        for layer, weight in SPECIAL.items()
        for expected, mine in [(theirs(weight), ours(weight))]
        for key in KEYS
        if not agree(mine[key], expected[key])
    }
    rows = documented()
    assert {row[:4] for row in rows} == found
    assert len(rows) == len(found)
