from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filterdb import schema
from filterdb.errors import MetadataError
from filterdb.extract.metadata import Metadata, join_metadata
from filterdb.types import ModelSource


def sources(*relpaths: str) -> list[ModelSource]:
    """Sources named by their stem, or by their path where the stem is not the only one."""
    stems = [Path(path).stem for path in relpaths]
    names = [
        stem if stems.count(stem) == 1 else path.rpartition(".")[0]
        for stem, path in zip(stems, relpaths, strict=True)
    ]
    return [ModelSource(n, Path(p), p) for n, p in zip(names, relpaths, strict=True)]


ABC = sources("a.onnx", "b.onnx", "c.onnx")


def join(text: str | bytes, folder: Path, models: Sequence[ModelSource] = ABC) -> Metadata:
    path = folder / "models.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return join_metadata(models, path)


def join_parquet(columns: dict[str, Any], folder: Path) -> Metadata:
    path = folder / "models.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return join_metadata(ABC, path)


def complaint(text: str | bytes, folder: Path) -> str:
    with pytest.raises(MetadataError) as caught:
        join(text, folder)
    assert "models.csv" in str(caught.value)
    return str(caught.value)


def test_rows_are_put_into_the_order_of_the_models(tmp_path: Path) -> None:
    found = join("Name,Task,Stars\nc,Three,3\na,One,1\nb,Two,2\n", tmp_path)
    assert found.frame["Task"].tolist() == ["One", "Two", "Three"]
    assert found.frame["Stars"].tolist() == [1, 2, 3]
    assert found.has_row == (True, True, True)
    assert (found.without_model, found.ambiguous) == ((), ())


def test_the_columns_of_the_reference_come_first_and_are_all_there(tmp_path: Path) -> None:
    found = join("Zeta,Task,Name,Alpha\n1,T,a,2\n", tmp_path)
    assert list(found.frame.columns) == [*schema.METADATA, "Zeta", "Alpha"]
    assert found.frame["Paper"].isna().all()


def test_without_a_table_only_the_names_are_known() -> None:
    found = join_metadata(ABC, None)
    assert found.frame["Name"].tolist() == ["a", "b", "c"]
    assert found.has_row == (False, False, False)
    assert all(str(dtype) == "str" for dtype in found.frame.dtypes)


