"""Quality metrics equal torchconvquality's on layers where both are defined."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
oracle = pytest.importorskip("torchconvquality")

from filterdb.quality import layer_quality  # noqa: E402

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("shape", [(32, 16), (64, 3), (8, 8), (128, 64)])
@pytest.mark.parametrize("sparse", [0.0, 0.3])
def test_the_seven_keys_agree_on_trained_looking_layers(shape: tuple[int, int], sparse: float) -> None:
    rng = np.random.default_rng(shape[0])
    weight = rng.normal(0, 0.05, (*shape, 3, 3)).astype(np.float32) @ np.diag([1, 0.6, 0.2]).astype("f4")
    weight[rng.random(shape) < sparse] *= 1e-4
    expected = oracle.measure_conv_weight_quality(torch.from_numpy(weight))
    ours = layer_quality(weight.reshape(-1, 9), out_channels=shape[0])
    assert set(expected) <= set(ours)
    for key, value in expected.items():
        assert ours[key] == pytest.approx(float(value), rel=1e-5, abs=1e-6), key
