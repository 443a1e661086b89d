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


def test_a_name_that_is_cut_to_the_whole_of_another_shows_its_end() -> None:
    assert labels.shortened(["over", "over-untrained"], 6) == ["over", "ov…ned"]
    assert labels.shortened(["over", "fit-untrained"], 6) == ["over", "fit-u…"]


def test_a_name_cut_in_the_middle_keeps_both_ends_and_its_width() -> None:
    assert labels.ends("abcdefgh", 8) == "abcdefgh"
    assert labels.ends("abcdefghi", 8) == "abc…fghi"
    assert labels.columns(labels.ends("漢字漢字漢字", 7)) <= 7
