from __future__ import annotations

import pandas as pd

from filterdb.figures import labels

GROUPS = pd.DataFrame({"group": ["a", "b"], "filters": [10, 20], "layers": [1, 2], "models": [1, 2]})


def test_models_that_have_layers_in_several_groups_are_counted_once() -> None:
    known = GROUPS.copy()
    known.attrs["models"] = 2
    assert labels.sample(known) == "30 filters, 3 layers, 2 models"


def test_a_number_of_models_that_is_not_known_is_not_made_up() -> None:
    assert labels.sample(GROUPS) == "30 filters, 3 layers"
    assert labels.sample(GROUPS[:1]) == "10 filters, 1 layer, 1 model"
