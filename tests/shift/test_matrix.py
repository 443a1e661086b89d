from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from cubes import counted, filters_of, fitted

from filterdb.shift import Resampling, axis_matrix, axis_shift, make_axis
from filterdb.shift.units import WEIGHTINGS


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("by", ["paper", "wasserstein"])
def test_the_quick_matrix_is_that_of_the_whole_comparison(by: str, weighting: Any) -> None:
    sizes = [40, 3, 25, 60, 2, 31, 12, 9, 77, 5]
    kinds = [*"bcab", "empty", *"acbac"]
    records = filters_of(sizes)
    records[4][:] = np.nan
    where = fitted(records)
    frame = pd.DataFrame({"kind": kinds, "model_id": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]})
    axis, cube = make_axis(frame, "kind"), counted(records, where)
    quick = axis_matrix(axis, cube, where, by=by, weighting=weighting)
    whole = axis_shift(axis, cube, where, by=by, weighting=weighting, resampling=Resampling(0, 9, 9)).matrix
    assert quick.groups == whole.groups
    assert quick.groups[-1] == "empty"
    assert np.array_equal(quick.values, whole.values, equal_nan=True)
    assert np.array_equal(quick.sizes, whole.sizes)
