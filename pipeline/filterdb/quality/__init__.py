"""Quality of a layer's filters: how sparse, how varied, how orthogonal; and what that makes of the layer."""

from __future__ import annotations

from filterdb.quality.labels import LABELS, Thresholds, label
from filterdb.quality.metrics import (
    FITTED_VALUES,
    METRICS,
    layer_quality,
    norms,
    orthogonality,
    random_entropy,
    record_quality,
    sparsity,
    variance_entropy,
)
from filterdb.quality.peers import LEAST_PEERS, Peers, Rank, find_peers, rank

__all__ = [
    "FITTED_VALUES",
    "LABELS",
    "LEAST_PEERS",
    "METRICS",
    "Peers",
    "Rank",
    "Thresholds",
    "find_peers",
    "label",
    "layer_quality",
    "norms",
    "orthogonality",
    "random_entropy",
    "rank",
    "record_quality",
    "sparsity",
    "variance_entropy",
]
