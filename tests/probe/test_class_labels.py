"""Labels of every type: numbers and names become classes, and what is none is named with its row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models import classifier, images, write

from filterdb.errors import UsageError
from filterdb.probe import sparsity
from filterdb.probe.data import encode, open_data
from filterdb.probe.options import Setup
from filterdb.probe.runtime import Port

PORT = Port("x", (None, 1, 8, 8), "float32")
NAMES = ["b", "a", "b", "c"]


def classes(labels: Any) -> list[int]:
    return encode(labels, open_data(images(4), [PORT], Setup())).tolist()


@pytest.mark.parametrize(
    "labels",
    [
        NAMES,
        tuple(NAMES),
        np.asarray(NAMES),
        np.asarray(NAMES, "S1"),
        np.asarray(NAMES, object),
        np.asarray(NAMES, np.dtypes.StringDType()),
        pd.Series(NAMES),
        pd.Series(NAMES, index=[9, 7, 5, 3]),
        pd.Series(NAMES, dtype=object),
        pd.Series(NAMES, dtype="category"),
        pd.Categorical(NAMES, categories=["c", "b", "a"]),
        pd.DataFrame({"label": NAMES}),
        [7, -1, 7, 2**70],
        np.asarray([7, -1, 7, 9]),
        np.asarray([7, -1, 7, 9], np.float32),
        np.asarray([7, -1.0, np.int8(7), Decimal(9).__int__()], object),
        pd.Series([7, -1, 7, 9], dtype="Int64"),
        [[7], [-1], [7], [9]],
        ["b", "", "b", "c"],
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_names_and_whole_numbers_are_classes_in_their_order(labels: Any) -> None:
    assert classes(labels) == [1, 0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool, object, list])
def test_a_column_a_class_is_taken_for_the_classes(dtype: Any) -> None:
    hot = np.eye(3)[[1, 0, 1, 2]]
    assert classes(hot.tolist() if dtype is list else hot.astype(dtype)) == [1, 0, 1, 2]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([1, 1, 0], "row 2 is not a single 1 among zeros"),
        ([0, 0, 0], "row 2 is not a single 1 among zeros"),
        ([0.2, 0.7, 0.1], "row 2 is not a single 1 among zeros"),
        ([1, np.nan, 0], "row 2 is not a single 1 among zeros"),
        (["a", "b", "c"], r"labels of the shape \[4, 3\]"),
    ],
)
def test_columns_of_anything_else_are_refused_with_the_way_out(row: list[Any], told: str) -> None:
    hot = np.eye(3)[[1, 0, 1, 2]].astype(object)
    hot[2] = row
    with pytest.raises(UsageError, match=told) as caught:
        classes(hot)
    assert caught.value.hint == "labels.argmax(axis=1) makes classes of scores"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["a", "b", None, "a"], "a label is missing: row 2 has None"),
        (["a", np.nan, None, "a"], "a label is missing: row 1 has nan, as have 1 more"),
        ([0, 1, float("nan"), 1], "a label is missing: row 2 has nan"),
        (np.asarray([0, 1, np.nan, np.nan]), "a label is missing: row 2 has nan, as have 1 more"),
        (pd.Series(["a", None, "b", "a"]), "a label is missing: row 1 has nan"),
        (pd.Series(["a", None, "b", "a"], dtype="category"), "a label is missing: row 1 has nan"),
        (pd.Series([1, None, 2, 1], dtype="Int64"), "a label is missing: row 1 has nan"),
        (np.asarray([0, 1, np.inf, 1]), "the labels are float64: row 2 has inf"),
        ([0, -np.inf, 1, 1], "the labels are float: row 1 has -inf"),
        (np.asarray([0, 1, 1.5, 1], np.float32), "the labels are float32: row 2 has 1.5"),
        (["a", "b", 3, "a"], "of two kinds: row 0 has 'a', row 2 has 3"),
        ([1, "b", 3, 4], "of two kinds: row 0 has 1, row 1 has 'b'"),
        ([[1], [1, 2], [3], [4]], "the labels are list: row 0 has [1]"),
        ([{}, 1, 2, 3], "the labels are dict: row 0 has {}"),
        (np.asarray([1j] * 4), "the labels are complex128"),
        (np.asarray(["2020-01-01"] * 4, "M8[D]"), "the labels are datetime64[D]"),
        ([0, 1, 0], "labels of the shape [3] for 4 rows"),
        (5, "labels of the shape [] for 4 rows"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_named_with_its_row(labels: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        classes(labels)
    assert told in str(caught.value)


def test_labels_given_as_objects_are_left_as_they_are() -> None:
    given = np.asarray([1.0, 2, True, 0], object)
    assert classes(given) == [1, 2, 1, 0]
    assert [type(label) for label in given] == [float, int, bool, int]


@pytest.mark.parametrize("name", ["y", "label", "labels", "target", "targets"])
def test_an_input_may_be_called_what_labels_are_called(tmp_path: Path, name: str) -> None:
    port = Port(name, (None, 1, 8, 8), "float32")
    other = "labels" if name != "labels" else "y"
    data = images(4)
    np.savez(tmp_path / "d.npz", **{name: data, other: [3, 1, 3, 4], "more": [0] * 4})
    for given in (tmp_path / "d.npz", {name: data, other: [3, 1, 3, 4]}):
        source = open_data(given, [port], Setup())  # type: ignore[arg-type]
        assert (source.read(np.arange(4))[name] == data).all()
        assert encode(None, source).tolist() == [1, 0, 1, 2]
    both = [port, Port("x", (None, 2), "float32")]
    np.savez(tmp_path / "two.npz", **{name: data, "x": np.zeros((4, 2))})
    assert open_data(tmp_path / "two.npz", both, Setup()).labels is None


@pytest.mark.parametrize("name", ["d.npz", "d.npy"])
def test_objects_in_files_are_refused_in_our_own_words(tmp_path: Path, name: str) -> None:
    labels = np.asarray(NAMES, object)
    if name.endswith("npz"):
        np.savez(tmp_path / name, x=images(4), labels=labels)
    else:
        np.save(tmp_path / name, labels, allow_pickle=True)
    with pytest.raises(UsageError, match="it holds Python objects") as caught:
        encode(tmp_path / name, open_data(images(4), [PORT], Setup()))
    assert "array.astype(str)" in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


def test_rows_of_unequal_length_are_no_data() -> None:
    with pytest.raises(UsageError, match="this is no array"):
        open_data([[1.0], [1.0, 2.0]], [PORT], Setup())  # type: ignore[arg-type]


def test_a_score_is_the_same_for_names_numbers_and_columns(tmp_path: Path) -> None:
    model, data = write(tmp_path / "m.onnx", classifier()), images(40)
    numbers = (data.mean(axis=(1, 2, 3)) > 0).astype(int)
    names = pd.Series(numbers).map({0: "dark", 1: "light"})
    found = [
        sparsity(model, data=data, labels=labels, layers=["head"]).to_frame()
        for labels in (numbers, names, names.astype("category"), np.eye(2)[numbers])
    ]
    assert all(table.equals(found[0]) for table in found)
