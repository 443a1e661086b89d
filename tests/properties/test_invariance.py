"""What must not matter does not, through real files: order, division into layers, broken filters.

In given coordinates, counts and distances stay the same to the last bit. The basis is a sum in float64 whose
order follows the file: there, the numbers stay the same to 1e-11, and distances to 1e-9, unless a coefficient
lies that close to the edge of a bin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from filterdb.quality import record_quality
from filterdb.shift import Resampling, uncertainty
from filterdb.shift.divergence import MEASURES, measure
from filterdb.stats import CHUNK
from properties.data_sets import (
    Layer,
    Scanned,
    Zoo,
    group_counts,
    groups,
    renamed,
    scan,
    shuffled,
    with_broken_filters,
    write,
    zoos,
)

# A smaller example of many files says no more than the first, and takes minutes to find.
few = settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@contextmanager
def files() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def distance(found: Scanned, zoo: Zoo, by: str = "paper") -> float:
    p, q = group_counts(found, zoo)
    return float(measure(by)(p, q, weights=found.basis.explained, width=found.cube.bin_width))


def assert_same_shift(before: Zoo, after: Zoo) -> None:
    """Nothing that concerns groups of records has changed."""
    with files() as folder:
        old, new = scan(write(folder / "a.h5", before)), scan(write(folder / "b.h5", after))
        same = scan(folder / "b.h5", given=old)
    assert np.array_equal(group_counts(same, after), group_counts(old, before))
    assert [distance(same, after, by) for by in MEASURES] == [distance(old, before, by) for by in MEASURES]
    assert new.basis.n == old.basis.n
    np.testing.assert_allclose(new.basis.mean, old.basis.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(new.basis.explained, old.basis.explained, rtol=0, atol=1e-12)
    gap = -np.diff(old.basis.explained, append=-1, prepend=2)
    if np.minimum(gap[:-1], gap[1:]).min() > 1e-4:
        np.testing.assert_allclose(new.basis.components, old.basis.components, rtol=0, atol=1e-9)
        assert (new.cube.low, new.cube.high) == pytest.approx((old.cube.low, old.cube.high), rel=1e-9)
        assert distance(new, after) == pytest.approx(distance(old, before), rel=1e-9)


def table(found: Scanned, zoo: Zoo) -> object:
    """D, p and interval of the two tasks."""
    models = np.repeat(np.arange(len(zoo)), [len(zoo[name]) for name in sorted(zoo)])
    return uncertainty(
        "Task",
        ("even", "odd"),
        found.cube.counts,
        groups(zoo),
        models,
        weights=found.basis.explained,
        width=found.cube.bin_width,
        resampling=Resampling(permutations=49, draws=49),
    )


@given(zoo=zoos(), seed=st.integers(0, 99))
@few
def test_the_order_of_filters_within_layers_does_not_matter(zoo: Zoo, seed: int) -> None:
    turned = {name: tuple(shuffled(one, seed) for one in model) for name, model in zoo.items()}
    assert_same_shift(zoo, turned)


@given(zoo=zoos(), seed=st.integers(0, 99))
@few
def test_the_order_of_channels_changes_no_metric(zoo: Zoo, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def turned(one: Layer) -> Layer:
        weight = one.filters.reshape(one.out_channels, -1, 9)
        weight = weight[rng.permutation(weight.shape[0])][:, rng.permutation(weight.shape[1])]
        return Layer(weight.reshape(-1, 9), one.out_channels)

    with files() as folder:
        old = scan(write(folder / "a.h5", zoo))
        new = scan(write(folder / "b.h5", {name: tuple(map(turned, model)) for name, model in zoo.items()}))
    for row in range(len(old.cube)):
        before, after = (record_quality(found.cube.stats(row)) for found in (old, new))
        assert before.pop("reason") == after.pop("reason")
        assert after == pytest.approx(before, rel=1e-9, abs=1e-11, nan_ok=True)


@given(zoo=zoos(), order=st.permutations(range(4)))
@few
def test_the_order_of_models_does_not_matter(zoo: Zoo, order: list[int]) -> None:
    assert_same_shift(zoo, renamed(zoo, order))


@given(zoo=zoos(models=10), order=st.permutations(range(10)))
@settings(few, max_examples=3)
def test_the_order_of_models_changes_no_bit_of_the_uncertainty(zoo: Zoo, order: list[int]) -> None:
    other = renamed(zoo, order)
    with files() as folder:
        old = scan(write(folder / "a.h5", zoo))
        new = scan(write(folder / "b.h5", other), given=old)
    before, after = table(old, zoo), table(new, other)
    assert before.equals(after)


@given(zoo=zoos(), place=st.floats(0, 1, exclude_max=True))
@few
def test_splitting_a_layer_into_two_records_does_not_matter(zoo: Zoo, place: float) -> None:
    first, *others = zoo["m0"]
    channels = 1 + int(place * (first.out_channels - 1))
    rows = channels * (len(first.filters) // first.out_channels)
    parts = (
        Layer(first.filters[:rows], channels),
        Layer(first.filters[rows:], first.out_channels - channels),
    )
    assert_same_shift(zoo, {**zoo, "m0": (*parts, *others)})


@given(zoo=zoos(), seed=st.integers(0, 99))
@few
def test_filters_with_nan_and_inf_change_nothing_but_their_count(zoo: Zoo, seed: int) -> None:
    broken = {name: tuple(with_broken_filters(one, seed) for one in model) for name, model in zoo.items()}
    with files() as folder:
        old, new = scan(write(folder / "a.h5", zoo)), scan(write(folder / "b.h5", broken))
        same = scan(folder / "b.h5", given=old)
    assert np.array_equal(same.cube.counts, old.cube.counts)
    assert np.array_equal(new.cube.rows["finite"], old.cube.rows["n"])
    np.testing.assert_allclose(new.basis.explained, old.basis.explained, rtol=0, atol=1e-12)
    for row in range(len(old.cube)):
        before, after = (record_quality(found.cube.stats(row)) for found in (old, new))
        assert before.pop("reason") == after.pop("reason")
        assert after.pop("n") > before.pop("n")
        assert after == pytest.approx(before, rel=1e-9, abs=1e-11, nan_ok=True)


def test_layers_of_several_chunks_may_be_split_and_turned_too() -> None:
    rng = np.random.default_rng(5)
    large = Layer(rng.normal(0, 0.1, (CHUNK + 4_464, 9)).astype(np.float32), 100)
    small = Layer(rng.normal(0, 0.1, (600, 9)).astype(np.float32) ** 3, 20)
    zoo = {"m0": (large,), "m1": (small,)}
    cut = 333 * 700
    parts = (Layer(large.filters[: cut // 7], 1), Layer(large.filters[cut // 7 :], 1))
    assert_same_shift(zoo, {**zoo, "m0": tuple(shuffled(part, 1) for part in parts)})


@given(zoo=zoos())
@few
def test_no_filter_is_lost_and_every_distance_is_one(zoo: Zoo) -> None:
    with files() as folder:
        found = scan(write(folder / "a.h5", zoo))
    assert found.cube.counts.sum(axis=2).T.tolist() == [found.cube.rows["finite"].tolist()] * 9
    p, q = group_counts(found, zoo)
    for by in MEASURES:
        one = measure(by)
        options = {"weights": found.basis.explained, "width": found.cube.bin_width}
        assert one(p, q, **options) >= 0
        assert one(p, p, **options) == 0
        assert one(p, q, **options) == one(q, p, **options)
