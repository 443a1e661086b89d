from __future__ import annotations

import math

import numpy as np
import pytest

from filterdb.quality import LABELS, Thresholds, label, layer_quality, random_entropy

T = random_entropy(512)


def labels_of(n: int, entropy: float, sparsity: float, **thresholds: float) -> set[str]:
    found = label(n, entropy, sparsity, Thresholds(**thresholds))
    assert tuple(found) == LABELS
    assert {type(value) for value in found.values()} == {bool}
    return {name for name, value in found.items() if value}


@pytest.mark.parametrize(
    ("entropy", "sparsity", "expected"),
    [
        (math.nextafter(T, 1), 0.0, {"random", "degenerate"}),
        (T, 0.0, {"degenerate"}),
        (T - 0.02, 0.0, {"degenerate"}),
        (T - 0.0201, 1.0, set()),
        (0.5, 1.0, set()),
        (math.nextafter(0.5, 0), 0.0, {"low_diversity"}),
        (0.1, math.nextafter(0.14, 0), {"low_diversity"}),
        (0.1, 0.14, {"low_diversity", "degenerate"}),
        (0.0, 1.0, {"low_diversity", "degenerate"}),
        (math.nan, math.nan, set()),
    ],
)
def test_labels_begin_exactly_where_their_definitions_say(
    entropy: float, sparsity: float, expected: set[str]
) -> None:
    assert labels_of(512, entropy, sparsity) == expected


@pytest.mark.parametrize("n", [1, 2])
def test_a_layer_too_small_for_a_threshold_is_not_random(n: int) -> None:
    assert random_entropy(n) < 0
    assert labels_of(n, 0.0, 0.0) == {"low_diversity"}
    assert labels_of(n, 0.0, 0.5) == {"low_diversity", "degenerate"}


def test_a_layer_without_a_filter_earns_no_label() -> None:
    assert labels_of(0, math.nan, math.nan) == set()


def test_layers_of_other_kernels_earn_no_label() -> None:
    assert not any(label(100, 0.99, 0.5, values=25).values())


def test_every_threshold_can_be_given() -> None:
    assert labels_of(512, 0.6, 0.0, low_entropy=0.7) == {"low_diversity"}
    assert labels_of(512, T - 0.05, 0.0, random_margin=0.1) == {"degenerate"}
    assert labels_of(512, 0.1, 0.1, sparse=0.05) == {"low_diversity", "degenerate"}


@pytest.mark.parametrize(("n", "random_at_least"), [(1024, 0.95), (4096, 0.99)])
def test_layers_of_random_weights_are_degenerate(n: int, random_at_least: float) -> None:
    """As the documentation says, T_H is a fit: it misses few random layers, of small ones more."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        entropy = layer_quality(rng.normal(size=(n, 9)).astype(np.float32), out_channels=8)[
            "variance_entropy"
        ]
        found.append(label(n, float(entropy), 0.0)["degenerate"])
    assert np.mean(found) >= random_at_least
