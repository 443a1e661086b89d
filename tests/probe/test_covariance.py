"""Covariances summed block by block, against numpy's own in float64."""

from __future__ import annotations

import numpy as np
import pytest

from filterdb.probe.covariance import Covariance


def summed(features: np.ndarray, *, batch: int) -> Covariance:
    found = Covariance(features.shape[1])
    for start in range(0, len(features), batch):
        found.add(features[start : start + batch])
    return found


def direct(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.moveaxis(features.astype("f8"), 1, -1).reshape(-1, features.shape[1])
    return rows.mean(axis=0), np.cov(rows, rowvar=False, bias=True).reshape(rows.shape[1], -1)


# Few features and many, few places and more than one product takes, and rows that do not fill a piece.
SHAPES = [
    (5, 1, 1), (7, 3, 1), (50, 3, 2), (37, 16, 5), (9, 16, 64), (3, 16, 1024), (2, 4, 40_000), (3, 32, 700),
    (130, 32, 9), (700, 24, 3), (40, 33, 8), (6, 64, 100), (50, 12), (7, 200),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i1"])
@pytest.mark.parametrize("batch", [4, 1000])
def test_it_is_that_of_all_rows_at_once(shape: tuple[int, ...], kind: str, batch: int) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(shape[1], shape[1]))
    drawn = np.einsum("rc...,cd->rd...", rng.normal(size=shape), mixing) + rng.normal(size=shape[1]).reshape(
        -1, *[1] * (len(shape) - 2)
    )
    features = (drawn * 9).astype(kind)
    found = summed(features, batch=batch)
    mean, covariance = direct(features)
    assert found.finite
    assert found.count == features.size // shape[1]
    assert found.mean == pytest.approx(mean, rel=1e-11, abs=1e-11)
    scale = np.abs(covariance).max()
    assert found.scatter / found.count == pytest.approx(covariance, rel=1e-11, abs=1e-12 * scale)


@pytest.mark.parametrize("shape", [(64, 5), (64, 5, 9), (8, 16, 300), (16, 40, 30)])
@pytest.mark.parametrize("batch", [3, 64])
def test_a_large_mean_does_not_cancel_the_spread(shape: tuple[int, ...], batch: int) -> None:
    features = np.random.default_rng(0).normal(size=shape) + 1e7
    found = summed(features, batch=batch)
    assert found.scatter / found.count == pytest.approx(direct(features)[1], rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("width", [4, 40])
def test_a_constant_feature_beside_others_has_no_variance_to_speak_of(width: int) -> None:
    features = np.random.default_rng(0).normal(size=(20, width, 50)).astype("f4")
    features[:, 2] = np.float32(1000.1)
    found = summed(features, batch=6)
    assert found.scatter[2, 2] / found.count < 1e-18 * 1000**2
    assert found.scatter[0, 0] / found.count == pytest.approx(features[:, 0].astype("f8").var(), rel=1e-11)


@pytest.mark.parametrize("shape", [(9, 5), (9, 5, 70), (9, 40, 70)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_noticed(shape: tuple[int, ...], value: float) -> None:
    features = np.ones(shape, "f4")
    features[8, 3] = value
    assert summed(features[:8], batch=4).finite
    assert not summed(features, batch=4).finite
    both = features.copy()
    both[7, 3] = -value
    assert not summed(both, batch=9).finite


def test_features_may_lie_in_memory_in_any_order() -> None:
    last = np.random.default_rng(0).normal(size=(12, 7, 9, 16)).astype("f4")
    moved = np.moveaxis(last, -1, 1).reshape(12, 16, 63)
    copied = np.ascontiguousarray(moved)
    assert not moved.flags.c_contiguous
    assert (summed(moved, batch=5).scatter == summed(copied, batch=5).scatter).all()


@pytest.mark.parametrize("shape", [(300, 16, 40), (64, 32, 256)])
def test_what_is_given_is_never_changed(shape: tuple[int, ...]) -> None:
    features = np.random.default_rng(0).normal(size=shape) + 1e7
    before = features.copy()
    summed(features, batch=100)
    assert (features == before).all()
