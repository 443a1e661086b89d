from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import Case, layer, metadata_of, record, small_case, weights

from filterdb import schema
from filterdb.errors import MetadataError
from filterdb.store import DatasetFile, Tables, ZooEntry, build_tables, filters_sha256, read_records, verify
from filterdb.text import clean_text
from filterdb.types import ConvLayer, ModelRecord, SkippedLayer

SMALL = small_case()

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "nan", "NA", "None", " x ", "a\0b", "␀", "é\n\t", '"', "'"]
)
OPERATORS = st.sampled_from(["Conv", "Relu", "Add", "com", "Task", "model", "(3, 3) filters", "Ü", "X" * 70])
COUNTS = st.integers(0, 2**40)


@st.composite
def layers(draw: st.DrawFn) -> tuple[ConvLayer, np.ndarray]:
    out_channels, in_channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    filters = weights(out_channels, in_channels, seed=draw(st.integers(0, 3)))
    made = layer(
        draw(TEXTS),
        filters,
        out_channels,
        strides=draw(st.sampled_from([(), (1,), (2, 1)])),
        group=draw(st.integers(1, 9)),
        bn_follows=draw(st.booleans()),
        weight_source=draw(TEXTS),
        weight_dtype=draw(TEXTS),
    )
    return made, filters


@st.composite
def records(draw: st.DrawFn) -> tuple[ModelRecord, list[np.ndarray]]:
    drawn = draw(st.lists(layers(), max_size=3))
    depths = [layer(a.name, f, a.out_channels, conv_depth=i) for i, (a, f) in enumerate(drawn)]
    made = record(
        draw(st.sampled_from(["one", "two", "three"])),
        depths,
        skipped=draw(st.lists(st.builds(SkippedLayer, TEXTS, TEXTS, TEXTS, TEXTS), max_size=2)),
        producer=draw(TEXTS),
        ops=draw(st.dictionaries(OPERATORS, COUNTS, max_size=4)),
        other_ops=draw(st.dictionaries(TEXTS, COUNTS, max_size=2)),
        kernels=draw(st.dictionaries(st.sampled_from(["(3, 3)", "(1, 1)", "(11, 2)"]), COUNTS)),
        notes=tuple(draw(st.lists(TEXTS, max_size=2))),
    )
    return made, [filters for _, filters in drawn]


@st.composite
def zoos(draw: st.DrawFn) -> Case:
    entries, blocks = [], []
    for number in range(draw(st.integers(1, 5))):
        name = f"{number}{draw(TEXTS)}"
        if draw(st.booleans()):
            made, filters = draw(records())
            entries.append(ZooEntry(name, draw(TEXTS), made, has_metadata=draw(st.booleans())))
            blocks += filters
        else:
            crashed = draw(st.booleans())
            entries.append(ZooEntry(name, "p", None, draw(TEXTS), sha256="ab", size=3, crashed=crashed))
    filters = np.concatenate(blocks) if blocks else np.empty((0, 9), np.float32)
    return Case(build_tables(entries, metadata_of([_clean(entry) for entry in entries])), filters)


def _clean(entry: ZooEntry) -> ZooEntry:
    return ZooEntry(clean_text(entry.name), entry.relpath, None)


def rebuilt(tables: Tables) -> Tables:
    """The tables made again from what read_records gives, and from the rows of the failures."""
    known = {name: made for name, made, _ in read_records(tables)}
    entries = [
        ZooEntry(
            row["name"],
            row["path"],
            known.get(row["name"]),
            row["reason"] if isinstance(row["reason"], str) else "",
            has_metadata=row["has_metadata"],
            sha256=row["sha256"],
            size=row["size"],
            crashed=row["status"] == "crashed",
        )
        for row in tables.models.to_dict("records")
    ]
    metadata = tables.models[[c for c in tables.models.columns if c not in schema.MODELS]]
    return build_tables(entries, metadata.reset_index(drop=True))


def assert_same(left: Tables, right: Tables) -> None:
    for name, frame in left.by_name().items():
        pd.testing.assert_frame_equal(right.by_name()[name], frame)


@settings(max_examples=40)
@given(zoos())
def test_tables_survive_records_and_back(case: Case) -> None:
    assert_same(case.tables, rebuilt(case.tables))


