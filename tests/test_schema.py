from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from filterdb import schema
from filterdb.errors import CorruptDataError, MetadataError

DOCUMENT = (Path(__file__).parent.parent / "docs" / "file-format.md").read_text("utf-8")


def section(title: str) -> str:
    """The text of one section of the specification."""
    start = DOCUMENT.index(f"# {title}\n")
    end = re.search(r"^#+ ", DOCUMENT[start + 2 :], re.MULTILINE)
    return DOCUMENT[start : start + 2 + end.start()] if end else DOCUMENT[start:]


def names_in(title: str) -> list[str]:
    """What the tables of a section list in code marks in their first column."""
    return re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)


def types_in(title: str) -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]+)` \| (int64|float64|bool|text) \|", section(title), re.MULTILINE)
    return {name: "str" if kind == "text" else kind for name, kind in rows}


def test_the_document_lists_the_columns_of_meta_and_no_others() -> None:
    listed = names_in("/meta")
    expected = [
        *schema.INDEX,
        *schema.LEADING,
        *schema.METADATA,
        *schema.TOTALS,
        "(X, Y) filters",
        *schema.RECORD,
    ]
    assert listed == expected


def test_the_document_lists_the_columns_of_models_and_no_others() -> None:
    assert names_in("/models") == [*schema.MODELS, *schema.STATUSES]


def test_the_document_lists_the_columns_of_skipped_and_no_others() -> None:
    assert names_in("/skipped") == list(schema.SKIPPED)


@pytest.mark.parametrize(
    ("title", "columns"),
    [
        ("/meta", {**schema.LEADING, **schema.TOTALS, **schema.RECORD}),
        ("/models", schema.MODELS),
        ("/skipped", schema.SKIPPED),
    ],
)
def test_the_document_gives_the_types_of_the_schema(title: str, columns: dict[str, str]) -> None:
    stated = types_in(title)
    assert {name: stated[name] for name in columns} == dict(columns)


def test_the_document_lists_the_root_attributes_and_no_others() -> None:
    assert names_in("Root attributes") == [*schema.ATTRIBUTES, *schema.OPTIONAL_ATTRIBUTES]


@pytest.mark.parametrize(
    "number",
    [
        schema.CHUNK_ROWS,
        schema.MAX_COLUMNS,
        schema.MAX_NAMES_BYTES,
        schema.MAX_METADATA_COLUMNS,
        schema.MAX_METADATA_NAMES_BYTES,
        schema.MAX_CELL_BYTES,
    ],
)
def test_the_document_states_the_bounds_of_the_schema(number: int) -> None:
    assert f"{number:,}" in DOCUMENT


def test_the_columns_of_the_parts_do_not_overlap() -> None:
    parts = [schema.INDEX, schema.LEADING, schema.METADATA, schema.TOTALS, schema.RECORD]
    names = [name for part in parts for name in part]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "column",
    [
        "model_id",
        "filter_ids",
        "total_filters",
        "layer_name",
        "status",
        "path",
        "(3, 3) filters",
        "(11, 2) filters",
    ],
)
def test_metadata_columns_that_collide_with_ours_are_refused_by_name(column: str) -> None:
    with pytest.raises(MetadataError, match=re.escape(repr(column))) as caught:
        schema.check_metadata_columns(["Name", column], where="models.csv")
    assert caught.value.where == "models.csv"
    assert caught.value.hint == "rename or remove it"


@pytest.mark.parametrize("column", ["", "\n", "a\0", "tab\t"])
def test_metadata_columns_without_a_printable_name_are_refused(column: str) -> None:
    with pytest.raises(MetadataError, match="a column is called"):
        schema.check_metadata_columns([column], where="models.csv")


@pytest.mark.parametrize("columns", [[f"c{i}" for i in range(257)], [f"{i}{'中' * 90}" for i in range(40)]])
def test_more_metadata_columns_than_the_tables_have_room_for_are_refused(columns: list[str]) -> None:
    with pytest.raises(MetadataError, match=f"there are {len(columns)} columns"):
        schema.check_metadata_columns(columns, where="models.csv")


def test_as_many_metadata_columns_as_the_document_says_are_taken() -> None:
    schema.check_metadata_columns([*schema.METADATA, *(f"c{i}" for i in range(247))], where="x")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("Conv", True),
        ("LSTM", True),
        ("Conv_2d", True),
        ("Task", False),
        ("conv", False),
        ("", False),
        ("X" * 64, True),
        ("X" * 65, False),
        ("A B", False),
        ("Ünicode", False),
        ("Name", False),
    ],
)
def test_only_names_of_operators_become_columns(name: str, counts: bool) -> None:
    assert schema.is_operator_column(name) is counts


def test_a_metadata_column_called_like_an_operator_is_refused_and_others_are_not() -> None:
    schema.check_operator_columns(["Task", "Stars"], ["Conv", "Task"], where="x")
    with pytest.raises(MetadataError, match="'Conv'"):
        schema.check_operator_columns(["Stars", "Conv"], ["Conv", "Relu"], where="x")


def test_an_empty_frame_has_the_types_of_its_table() -> None:
    frame = schema.empty_frame(schema.SKIPPED)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dict(schema.SKIPPED)


def meta_of(rows: int = 3) -> pd.DataFrame:
    """A frame that is a valid /meta of one model with two filters a record."""
    start = np.arange(rows) * 2
    values: dict[str, object] = {"int64": 1, "float64": 0.5, "bool": True, "str": "x"}
    columns = {**schema.LEADING, **dict.fromkeys(schema.METADATA, "str"), **schema.TOTALS, **schema.RECORD}
    frame = pd.DataFrame(
        {name: pd.Series([values[kind]] * rows, dtype=kind) for name, kind in columns.items()}
    )
    frame["filter_start"], frame["filter_end"] = start, start + 2
    frame["filter_ids"] = pd.Series([f"{a}:{a + 1}" for a in start], dtype="str")
    frame["out_channels"] = 2
    levels = [np.zeros(rows, "i8"), np.arange(rows), np.linspace(0, 1, rows), np.arange(rows)]
    frame.index = pd.MultiIndex.from_arrays(levels, names=schema.INDEX)
    return frame


def test_a_valid_frame_passes() -> None:
    schema.validate_meta(meta_of(), n_filters=6, where="x")
    schema.validate_meta(meta_of(0), n_filters=0, where="x")


@pytest.mark.parametrize("column", [*schema.LEADING, *schema.METADATA, *schema.TOTALS, *schema.RECORD])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(CorruptDataError, match=f"no column {column!r}"):
        schema.validate_meta(meta_of().drop(columns=column), n_filters=6, where="x")


@pytest.mark.parametrize("column", ["filter_start", "depthwise", "layer_name", "3x3_filter_share", "Task"])
def test_a_column_of_another_type_is_named(column: str) -> None:
    frame = meta_of()
    frame[column] = frame[column].astype("object") if column != "depthwise" else 1
    with pytest.raises(CorruptDataError, match=f"column {column!r} of /meta is"):
        schema.validate_meta(frame, n_filters=6, where="x")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("filter_start", 3, "without gaps or overlaps"),
        ("filter_end", 2, "at least one filter"),
        ("filter_ids", "2:4", "filter_ids"),
        ("out_channels", 7, "out_channels"),
    ],
)
def test_a_row_that_contradicts_itself_is_named(column: str, value: object, expected: str) -> None:
    frame = meta_of()
    frame.iloc[1, frame.columns.get_loc(column)] = value
    with pytest.raises(CorruptDataError) as caught:
        schema.validate_meta(frame, n_filters=6, where="x")
    assert "row 1 of /meta (model x, layer x)" in caught.value.what
    assert expected in str(caught.value.expected)


@pytest.mark.parametrize(
    ("level", "values"),
    [
        ("model_id", [0, 1, 0]),
        ("model_id", [-1, 0, 0]),
        ("layer_id", [0, 2, 3]),
        ("layer_id", [0, 0, 1]),
        ("conv_depth", [0, 2, 1]),
        ("conv_depth_norm", [0.0, 0.5, 1.5]),
        ("conv_depth_norm", [0.0, np.nan, 1.0]),
        ("model_id", [0.0, 0.0, 0.0]),
    ],
)
def test_an_index_out_of_order_or_range_is_refused(level: str, values: list[float]) -> None:
    frame = meta_of()
    index = frame.index.to_frame(index=False)
    index[level] = values
    frame.index = pd.MultiIndex.from_frame(index)
    with pytest.raises(CorruptDataError):
        schema.validate_meta(frame, n_filters=6, where="x")


def test_an_index_of_other_names_is_refused() -> None:
    with pytest.raises(CorruptDataError, match="index of /meta"):
        schema.validate_meta(meta_of().rename_axis(["a", "b", "c", "d"]), n_filters=6, where="x")


def tables_of() -> dict[str, pd.DataFrame]:
    meta = meta_of()
    values = {"int64": 0, "float64": 0.0, "bool": True, "str": "x"}
    models = pd.DataFrame({n: pd.Series([values[k]], dtype=k) for n, k in schema.MODELS.items()})
    models["status"] = pd.Series(["ok"], dtype="str")
    models["n_records"], models["n_filters"] = 3, 6
    return {"meta": meta, "models": models, "skipped": schema.empty_frame(schema.SKIPPED)}


def test_tables_that_agree_pass() -> None:
    schema.validate_tables(**tables_of(), where="x")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("name", "y", "row 0 of /meta"),
        ("status", "great", "status is 'great'"),
        ("n_records", 2, "n_records is 2"),
        ("n_filters", 7, "n_filters is 7"),
        ("n_skipped", 1, "n_skipped is 1"),
    ],
)
def test_models_that_contradict_the_other_tables_are_refused(
    column: str, value: object, message: str
) -> None:
    tables = tables_of()
    tables["models"][column] = pd.Series([value], dtype=schema.MODELS[column])
    with pytest.raises(CorruptDataError, match=re.escape(message)):
        schema.validate_tables(**tables, where="x")


@pytest.mark.parametrize("model_id", [-1, 1, 10**12])
def test_a_model_that_does_not_exist_is_refused(model_id: int) -> None:
    tables = tables_of()
    row = {"model_id": [model_id], "layer_name": ["a"], "op_type": ["Conv"], "kernel": ["?"], "reason": ["r"]}
    tables["skipped"] = schema.typed(pd.DataFrame(row), schema.SKIPPED)
    with pytest.raises(CorruptDataError, match="/skipped names a model"):
        schema.validate_tables(**tables, where="x")
