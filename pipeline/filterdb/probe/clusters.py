"""Clusters of features, and how far they agree with labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from filterdb.probe.extras import require
from filterdb.probe.forest import SEED

AGREEMENTS: Final = ("ari", "ami", "homogeneity", "completeness", "fmi")
_STARTS: Final = 10


def agreements(features: NDArray[Any], classes: NDArray[np.intp], *, seed: int = SEED) -> dict[str, float]:
    """Return how far as many clusters as there are classes agree with these, by :data:`AGREEMENTS`.

    Parameters
    ----------
    features
        One row a row of data, not scaled: distances of the layer itself.
    classes
        The number of each row's class.
    seed
        Of the clusters.
    """
    with few_clusters_expected():
        return agreement(clusters(features, len(np.unique(classes)), seed), classes)


@contextmanager
def few_clusters_expected() -> Iterator[None]:
    """Let fewer distinct rows than clusters, which a layer of dead channels may have, be no warning.

    The filters of warnings are those of all threads: this is for what starts them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Number of distinct clusters")
        yield


def clusters(features: NDArray[Any], count: int, seed: int) -> NDArray[np.intp]:
    """Return the number of each row's cluster, by k-means on one thread.

    Parameters
    ----------
    features, seed
        As for :func:`agreements`.
    count
        How many clusters.
    """
    means = require("sklearn.cluster").KMeans(n_clusters=count, n_init=_STARTS, random_state=seed)
    # Sums of several threads would not be the same for every number of them.
    with threadpool_limits(1):
        return np.asarray(means.fit_predict(features), np.intp)


def agreement(found: NDArray[np.intp], classes: NDArray[np.intp]) -> dict[str, float]:
    """Return how far clusters agree with classes, by :data:`AGREEMENTS`.

    Parameters
    ----------
    found
        The number of each row's cluster.
    classes
        The number of each row's class.
    """
    metrics = require("sklearn.metrics")
    homogeneity, completeness, _ = metrics.homogeneity_completeness_v_measure(classes, found)
    values = (
        metrics.adjusted_rand_score(classes, found),
        metrics.adjusted_mutual_info_score(classes, found),
        homogeneity,
        completeness,
        metrics.fowlkes_mallows_score(classes, found),
    )
    return dict(zip(AGREEMENTS, map(float, values), strict=True))
