from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.errors import CorruptDataError, UsageError
from filterdb.store.frames import read_frame, write_frames
from filterdb.text import MISSING_TEXT, clean_text

ODD = [
    "",
    " ",
    "nan",
    "NaN",
    "NA",
    "None",
    "null",
    "trailing  ",
    "  leading",
    "a\nb\r\n",
    "tab\t",
    "Größe",
    "中文",
    "😀",
    "e\u0301",
    "'single' \"double\" `back`",
    "\\x00",
    "{}",
    "\ufffd",
    "\x7f\x01",
]
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0␀"), max_size=30)


def through_file(frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frame as the library reads it, and as pandas does."""
    write_frames(path, {"frame": frame})
    with h5py.File(path) as file:
        ours = read_frame(file["frame"], where=path)
    return ours, pd.read_hdf(path, "frame")


def test_odd_text_comes_back_as_it_was(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": pd.Series([*ODD, None], dtype="str"), "n": range(len(ODD) + 1)})
    ours, theirs = through_file(frame, tmp_path / "a.h5")
    pd.testing.assert_frame_equal(ours, frame)
    pd.testing.assert_frame_equal(theirs, frame)


@settings(max_examples=40)
@given(cells=st.lists(CELLS | st.none(), min_size=1, max_size=20))
def test_any_clean_text_comes_back(cells: list[str | None], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("frame") / "a.h5"
    frame = pd.DataFrame({"text": pd.Series(cells, dtype="str")})
    ours, theirs = through_file(frame, path)
    pd.testing.assert_frame_equal(ours, frame)
    assert [None if pd.isna(c) else c for c in theirs["text"]] == cells


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([0, -1, 2**63 - 1, -(2**63)]),
        pd.Series([0.0, -0.0, np.nan, np.inf]),
        pd.Series([5e-324, 1.7e308, -np.inf, 1 / 3]),
        pd.Series([True, False, True, True]),
        pd.Series([None] * 4, dtype="str"),
    ],
    ids=["int", "float", "extreme", "bool", "missing"],
)
def test_values_of_every_type_come_back_exactly(values: pd.Series, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": values, "b": range(4)})
    ours, _ = through_file(frame, tmp_path / "a.h5")
    pd.testing.assert_frame_equal(ours, frame, check_exact=True)
    assert ours["a"].to_numpy().tobytes() == frame["a"].to_numpy().tobytes() or values.dtype == "str"


@pytest.mark.parametrize(
    "name", ["index", "values_block_0", "table", "level_0", "it's", 'a "b"', "é/中", "a.b[0]", " x "]
)
def test_columns_of_odd_names_come_back(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({name: pd.Series(["x", "y"], dtype="str"), "n": [1, 2]})
    ours, theirs = through_file(frame, tmp_path / "a.h5")
    pd.testing.assert_frame_equal(ours, frame)
    pd.testing.assert_frame_equal(theirs, frame)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("a\0b", "a\ufffdb"),
        ("\0", "\ufffd"),
        (MISSING_TEXT, "\ufffd"),
        ("\udc80", "\\udc80"),
        ("é\ud800", "é\\ud800"),
        ("", ""),
    ],
)
def test_text_that_no_cell_can_hold_is_replaced_visibly(text: str, clean: str) -> None:
    assert clean_text(text) == clean
    assert clean_text(clean) == clean


def test_one_long_cell_does_not_blow_up_the_file(tmp_path: Path) -> None:
    text = pd.Series(["short"] * 20_000, dtype="str")
    text[77] = "x" * 5_000
    frame = pd.DataFrame({"text": text, "n": np.arange(20_000)})
    path = tmp_path / "a.h5"
    ours, theirs = through_file(frame, path)
    # The cells take 100 MB before compression.
    assert path.stat().st_size < 2_000_000
    pd.testing.assert_frame_equal(ours, frame)
    pd.testing.assert_frame_equal(theirs, frame)


def test_a_thousand_columns_work(tmp_path: Path) -> None:
    frame = pd.DataFrame({f"({i}, {i}) filters": np.arange(30) for i in range(1_000)})
    ours, theirs = through_file(frame, tmp_path / "a.h5")
    pd.testing.assert_frame_equal(ours, frame)
    pd.testing.assert_frame_equal(theirs, frame)


@pytest.mark.parametrize(
    "columns",
    [[f"c{i}" for i in range(1_001)], [f"{i}{'中' * 200}" for i in range(100)]],
    ids=["many", "long"],
)
def test_more_columns_than_a_table_holds_are_a_clear_error(columns: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_frames(tmp_path / "a.h5", {"frame": pd.DataFrame({name: [1] for name in columns})})
    assert f"{len(columns):,} columns" in str(caught.value)
    assert "expected: 1,000 columns and 60,000 bytes at most" in str(caught.value)
    assert not (tmp_path / "a.h5").exists()


def test_rows_are_read_in_blocks_that_join(tmp_path: Path) -> None:
    text = pd.Series([f"{i}" for i in range(5_000)], dtype="str")
    text[4_999] = "y" * 20_000
    frame = pd.DataFrame({"text": text, "n": np.arange(5_000), "b": np.arange(5_000) % 3 == 0})
    ours, _ = through_file(frame, tmp_path / "a.h5")
    pd.testing.assert_frame_equal(ours, frame)


def test_an_empty_frame_leaves_no_trace(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.h5", {"frame": pd.DataFrame({"a": []}), "other": pd.DataFrame({"a": [1]})})
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["other"]


def test_text_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_frames(path, {"frame": pd.DataFrame({"text": pd.Series(["ab"], dtype="str")})})
    with h5py.File(path, "r+") as file:
        rows = file["frame/table"][:]
        rows["values_block_0"] = b"\xff"
        file["frame/table"][:] = rows
    with h5py.File(path) as file, pytest.raises(CorruptDataError, match="column 'text' holds bytes"):
        read_frame(file["frame"], where=path)