@settings(max_examples=12)
@given(case=zoos())
def test_tables_survive_the_file(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not len(case.tables.meta):
        return
    path = case.write(tmp_path_factory.mktemp("zoo") / "a.h5")
    assert verify(path) == []
    with DatasetFile(path) as file:
        assert_same(case.tables, file.tables)
        assert_same(case.tables, rebuilt(file.tables))
    path.unlink()


def test_records_come_back_as_they_were_with_the_rows_of_their_layers() -> None:
    found = list(read_records(SMALL.tables))
    assert [(name, rows) for name, _, rows in found] == [
        ("alpha", (0, 1)),
        ("copy", (2, 3)),
        ("empty", ()),
        ("gamma", (4,)),
    ]
    assert found[0][1] == found[1][1]
    assert [entry.name for entry in found[0][1].layers] == ["stem", "body.0"]
    assert found[0][1].skipped == (SkippedLayer("head", "Conv", "1x1", "another kernel size"),)


def test_a_record_that_repeats_weights_names_the_row_that_had_them_first() -> None:
    assert SMALL.tables.meta["duplicate_of"].tolist() == [-1, -1, 0, 1, -1]


def test_a_third_copy_names_the_first_row_too() -> None:
    same, other = weights(2, 2, seed=0), weights(2, 2, seed=1)
    made = record("m", [layer(n, f, 2) for n, f in (("a", other), ("b", same), ("c", same), ("d", same))])
    entries = [ZooEntry("m", "m.onnx", made)]
    assert build_tables(entries, metadata_of(entries)).meta["duplicate_of"].tolist() == [-1, -1, 1, 1]


def test_a_model_that_repeats_a_file_names_the_model_that_had_it_first() -> None:
    found = SMALL.tables.models["duplicate_of"]
    assert found[found.notna()].to_dict() == {2: "alpha"}


def test_failed_files_of_unknown_hash_are_no_duplicates_of_each_other() -> None:
    entries = [ZooEntry(name, name, None, "unreadable") for name in ("a", "b")]
    assert build_tables(entries, metadata_of(entries)).models["duplicate_of"].isna().all()


def test_every_file_has_a_row_with_its_status() -> None:
    models = SMALL.tables.models
    assert models["status"].tolist() == ["ok", "failed", "ok", "no_filters", "ok"]
    assert models["reason"].tolist()[1] == "the file is no model"
    assert models["reason"].isna().tolist() == [True, False, True, True, True]
    crashed = [ZooEntry("a", "a", None, "out of memory", crashed=True)]
    assert build_tables(crashed, metadata_of(crashed)).models["status"].tolist() == ["crashed"]


def test_a_zoo_without_any_record_still_gives_tables() -> None:
    entries = [ZooEntry("a", "a.onnx", None, "broken"), ZooEntry("b", "b.onnx", record("b"))]
    tables = build_tables(entries, metadata_of(entries))
    assert (len(tables.meta), len(tables.models), tables.n_filters) == (0, 2, 0)
    assert_same(tables, rebuilt(tables))


def test_totals_follow_the_rule_of_the_reference() -> None:
    filters = weights(2, 3, seed=0)
    made = record("m", [layer("a", filters, 2)], kernels={"(1, 1)": 100, "(3, 3)": 6, "(5, 5)": 2})
    entries = [ZooEntry("m", "m.onnx", made)]
    meta = build_tables(entries, metadata_of(entries)).meta
    assert meta["total_filters"].tolist() == [8]
    assert meta["3x3_filter_share"].tolist() == [0.75]
    assert meta[["(1, 1) filters", "(3, 3) filters", "(5, 5) filters"]].iloc[0].tolist() == [100, 6, 2]


def test_kernel_columns_are_sorted_as_numbers_and_operators_by_name() -> None:
    kernels = dict.fromkeys(["(11, 2)", "(2, 11)", "(3, 3)", "(2, 2)"], 1)
    made = record("m", [layer("a", weights(1, 1, seed=0), 1)], kernels=kernels, ops={"Relu": 1, "Add": 2})
    entries = [ZooEntry("m", "m.onnx", made)]
    columns = list(build_tables(entries, metadata_of(entries)).meta.columns)
    start = columns.index("3x3_filter_share") + 1
    assert columns[start : start + 6] == [
        *(f"({shape}) filters" for shape in ("2, 2", "2, 11", "3, 3", "11, 2")),
        *("Add", "Relu"),
    ]


@pytest.mark.parametrize("name", ["Conv", "Relu"])
def test_a_metadata_column_called_like_an_operator_is_refused_by_name(name: str) -> None:
    made = record("m", [layer("a", weights(1, 1, seed=0), 1)])
    entries = [ZooEntry("m", "m.onnx", made)]
    with pytest.raises(MetadataError, match=f"'{name}' is the name of an ONNX operator"):
        build_tables(entries, metadata_of(entries, **{name: [1.0]}))


def test_an_operator_called_like_a_column_of_ours_is_counted_in_models_only() -> None:
    ops = {"Task": 5, "model": 6, "filter_start": 7, "Conv": 1, "(3, 3) filters": 8, "": 9}
    made = record("m", [layer("a", weights(1, 1, seed=0), 1)], ops=ops)
    entries = [ZooEntry("m", "m.onnx", made)]
    tables = build_tables(entries, metadata_of(entries, Task=["Embedding"]))
    assert tables.meta.columns.is_unique
    assert tables.meta["Task"].tolist() == ["Embedding"]
    assert json.loads(tables.models["ops"].iloc[0]) == ops


def wide_zoo(*, shapes: int, operators: int, metadata: int, length: int = 0) -> Case:
    """A zoo of as many different kernels, operators and metadata columns."""
    filters = weights(1, 1, seed=0)
    kernels = {"(3, 3)": 1} | {f"({i}, 1)": i for i in range(1, shapes)}
    ops = {f"Op{i:04}{'x' * length}": i for i in range(operators)}
    made = record("m", [layer("a", filters, 1)], kernels=kernels, ops=ops)
    entries = [ZooEntry("m", "m.onnx", made)]
    extra = {f"column {i:03}": ["text"] for i in range(metadata)}
    return Case(build_tables(entries, metadata_of(entries, **extra)), filters)


@pytest.mark.parametrize(
    ("shapes", "operators", "metadata", "length"),
    [(2000, 100, 10, 0), (10, 2000, 10, 0), (500, 500, 247, 0), (500, 900, 247, 55)],
    ids=["shapes", "operators", "both", "long names"],
)
def test_a_zoo_with_more_counts_than_columns_keeps_the_rest_in_models(
    shapes: int, operators: int, metadata: int, length: int, tmp_path: Path
) -> None:
    case = wide_zoo(shapes=shapes, operators=operators, metadata=metadata, length=length)
    meta = case.tables.meta
    assert len(meta.columns) + len(schema.INDEX) <= schema.MAX_COLUMNS
    assert "(3, 3) filters" in meta.columns
    assert schema.names_bytes([*schema.INDEX, *meta.columns]) <= schema.MAX_NAMES_BYTES
    assert len(json.loads(case.tables.models["kernels"].iloc[0])) == shapes
    assert len(json.loads(case.tables.models["ops"].iloc[0])) == operators
    path = case.write(tmp_path / "wide.h5")
    assert verify(path) == []
    assert list(pd.read_hdf(path, "meta").columns) == list(meta.columns)
    assert_same(case.tables, rebuilt(case.tables))


def test_kernel_columns_go_before_operators_do() -> None:
    columns = wide_zoo(shapes=2000, operators=300, metadata=0).tables.meta.columns
    assert sum(column.startswith("Op") for column in columns) == 300
    assert len(columns) + len(schema.INDEX) == schema.MAX_COLUMNS


@pytest.mark.parametrize(
    "values",
    [
        {"other_ops": {f"made.up::{i}": 1 for i in range(9_000)}},
        {"notes": ("x" * 70_000,)},
        {"producer": "é" * 40_000},
        {"skipped": [SkippedLayer("a", "Conv", "1x1", "y" * 70_000)]},
    ],
    ids=["operators", "notes", "producer", "skipped"],
)
def test_a_model_whose_texts_are_wider_than_a_cell_fails_alone(values: dict[str, object]) -> None:
    filters = weights(1, 1, seed=0)
    entries = [
        ZooEntry("bad", "bad.onnx", record("bad", [layer("a", filters, 1)], **values)),
        ZooEntry("good", "good.onnx", record("good", [layer("a", filters, 1)])),
    ]
    models = build_tables(entries, metadata_of(entries)).models
    assert models["status"].tolist() == ["failed", "ok"]
    assert "expected 65,536 bytes at most" in models["reason"].iloc[0]
    assert models["sha256"].iloc[0] == record("bad").sha256
    assert models["n_filters"].tolist() == [0, 1]


def test_a_layer_name_wider_than_a_cell_fails_its_model() -> None:
    made = record("m", [layer("n" * 70_000, weights(1, 1, seed=0), 1)])
    entries = [ZooEntry("m", "m.onnx", made)]
    assert build_tables(entries, metadata_of(entries)).models["status"].tolist() == ["failed"]


def test_entries_and_metadata_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match="1 entries but 5 rows"):
        build_tables([ZooEntry("a", "a", None)], SMALL.tables.models)


def test_weights_are_hashed_as_little_endian_float32() -> None:
    filters = weights(2, 2, seed=0)
    assert filters_sha256(filters) == filters_sha256(filters.astype(">f4"))
    assert filters_sha256(filters) == filters_sha256(np.asfortranarray(filters))
    assert filters_sha256(filters) != filters_sha256(-filters)
