from __future__ import annotations

import pickle  # noqa: TID251 - errors cross process borders as pickles

import pytest

from filterdb import errors
from filterdb.errors import FilterDBError, MetadataError, ModelError, StoreError, UsageError, nearest

EVERY = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FilterDBError)
]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_tree_of_the_docstring(kind: type[FilterDBError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
    assert kind.__doc__


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_survives_the_way_between_processes(kind: type[FilterDBError]) -> None:
    error = kind("what", where="file", expected="that", hint="this")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.what, again.where, again.expected, again.hint) == ("what", "file", "that", "this")


def test_a_message_says_what_where_what_was_expected_and_what_to_try() -> None:
    error = FilterDBError("what", where="file", expected="that", hint="this")
    assert str(error) == "what\n  in: file\n  expected: that\n  try: this"
    assert str(FilterDBError("what")) == "what"
    assert error.reason == "what; expected that"


def test_wrong_usage_has_an_exit_code_of_its_own() -> None:
    assert (UsageError.exit_code, MetadataError.exit_code) == (2, 2)
    assert (ModelError.exit_code, StoreError.exit_code) == (1, 1)


@pytest.mark.parametrize(
    ("name", "found"),
    [("taks", "Task"), ("TASK", "Task"), ("visual categroy", "Visual Category"), ("xyz", None)],
)
def test_the_nearest_name_is_found_whatever_the_case(name: str, found: str | None) -> None:
    assert nearest(name, ["Task", "Visual Category", "Name"]) == found


def test_nothing_is_nearest_to_nothing() -> None:
    assert nearest("a", []) is None