def test_rows_without_a_model_and_models_without_a_row_are_reported(tmp_path: Path) -> None:
    found = join("Name,Task\na,One\nx,None\ny,None\n", tmp_path)
    assert found.without_model == ("x", "y")
    assert found.has_row == (True, False, False)
    assert found.frame["Name"].tolist() == ["a", "b", "c"]
    assert found.frame["Task"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("name", ["a", " a ", "a.onnx", "a.ONNX", '" a.onnx "'])
def test_a_name_may_carry_its_suffix_and_spaces(name: str, tmp_path: Path) -> None:
    assert join(f"Name,Task\n{name},One\n", tmp_path).has_row == (True, False, False)


def test_a_model_whose_suffix_is_in_capitals_is_found_by_path_and_stem(tmp_path: Path) -> None:
    models = sources("x/A.ONNX", "y/A.Onnx", "z/B.ONNX")
    found = join("Name,Task\nx/A,1\ny/A.onnx,2\nz/B,3\n", tmp_path, models)
    assert found.has_row == (True, True, True)
    assert found.frame["Task"].tolist() == ["1", "2", "3"]


def test_a_stem_that_several_models_share_fits_none(tmp_path: Path) -> None:
    models = sources("x/m.onnx", "y/m.onnx", "n.onnx")
    found = join("Name,Task\nm,1\nn,2\n", tmp_path, models)
    assert found.has_row == (False, False, True)
    assert (found.ambiguous, found.without_model) == (("m",), ())


def test_a_model_at_the_top_has_its_stem_before_others_below(tmp_path: Path) -> None:
    models = [ModelSource("m", Path("m"), "m.onnx"), ModelSource("b/m", Path("b/m"), "b/m.onnx")]
    found = join("Name,Task\nm,top\nb/m,below\n", tmp_path, models)
    assert found.frame["Task"].tolist() == ["top", "below"]
    assert found.ambiguous == ()


def test_a_path_that_two_zoos_share_fits_none(tmp_path: Path) -> None:
    models = [ModelSource(f"{zoo}/x/m", Path(zoo), "x/m.onnx") for zoo in ("one", "two")]
    found = join("Name,Task\nx/m,1\none/x/m,2\n", tmp_path, models)
    assert found.has_row == (True, False)
    assert found.ambiguous == ("x/m",)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_mark_and_line_ends_of_other_programs_do_not_matter(
    mark: bytes, end: bytes, tmp_path: Path
) -> None:
    found = join(mark + end.join([b"Name,Task", "a,Größe".encode(), b""]), tmp_path)
    assert found.frame["Task"].tolist()[0] == "Größe"


@pytest.mark.parametrize("cell", ["NA", "nan", "None", "null", "N/A", "NULL"])
def test_words_for_missing_are_words(cell: str, tmp_path: Path) -> None:
    found = join(f"Name,Task,Other\na,{cell},{cell}\nb,,\n", tmp_path)
    assert found.frame["Task"].tolist()[0] == cell
    assert found.frame["Other"].tolist()[0] == cell
    assert found.frame["Task"].isna().tolist() == [False, True, True]


def test_names_and_reference_columns_of_digits_stay_text(tmp_path: Path) -> None:
    found = join("Name,Task,Paper\n007,1,2021\n1e3,,\n", tmp_path, sources("007.onnx", "1e3.onnx"))
    assert found.has_row == (True, True)
    assert found.frame["Task"].tolist()[0] == "1"
    assert found.frame["Paper"].tolist()[0] == "2021"


@pytest.mark.parametrize(
    ("given", "other"), [("Datatype", "Visual Category"), ("Visual Category", "Datatype")]
)
def test_the_two_names_of_the_visual_category_are_filled_from_each_other(
    given: str, other: str, tmp_path: Path
) -> None:
    found = join(f"Name,{given}\na,natural\n", tmp_path)
    assert found.frame[given].tolist()[0] == found.frame[other].tolist()[0] == "natural"
    both = join(f"Name,{given},{other}\na,natural,\n", tmp_path)
    assert both.frame[other].isna().all()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the file is empty"),
        ("Names,Task\na,1\n", "there is no column 'Name' (but 'Names')"),
        ("name,Task\na,1\n", "there is no column 'Name' (but 'name')"),
        ("Task\na\n", "there is no column 'Name'"),
        ("Name;Task\na;1\n", "separate the columns by commas"),
        ("Name,Task,Task\na,1,2\n", "the column 'Task' appears twice"),
        ("Name,Task, Task \na,1,2\n", "the column 'Task' appears twice"),
        ("Name,Task\na,1\na,2\n", "'a' has more than one row"),
        ("Name,Task\na,1\na.onnx,2\n", "'a' has more than one row"),
        ("Name,Task\na,1\n,2\n", "row 2 has no Name"),
        ("Name,Task\n a ,1\n  ,2\n", "row 2 has no Name"),
        ("Name,Task\na,1,2\n", "line 2 has 3 cells"),
        ("Name,Task\na\n", "line 2 has 1 cells"),
        ('Name,Task\n"a,1\n', "line 2 has 1 cells"),
        ("Name,Task\nGr\xf6\xdfe,1\n".encode("latin-1"), "the file is not in UTF-8"),
        ("Name,Task\na,1\n".encode("utf-16"), "the file is not in UTF-8"),
        ("Name,Task\na,\0\n", "line 2 holds a NUL"),
        ("Name,depth\na,1\n", "the column 'depth' is one that extraction writes itself"),
        ("Name,Task,\na,1,2\n", "a column is called ''"),
        (f"Name,Task\na,{'x' * 66_000}\n", "a cell of the column 'Task' takes 66,000 bytes"),
        (f"Name,Other\na,{'é' * 33_000}\n", "a cell of the column 'Other' takes 66,000 bytes"),
        ("Name," + ",".join(f"c{i}" for i in range(300)) + "\n", "there are 301 columns"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(
    text: str | bytes, what: str, tmp_path: Path
) -> None:
    assert what in complaint(text, tmp_path)


@pytest.mark.parametrize("text", ["Name,Task\n", "Name,Task", "Name\n\n\n"])
def test_a_table_of_a_header_alone_fits_no_model(text: str, tmp_path: Path) -> None:
    found = join(text, tmp_path)
    assert found.has_row == (False, False, False)
    assert len(found.frame) == 3


def test_empty_lines_and_quoted_line_breaks_are_read(tmp_path: Path) -> None:
    found = join('Name,Task\n\na,"two\nlines, and a ""quote"""\n\nb,x\n', tmp_path)
    assert found.frame["Task"].tolist()[:2] == ['two\nlines, and a "quote"', "x"]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="no such file"):
        join_metadata(ABC, tmp_path / "absent.csv")
    with pytest.raises(MetadataError, match="cannot be read"):
        join_metadata(ABC, tmp_path)


@pytest.mark.parametrize("name", ["models.csv", "models.parquet"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(MetadataError, match="no regular file"):
        join_metadata(ABC, tmp_path / name)


NOTES = {
    "empty": "{}",
    "a list": "[]",
    "an index": '{"index_columns": [5], "columns": [], "column_indexes": []}',
    "a range": '{"index_columns": [{"kind": "range", "start": 0, "stop": "x", "step": 0, "name": null}],'
    ' "columns": [], "column_indexes": []}',
    "nested": "[" * 100_000,
    "a decimal": '{"index_columns": [], "columns": [], "column_indexes": [{"name": null, "field_name": null,'
    ' "pandas_type": "decimal", "numpy_type": "zzz", "metadata": {}}]}',
    "a time zone": '{"index_columns": ["Name"], "columns": [{"name": "Name", "field_name": "Name",'
    ' "pandas_type": "datetimetz", "numpy_type": "period[zz]", "metadata": {"timezone": 5}}],'
    ' "column_indexes": []}',
}


@pytest.mark.parametrize("notes", NOTES.values(), ids=NOTES)
def test_notes_of_pandas_that_are_none_are_no_crash(notes: str, tmp_path: Path) -> None:
    table = pa.table({"Name": ["a"]}).replace_schema_metadata({"pandas": notes})
    pq.write_table(table, tmp_path / "models.parquet")
    with contextlib.suppress(MetadataError):
        assert join_metadata(ABC, tmp_path / "models.parquet").has_row == (True, False, False)


def test_a_parquet_of_more_rows_than_there_can_be_models_is_refused(tmp_path: Path) -> None:
    names = pa.array(["x" * 100]).take(pa.array(np.zeros(5_000_000, np.int32)))
    pq.write_table(pa.table({"Name": names}), tmp_path / "models.parquet", compression="zstd")
    with pytest.raises(MetadataError, match="5,000,000 rows"):
        join_metadata(ABC, tmp_path / "models.parquet")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.parquet").write_bytes(b"no parquet")
    with pytest.raises(MetadataError):
        join_metadata(ABC, tmp_path / "models.parquet")


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["1", "2", "3"], "int64", [1, 2, 3]),
        (["1", "2", ""], "float64", [1.0, 2.0, None]),
        (["1.5", "", "2"], "float64", [1.5, None, 2.0]),
        (["True", "False", "True"], "bool", [True, False, True]),
        (["true", "", "false"], "str", ["True", None, "False"]),
        (["2020-01-31", "", "x"], "str", ["2020-01-31", None, "x"]),
        (["1", "two", "3.0"], "str", ["1", "two", "3.0"]),
        (["", "", ""], "str", [None, None, None]),
        (["9223372036854775807", "1", "2"], "int64", [2**63 - 1, 1, 2]),
        (["9223372036854775808", "1", "2"], "str", ["9223372036854775808", "1", "2"]),
        (["00123", "01", "7"], "str", ["00123", "01", "7"]),
        (["12e4567", "1e5", "7"], "str", ["12e4567", "1e5", "7"]),
        (["1e-3", "0.50", "7"], "float64", [0.001, 0.5, 7.0]),
        (["0.12345678901234567890", "1", "2"], "str", ["0.12345678901234567890", "1", "2"]),
    ],
)
def test_other_columns_get_the_type_of_their_cells(
    cells: list[str], dtype: str, values: list[Any], tmp_path: Path
) -> None:
    rows = "".join(f"{name},{cell}\n" for name, cell in zip("abc", cells, strict=True))
    column = join(f"Name,Other\n{rows}", tmp_path).frame["Other"]
    assert str(column.dtype) == dtype
    assert [None if pd.isna(cell) else cell for cell in column] == values


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["1", "2"], "float64", [1, 2, None]),
        (["True", "False"], "str", ["True", "False", None]),
        (["9007199254740993", "2"], "str", ["9007199254740993", "2", None]),
        (["x", "y"], "str", ["x", "y", None]),
    ],
)
def test_a_model_without_a_row_loses_nothing_of_the_others(
    cells: list[str], dtype: str, values: list[Any], tmp_path: Path
) -> None:
    rows = "".join(f"{name},{cell}\n" for name, cell in zip("ab", cells, strict=True))
    column = join(f"Name,Other\n{rows}", tmp_path).frame["Other"]
    assert str(column.dtype) == dtype
    assert [None if pd.isna(cell) else cell for cell in column] == values


