from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from filterdb.config import RelabelRule, RunConfig
from filterdb.errors import ColumnError, ConfigError
from filterdb.shift import relabel

FRAME = pd.DataFrame(
    {
        "Task": pd.Series(
            ["Semantic Segmentation", "segmentation", None, "Detection", "Segmentation"], dtype="str"
        ),
        "depth": [1, 2, 3, 4, 5],
    }
)


def rule(**values: Any) -> RelabelRule:
    return RelabelRule(column="Task", **values)


def test_labels_that_contain_a_text_become_another_and_the_rest_stays() -> None:
    found, applied = relabel(FRAME, [rule(contains="Segmentation", to="Segmentation")])
    labels = ["Segmentation", "segmentation", "Detection", "Segmentation"]
    assert found["Task"].dropna().tolist() == labels
    assert found["Task"].isna().tolist() == [False, False, True, False, False]
    assert found["Task"].dtype == "str"
    assert applied == [
        {
            "column": "Task",
            "contains": "Segmentation",
            "to": "Segmentation",
            "labels": ["Semantic Segmentation"],
            "records": 1,
        }
    ]


def test_a_whole_label_is_no_part_of_one() -> None:
    found, applied = relabel(FRAME, [rule(equals="Segmentation", to="S")])
    assert found["Task"].tolist()[0] == "Semantic Segmentation"
    assert found["Task"].tolist()[4] == "S"
    assert applied[0]["equals"] == "Segmentation"


def test_a_text_is_no_pattern() -> None:
    found, _ = relabel(FRAME, [rule(contains=".*", to="S")])
    assert found["Task"].equals(FRAME["Task"])


def test_rules_see_what_those_before_them_made() -> None:
    rules = [rule(contains="egmentation", to="S"), rule(equals="S", to="T"), rule(equals="none", to="U")]
    found, applied = relabel(FRAME, rules)
    assert found["Task"].dropna().tolist() == ["T", "T", "Detection", "T"]
    assert [one["records"] for one in applied] == [3, 3, 0]


def test_the_given_frame_is_not_changed() -> None:
    before = FRAME.copy()
    relabel(FRAME, [rule(contains="e", to="x")])
    assert FRAME.equals(before)


def test_no_rule_changes_nothing() -> None:
    assert relabel(FRAME, []) == (FRAME, [])


@pytest.mark.parametrize("column", ["task", "depth"])
def test_a_column_that_is_missing_or_no_text_is_refused(column: str) -> None:
    with pytest.raises(ColumnError, match=column) as caught:
        relabel(FRAME, [RelabelRule(column=column, equals="a", to="b")])
    assert caught.value.where == "analyze.relabel"
    assert caught.value.expected


def config(text: str, folder: Path) -> RunConfig:
    (folder / "c.yaml").write_text(text)
    return RunConfig.load(folder / "c.yaml")


def test_rules_come_from_the_configuration(tmp_path: Path) -> None:
    found = config("analyze:\n  relabel:\n    - {column: Task, contains: a, to: b}\n", tmp_path)
    assert found.analyze.relabel == (RelabelRule(column="Task", contains="a", to="b"),)


@pytest.mark.parametrize(
    ("text", "what", "expected"),
    [
        ("{column: Task, to: b}", "analyze.relabel[0]", "either contains or equals"),
        ("{column: Task, contains: a, equals: a, to: b}", "analyze.relabel[0]", "either contains or equals"),
        ("{column: Task, contain: a, to: b}", "analyze.relabel[0].contain", "contains"),
        ("{column: Task, contains: a}", "analyze.relabel[0].to", "required"),
        ("{column: Task, contains: '', to: b}", "analyze.relabel[0].contains", "at least 1"),
        ("Task", "analyze.relabel[0]", "dictionary"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(text: str, what: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config(f"analyze:\n  relabel:\n    - {text}\n", tmp_path)
    assert what in caught.value.what
    assert expected in str(caught.value.expected)
