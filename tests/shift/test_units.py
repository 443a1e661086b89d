from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from populations import BINS, COMPONENTS, between, records, uneven, within

from filterdb.errors import UsageError
from filterdb.shift.uncertainty import Resampling, uncertainty
from filterdb.shift.units import WEIGHTINGS, Pair, Units, weigh

MAKERS = pytest.mark.parametrize("make", [between, within, uneven])


def units_of(data: dict[str, Any], weighting: Any = "filters") -> Units:
    return Units.of(data["counts"], data["codes"], data["models"], weighting)


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_weights_are_shares_of_filters_layers_or_models() -> None:
    counts, models = records(0, [0.0] * 5), np.array([3, 3, 1, 1, 1])
    assert np.array_equal(weigh(counts, models, "filters"), counts)
    layers, whole = weigh(counts, models, "layers"), weigh(counts, models, "models")
    assert np.allclose(layers.sum(axis=2), 1, rtol=0, atol=1e-9)
    for model in (1, 3):
        assert np.allclose(whole[models == model].sum(axis=(0, 2)), 1, rtol=0, atol=1e-9)
        own = counts[models == model]
        assert np.allclose(whole[models == model] * own[:, 0].sum(), own, atol=1e-6)


def test_unknown_weightings_are_refused() -> None:
    with pytest.raises(UsageError, match="no weighting 'rows'"):
        weigh(records(0, [0.0]), np.zeros(1), "rows")  # type: ignore[arg-type]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_sums_of_weighted_counts_are_exact(weighting: Any) -> None:
    counts = np.random.default_rng(0).integers(0, 1 << 24, (2_000, 1, 7))
    weighted = weigh(counts, np.arange(2_000) // 3, weighting).reshape(2_000, 7)
    assert np.array_equal(weighted.sum(axis=0), weighted[::-1].cumsum(axis=0)[-1])
    assert np.array_equal(weighted.sum(axis=0), np.ones(2_000) @ weighted)


@MAKERS
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_cells_hold_what_a_model_has_in_a_group(make: Any, weighting: Any) -> None:
    data = make()
    units, weighted = units_of(data, weighting), weigh(data["counts"], data["models"], weighting)
    known = np.unique(data["models"])
    cells = set(zip(data["models"].tolist(), data["codes"].tolist(), strict=True))
    assert set(zip(known[units.models].tolist(), units.codes.tolist(), strict=True)) == cells
    for i, (model, code) in enumerate(zip(known[units.models], units.codes, strict=True)):
        own = weighted[(data["models"] == model) & (data["codes"] == code)]
        assert np.array_equal(units.sums[i], own.sum(axis=0).ravel())
        found = units.values[units.cells[i] : units.cells[i + 1]].reshape(own.shape)
        assert sorted(found.tolist()) == sorted(own.tolist())


@MAKERS
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_order_of_units_depends_on_content_alone(make: Any, weighting: Any) -> None:
    data, rng = make(), np.random.default_rng(0)
    strata, sums = (
        Pair.of(units_of(data, weighting), 0, 2).strata(),
        Pair.of(units_of(data, weighting), 0, 2).sums(),
    )
    order, names = rng.permutation(len(data["codes"])), rng.permutation(100)
    shuffled = {
        "counts": data["counts"][order].astype(np.uint32),
        "codes": data["codes"][order],
        "models": names[data["models"][order]],
    }
    pair = Pair.of(units_of(shuffled, weighting), 0, 2)
    assert digest(pair.strata().items, *pair.sums()) == digest(strata.items, *sums)


def test_models_that_differ_only_outside_of_a_pair_keep_their_order() -> None:
    # Weighed by models, the same records weigh less in the model that has more elsewhere.
    own = records(0, [0.0, 0.4, 1.0])
    counts = np.concatenate([own[:2], own, own[:2] + 1, own + 1, records(1, [0.2, 0.5] * 5)])
    codes = np.array([0, 1, 0, 1, 2, 0, 1, 0, 1, 2, *[0, 1] * 5])
    models = np.array([0, 0, 1, 1, 1, 2, 2, 3, 3, 3, *np.repeat(np.arange(4, 9), 2)])
    expected = Pair.of(Units.of(counts, codes, models, "models"), 0, 1).sums()
    for names in (models[::-1].max() - models, np.random.default_rng(0).permutation(9)[models]):
        found = Pair.of(Units.of(counts, codes, names, "models"), 0, 1).sums()
        assert digest(*found) == digest(*expected)


@MAKERS
def test_strata_and_what_is_fixed_are_the_whole_pair(make: Any) -> None:
    pair = Pair.of(units_of(make()), 0, 1)
    strata, (first, second) = pair.strata(), pair.sums()
    assert len(strata.items) == strata.sizes.sum()
    assert (np.diff(strata.sizes) <= 0).all()
    assert ((strata.needs >= 0) & (strata.needs <= strata.sizes)).all()
    both = pair.cells.min(axis=1) >= 0
    rest = second[~both] if pair.held[2] else second[:0]
    total = strata.items.sum(axis=0) + strata.fixed + rest.sum(axis=0)
    assert np.array_equal(total, first.sum(axis=0) + second.sum(axis=0))


def test_a_record_counts_though_one_component_has_nothing_within_the_range() -> None:
    data = between()
    data["counts"][0, 0] = 0
    units = units_of(data)
    assert units.sizes(3)["layers"].tolist() == [14, 14, 14]
    assert units.sizes(3)["filters"].sum() == data["counts"].sum(axis=2).max(axis=1).sum()
    options = {"weights": np.full(COMPONENTS, 0.5), "width": 1.0, "resampling": Resampling(0, 9, 9)}
    for weighting in WEIGHTINGS:
        found = uncertainty("x", "abc", *data.values(), weighting=weighting, **options)
        assert (found["D"] < 10).all()


def test_without_records_there_are_no_units() -> None:
    units = Units.of(np.zeros((3, COMPONENTS, BINS), int), np.zeros(3, int), np.arange(3), "layers")
    assert units.sums.shape == (0, COMPONENTS * BINS)
    assert {name: size.tolist() for name, size in units.sizes(2).items()} == {
        "filters": [0, 0],
        "layers": [0, 0],
        "models": [0, 0],
    }