@pytest.mark.parametrize(
    ("values", "dtype", "cells"),
    [
        (pd.array([1, None, 3], dtype="Int64"), "float64", [1.0, None, 3.0]),
        (pd.array([1, 2, 3], dtype="UInt8"), "int64", [1, 2, 3]),
        (np.array([2**64 - 1, 0, 1], dtype="u8"), "str", ["18446744073709551615", "0", "1"]),
        (pd.array([True, None, False], dtype="boolean"), "str", ["True", None, "False"]),
        (np.array([1.5, np.nan, 2], dtype="f4"), "float64", [1.5, None, 2.0]),
        (
            pd.to_datetime(["2020-01-31", None, "2021-02-01"]),
            "str",
            ["2020-01-31 00:00:00", None, "2021-02-01 00:00:00"],
        ),
        (pd.Categorical(["x", None, "y"]), "str", ["x", None, "y"]),
        (pd.Categorical([1, 2, 1]), "int64", [1, 2, 1]),
        ([["p", "q"], None, []], "str", ["['p' 'q']", None, "[]"]),
        (["a␀b", "nul\0", "plain"], "str", ["a\ufffdb", "nul\ufffd", "plain"]),
    ],
    ids=[
        "Int64",
        "UInt8",
        "uint64",
        "boolean",
        "float32",
        "dates",
        "categories",
        "numbers",
        "lists",
        "signs",
    ],
)
def test_columns_of_parquet_become_what_a_table_can_hold(
    values: Any, dtype: str, cells: list[Any], tmp_path: Path
) -> None:
    column = join_parquet({"Name": ["a", "b", "c"], "Other": values}, tmp_path).frame["Other"]
    assert str(column.dtype) == dtype
    assert [None if pd.isna(cell) else cell for cell in column] == cells


def test_parquet_and_csv_of_one_table_give_one_frame(tmp_path: Path) -> None:
    columns = {"Name": ["a", "b", "c"], "Task": ["x", None, "y"], "Stars": [1, 2, 3]}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    one, two = join_metadata(ABC, tmp_path / "t.csv"), join_parquet(columns, tmp_path)
    pd.testing.assert_frame_equal(one.frame, two.frame)
