from __future__ import annotations

from itertools import groupby

import numpy as np

from filterdb.reference_values import REFERENCE_VALUES


def test_each_value_is_named_once_with_its_source() -> None:
    names = [(one.version, one.name) for one in REFERENCE_VALUES]
    assert len(set(names)) == len(names)
    assert all(one.source and one.values for one in REFERENCE_VALUES)


def test_shares_of_variance_add_up_within_their_precision() -> None:
    named = {(one.version, one.name): one for one in REFERENCE_VALUES}
    newer = named["v1.0.0", "explained variance ratio"]
    older = named["v0.1.0", "cumulative explained variance ratio"]
    assert len(newer.values) == len(older.values) == 9
    assert abs(sum(newer.values) - 1) <= 9 * (newer.precision or 0)
    assert older.values[-1] == 1
    assert (np.diff(newer.values) < 0).all()
    assert (np.diff(older.values) > 0).all()


def test_median_mean_and_largest_drift_are_in_order() -> None:
    drifts = [one for one in REFERENCE_VALUES if one.name.startswith("drift") and one.version == "v1.0.0"]
    for _, group in groupby(drifts, key=lambda one: one.name.split(",")[0]):
        mean, median, largest = (one.values[0] for one in group)
        assert median <= mean < largest
