"""Exports: what other tools read from them, and what an import refuses."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import tables as pytables
import yaml
from store_cases import Case, field_of, layer, long_case, metadata_of, record, small_case, weights

from filterdb import schema
from filterdb.errors import CorruptDataError, FilterDBError, NotADatasetError, UsageError
from filterdb.run.exchange.export import export
from filterdb.run.exchange.ingest import ingest
from filterdb.store import DatasetFile, ZooEntry, build_tables, parquet, verify
from filterdb.store.cards import MEANINGS
from filterdb.store.hashing import content_hash
from filterdb.store.parquet import Piece
from filterdb.types import Kernel


@pytest.fixture(scope="module")
def case() -> Case:
    return small_case()


@pytest.fixture(scope="module")
def dataset(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.write(tmp_path_factory.mktemp("small") / "small.h5")


@pytest.fixture(scope="module")
def exported(dataset: Path) -> Path:
    return export(dataset, dataset.with_name("exported")).out


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    return export(dataset, tmp_path / "exported").out


def hash_of(path: Path) -> str:
    with DatasetFile(path) as file:
        return file.content_hash


def awkward_cases() -> dict[str, Case]:
    odd = np.array([0x7FC00001, 0x7F800001, 0xFFC12345, 0x80000000, 1, 0x7F800000, 0xFF800000, 0, 3], "u4")
    bits = np.tile(odd.view("f4"), (6, 1))
    entry = ZooEntry("m", "m.onnx", record("m", [layer("l", bits, 2)]))
    names = ["Größe/模型|`a`", "a\"b'c\\d", "e\nf <script>", "zz*[1]?"]
    blocks = [weights(2, 2, seed=place) for place in range(4)]
    unicode = [
        ZooEntry(name, f"z/{name}.onnx", record(name, [layer(f"λ.{name}", block, 2)]))
        for name, block in zip(names, blocks, strict=True)
    ]
    columns = {
        "Task": ["", None, "nan", "None"],
        "Leer": [None, None, None, None],
        "Unbekannt": [np.nan] * 4,
        "Sterne": [1.5, np.nan, -0.0, np.inf],
        "Groß": [2**62, -(2**63), 0, 2**53 + 1],
        "a.b": [True, False, True, True],
        "a": ["x.y", "{}", "\u2028", "\U0001f600"],
    }
    wide = weights(3, 4, seed=5, size=25)
    five = ZooEntry("five", "five.onnx", record("five", [layer("l", wide, 3)], kernels={"(5, 5)": 12}))
    return {
        "bits": Case(build_tables([entry], metadata_of([entry])), bits),
        "unicode": Case(build_tables(unicode, metadata_of(unicode, **columns)), np.concatenate(blocks)),
        "five": Case(build_tables([five], metadata_of([five])), wide, Kernel(5, 5)),
        "long": long_case(200_001),
        "small": small_case(),
    }


AWKWARD = awkward_cases()


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("name", AWKWARD)
def test_an_export_and_its_import_give_the_same_content_and_the_same_bytes(
    name: str, compression: str | None, tmp_path: Path
) -> None:
    made = AWKWARD[name].write(tmp_path / "a.h5", compression=compression)
    report = export(made, tmp_path / "exported")
    back = ingest(report.out, tmp_path / "b.h5", compression=compression or "none")
    assert report.content_hash == back.content_hash == hash_of(made)
    assert (tmp_path / "b.h5").read_bytes() == made.read_bytes()
    assert verify(tmp_path / "b.h5") == []


def test_the_same_data_set_gives_the_same_folder(dataset: Path, exported: Path, tmp_path: Path) -> None:
    other = export(dataset, tmp_path / "a" / "b" / "other").out
    names = sorted(path.relative_to(exported) for path in exported.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert all((exported / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_pandas_finds_every_table_with_its_index(exported: Path, case: Case) -> None:
    for name, frame in case.tables.by_name().items():
        pd.testing.assert_frame_equal(pd.read_parquet(exported / f"{name}.parquet"), frame)


def test_missing_cells_are_nulls_and_nothing_else_is(exported: Path) -> None:
    found = duckdb.sql(
        f"SELECT name, Task, \"Visual Category\", Stars FROM '{exported}/models.parquet' ORDER BY model_id"
    ).fetchall()
    assert found == [
        ("alpha", "Classification", "natural", 5.0),
        ("beta", None, None, None),
        ("copy", None, None, None),
        ("empty", "Embedding", "nan", 1.0),
        ("gamma", "Größe", "", 2.5),
    ]


def per_record(case: Case) -> list[tuple[str, int, float]]:
    """The sum of the centre weight of each record without NaNs, by a loop over the rows of /meta."""
    meta = case.tables.meta
    return [
        (model, int(layer_id), float(np.nansum(case.filters[start:end, 4].astype("f8"))))
        for model, layer_id, start, end in zip(
            meta["model"],
            meta.index.get_level_values("layer_id"),
            meta["filter_start"],
            meta["filter_end"],
            strict=True,
        )
    ]


def test_duckdb_joins_the_filters_to_their_layers(exported: Path, case: Case) -> None:
    found = duckdb.sql(
        f"""
        SELECT model, layer_id, sum(f4::DOUBLE) FILTER (NOT isnan(f4)), count(*), min(filter_id)
        FROM read_parquet('{exported}/filters/*/*.parquet', hive_partitioning = true)
        JOIN '{exported}/meta.parquet' USING (model_id, layer_id)
        GROUP BY model, layer_id ORDER BY model, layer_id
        """
    ).fetchall()
    meta = case.tables.meta
    for (model, layer_id, total, count, first), expected, row in zip(
        found, per_record(case), range(len(meta)), strict=True
    ):
        assert (model, layer_id) == expected[:2]
        assert total == pytest.approx(expected[2], abs=1e-12)
        assert (first, count) == (
            meta["filter_start"].iloc[row],
            meta["filter_end"].iloc[row] - meta["filter_start"].iloc[row],
        )


def test_polars_joins_the_filters_to_their_layers(exported: Path, case: Case) -> None:
    filters = pl.scan_parquet(exported / "filters/*/*.parquet", hive_partitioning=True)
    meta = pl.scan_parquet(exported / "meta.parquet")
    centre = pl.col("f4").cast(pl.Float64).fill_nan(0.0).sum()
    found = (
        filters.join(meta, on=["model_id", "layer_id"])
        .group_by("model", "layer_id")
        .agg(centre)
        .sort("model", "layer_id")
        .collect()
    )
    for row, expected in zip(found.rows(), per_record(case), strict=True):
        assert row[:2] == expected[:2]
        assert row[2] == pytest.approx(expected[2], abs=1e-12)


def test_pyarrow_reads_one_model_without_the_others_and_its_bits_are_the_file_s(
    exported: Path, case: Case
) -> None:
    data = pyarrow.dataset.dataset(exported / "filters", partitioning="hive")
    table = data.to_table(filter=pyarrow.dataset.field("model_id") == 2).sort_by("filter_id")
    found = np.column_stack([table.column(f"f{place}").to_numpy() for place in range(9)])
    assert found.dtype == np.float32
    assert found.tobytes() == case.filters[20:40].tobytes()
    assert table.column("filter_id").to_pylist() == list(range(20, 40))
    assert table.column("layer_id").to_pylist() == [0] * 12 + [1] * 8


def test_pandas_reads_the_kernels_of_a_layer(exported: Path, case: Case) -> None:
    part = pd.read_parquet(exported / "filters/model_id=0/part-0.parquet")
    assert [str(kind) for kind in part.dtypes] == ["int64"] * 2 + ["float32"] * 9
    layer = part[part["layer_id"] == 1].filter(regex=r"^f\d+$").to_numpy()
    assert np.array_equal(layer, case.filters[12:20], equal_nan=True)


def test_a_long_model_is_in_row_groups_of_bounded_height(tmp_path: Path) -> None:
    made = AWKWARD["long"].write(tmp_path / "a.h5")
    out = export(made, tmp_path / "exported").out
    with pq.ParquetFile(out / "filters/model_id=0/part-0.parquet") as file:
        heights = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert heights == [parquet.GROUP_ROWS, 200_001 - parquet.GROUP_ROWS]


@pytest.mark.parametrize("cuts", [[1], [7, 7, 131_072], [131_071, 2], [131_072], [262_144, 1]])
def test_pieces_of_any_height_give_the_same_rows(cuts: list[int], tmp_path: Path) -> None:
    filters = weights(1, 300_000, seed=1, size=2)
    edges = np.cumsum([0, *cuts, len(filters) - sum(cuts)])
    pieces = [Piece(int(a), place, filters[a:b]) for place, (a, b) in enumerate(itertools.pairwise(edges))]
    assert parquet.write_filters(tmp_path / "f.parquet", pieces, 2) == len(filters)
    blocks = parquet.read_filters(
        tmp_path / "f.parquet",
        first=0,
        layer_ids=np.arange(len(pieces)),
        counts=np.diff(edges),
        width=2,
    )
    assert np.array_equal(np.concatenate([block.copy() for block in blocks]), filters)


def test_filters_are_read_one_row_group_at_a_time(tmp_path: Path) -> None:
    rows, width = 8 * parquet.GROUP_ROWS, 2
    filters = weights(1, rows, seed=1, size=width)
    parquet.write_filters(tmp_path / "f.parquet", [Piece(0, 0, filters)], width)
    before, most = pa.total_allocated_bytes(), 0
    ids, counts = np.array([0]), np.array([rows])
    for _ in parquet.read_filters(tmp_path / "f.parquet", first=0, layer_ids=ids, counts=counts, width=width):
        most = max(most, pa.total_allocated_bytes() - before)
    row_bytes = 2 * 8 + width * 4
    assert most < 3 * parquet.GROUP_ROWS * row_bytes


# The card


def front_matter(folder: Path) -> dict[str, Any]:
    _, front, _ = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    data: dict[str, Any] = yaml.safe_load(front)
    return data


def test_the_front_matter_says_what_a_hub_asks_for(exported: Path) -> None:
    front = front_matter(exported)
    assert front["license"] == "other"
    assert front["pretty_name"] == "small"
    assert front["size_categories"] == ["n<1K"]
    paths = {entry["config_name"]: entry["data_files"][0]["path"] for entry in front["configs"]}
    assert paths.keys() == {"meta", "models", "skipped", "filters"}
    rows = {
        name: duckdb.sql(f"SELECT count(*) FROM '{exported}/{path}'").fetchall()[0][0]
        for name, path in paths.items()
    }
    assert rows == {"meta": 5, "models": 5, "skipped": 2, "filters": 45}


@pytest.mark.parametrize(
    ("rows", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (20_000_000, "10M<n<100M"), (1_464_797_156, "1B<n<10B")],
)
def test_the_size_category_is_the_order_of_magnitude(rows: int, category: str) -> None:
    from filterdb.store.cards import _size_category

    assert _size_category(rows) == category


def test_the_licence_is_the_user_s_and_the_card_says_whose_word_it_is(dataset: Path, tmp_path: Path) -> None:
    out = export(dataset, tmp_path / "a", license="cc-by-4.0", title='Filters: a "title"').out
    assert front_matter(out)["license"] == "cc-by-4.0"
    assert front_matter(out)["pretty_name"] == 'Filters: a "title"'
    assert "filterdb has not checked it" in (out / "README.md").read_text("utf-8")
    out = export(dataset, tmp_path / "b").out
    assert "No licence has been stated" in (out / "README.md").read_text("utf-8")


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "x" * 201])
def test_a_licence_of_more_or_less_than_a_line_is_refused(text: str, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="licence"):
        export(dataset, tmp_path / "a", license=text)
    assert list(tmp_path.iterdir()) == []


def test_the_queries_of_the_card_run(exported: Path) -> None:
    text = (exported / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        code = f"import warnings; warnings.simplefilter('error')\n{block}"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=exported, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_the_card_describes_every_column(exported: Path) -> None:
    text = (exported / "README.md").read_text("utf-8")
    for columns in (
        schema.INDEX,
        schema.LEADING,
        schema.TOTALS,
        schema.RECORD,
        schema.MODELS,
        schema.SKIPPED,
    ):
        for name in columns:
            assert name in MEANINGS
            assert f"| `{name}` |" in text
    for name in ("Stars", "Year", "Task"):
        assert f"| `{name}` |" in text
    assert "2 columns: filters of the model by kernel shape" in text
    assert "2 columns: nodes of the model by operator" in text


def test_what_a_metadata_table_says_gives_the_card_no_markup(tmp_path: Path) -> None:
    block = weights(2, 2, seed=0)
    entries = [ZooEntry("m", "m.onnx", record("m", [layer("l", block, 2)]))]
    task = "</script><img src=x>\n---\n# head | cell [a](b) `c`"
    case = Case(build_tables(entries, metadata_of(entries, Task=[task], Paper=[task])), block)
    out = export(case.write(tmp_path / "a.h5"), tmp_path / "exported", title="a | <b> # c").out
    text = (out / "README.md").read_text("utf-8")
    assert "<img" not in text
    assert "\n# head" not in text
    assert text.count("\n---\n") == 1
    assert "&lt;img src=x&gt;" in text
    assert front_matter(out)["pretty_name"] == "a | <b> # c"


# What an import refuses


def rewrite(folder: Path, change: Callable[[dict[str, pd.DataFrame]], None]) -> None:
    """Change the tables of an export as somebody would who knows how all its hashes are computed."""
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("meta", "models", "skipped")}
    change(frames)
    manifest = json.loads((folder / "dataset.json").read_text())
    for name, frame in frames.items():
        parquet.write_table(frame, folder / f"{name}.parquet")
        manifest["tables"][name] = content_hash({}, {name: frame})
    manifest["content_hash"] = content_hash(manifest["dataset"], frames)
    (folder / "dataset.json").write_text(json.dumps(manifest))


def refused(folder: Path, kind: type[FilterDBError] = CorruptDataError) -> str:
    out = folder.with_name("back.h5")
    with pytest.raises(kind) as caught:
        ingest(folder, out)
    assert [path.name for path in folder.parent.iterdir() if "back" in path.name] == []
    return str(caught.value)


def test_the_forger_of_these_tests_gets_through_where_nothing_is_wrong(folder: Path) -> None:
    def rename(frames: dict[str, pd.DataFrame]) -> None:
        frames["models"].loc[0, "path"] = "elsewhere.onnx"

    rewrite(folder, rename)
    assert verify(ingest(folder, folder.with_name("back.h5")).path) == []


@pytest.mark.parametrize("name", ["meta.parquet", "models.parquet", "skipped.parquet"])
def test_a_table_that_is_missing_cut_off_or_changed_is_named(name: str, folder: Path) -> None:
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert name in refused(folder)
    path.write_bytes(b"")
    assert name in refused(folder)
    path.write_bytes(whole)
    changed = pd.read_parquet(path)
    column = {"meta": "layer_name", "models": "path", "skipped": "reason"}[path.stem]
    changed.loc[changed.index[0], column] = "changed"
    parquet.write_table(changed, path)
    assert "has changed since it was exported" in (message := refused(folder))
    assert name in message
    path.unlink()
    assert "missing" in (message := refused(folder))
    assert name in message


def test_filters_that_are_missing_too_many_or_changed_are_named(folder: Path) -> None:
    first, third = (folder / f"filters/model_id={place}/part-0.parquet" for place in (0, 2))
    whole = first.read_bytes()
    first.unlink()
    assert str(first) in refused(folder)
    first.write_bytes(third.read_bytes())
    assert "filter_id" in (message := refused(folder))
    assert str(first) in message
    first.write_bytes(whole)
    extra = folder / "filters/model_id=1/part-0.parquet"
    extra.parent.mkdir()
    extra.write_bytes(whole)
    assert str(extra) in refused(folder)
    extra.unlink()
    table = pq.read_table(first, partitioning=None)
    values = table.column("f3").to_numpy().copy()
    values[13] += np.float32(1e-6)
    pq.write_table(table.set_column(5, "f3", pa.array(values)), first)
    message = refused(folder)
    assert "model alpha, layer body.0" in message
    assert str(first) in message


def test_parts_that_another_tool_has_written_again_are_as_good(folder: Path) -> None:
    part = folder / "filters/model_id=0/part-0.parquet"
    expected = json.loads((folder / "dataset.json").read_text())["content_hash"]
    pl.read_parquet(part, hive_partitioning=False).write_parquet(part, compression="snappy")
    meta = folder / "meta.parquet"
    pl.read_parquet(meta).write_parquet(meta, compression="gzip")
    assert ingest(folder, folder.with_name("back.h5")).content_hash == expected


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def lists(rows: int) -> pa.Array:
    return pa.array([[1.0]] * rows)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.0] * 20),
        pa.array(["x"] * 20),
        lists(20),
        pa.array([None] * 20, pa.float32()),
        pa.array([np.float16(1)] * 20),
        pa.array(range(20)),
        pa.array([{"a": 1}] * 20),
        pa.array([b"x"] * 20),
    ],
    ids=lambda values: str(values.type),
)
def test_filters_of_another_type_are_refused(values: pa.Array, folder: Path) -> None:
    part = folder / "filters/model_id=0/part-0.parquet"
    pq.write_table(replaced(pq.read_table(part, partitioning=None), "f0", values), part)
    assert str(part) in refused(folder)


@pytest.mark.parametrize("change", ["fewer rows", "more rows", "no column", "another column", "twice"])
def test_filters_of_another_shape_are_refused(change: str, folder: Path) -> None:
    part = folder / "filters/model_id=0/part-0.parquet"
    table = pq.read_table(part, partitioning=None)
    if change == "fewer rows":
        table = table.slice(0, 19)
    elif change == "more rows":
        table = pa.concat_tables([table, table.slice(0, 1)])
    elif change == "no column":
        table = table.drop_columns("f8")
    else:
        table = table.append_column("f9" if change == "another column" else "f8", table.column("f8"))
    pq.write_table(table, part)
    assert str(part) in refused(folder)


def test_a_table_with_columns_of_other_types_is_refused(folder: Path) -> None:
    whole = (folder / "meta.parquet").read_bytes()
    for values in (
        lists(5),
        pa.array([b"x"] * 5),
        pa.array([1] * 5, pa.int32()),
        pa.array([{"a": 1}] * 5),
        pa.array(["a"] * 5).dictionary_encode(),
        pa.array([1, 2, None, 4, 5]),
    ):
        table = pq.read_table(folder / "meta.parquet")
        pq.write_table(replaced(table, "Year", values), folder / "meta.parquet")
        assert "Year" in (message := refused(folder)), message
        (folder / "meta.parquet").write_bytes(whole)


def overlap(frames: dict[str, pd.DataFrame]) -> None:
    meta = frames["meta"]
    meta.loc[meta.index[1], ["filter_start", "filter_ids"]] = [8, "8:19"]


def beyond(frames: dict[str, pd.DataFrame]) -> None:
    meta = frames["meta"]
    meta.loc[meta.index[4], ["filter_end", "filter_ids"]] = [99, "40:98"]


def other_model(frames: dict[str, pd.DataFrame]) -> None:
    frames["skipped"].loc[0, "model_id"] = 77


def other_column(frames: dict[str, pd.DataFrame]) -> None:
    frames["meta"] = frames["meta"].drop(columns="Task")


def text_for_number(frames: dict[str, pd.DataFrame]) -> None:
    frames["meta"] = frames["meta"].astype({"in_channels": "str"})


def negative_depth(frames: dict[str, pd.DataFrame]) -> None:
    frames["meta"].index = frames["meta"].index.set_levels([-1, 2], level="conv_depth")


def null_text(frames: dict[str, pd.DataFrame]) -> None:
    frames["models"].loc[0, "path"] = "a\0b"


def missing_text(frames: dict[str, pd.DataFrame]) -> None:
    frames["models"].loc[0, "path"] = "\N{SYMBOL FOR NULL}"


def odd_column(frames: dict[str, pd.DataFrame]) -> None:
    frames["models"]["a\nb"] = 1


def wide_cell(frames: dict[str, pd.DataFrame]) -> None:
    frames["models"].loc[0, "path"] = "x" * 70_000


def other_ids(frames: dict[str, pd.DataFrame]) -> None:
    frames["models"].index = pd.Index([0, 1, 2, 4, 3], name="model_id")


def two_names(frames: dict[str, pd.DataFrame]) -> None:
    frames["models"].loc[1, "name"] = "copy"


def other_hash(frames: dict[str, pd.DataFrame]) -> None:
    meta = frames["meta"]
    meta.loc[meta.index[0], "weights_sha256"] = "0" * 64


HOSTILE = [
    *(overlap, beyond, other_model, other_column, text_for_number, negative_depth, null_text),
    *(missing_text, odd_column, wide_cell, other_ids, two_names, other_hash),
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_tables_that_contradict_themselves_are_refused_even_with_the_right_hashes(
    change: Callable[[dict[str, pd.DataFrame]], None], folder: Path
) -> None:
    rewrite(folder, change)
    assert str(folder) in refused(folder)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"format": "other"}, NotADatasetError),
        ({"format_version": 2}, NotADatasetError),
        ({"dataset": None}, CorruptDataError),
        ({"dataset": {"format": "CNN-Filter-DB"}}, NotADatasetError),
        ({"tables": []}, CorruptDataError),
        ({"tables": {}}, CorruptDataError),
        ({"content_hash": "0" * 64}, CorruptDataError),
        ({"content_hash": None}, CorruptDataError),
        ({"n_filters": "45"}, CorruptDataError),
        ({"n_filters": -1}, CorruptDataError),
        ({"n_filters": True}, CorruptDataError),
        ({"n_filters": 1 << 60}, CorruptDataError),
        ({"n_records": 3}, CorruptDataError),
        ({"kernel": "9x9999999"}, CorruptDataError),
        ({"kernel": "1x9"}, CorruptDataError),
        ({"kernel": ["3x3"]}, CorruptDataError),
        ({"extractor_version": "1"}, CorruptDataError),
        ({"extractor_version": 2}, CorruptDataError),
    ],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_refused(
    change: dict[str, Any], kind: type[FilterDBError], folder: Path
) -> None:
    manifest = json.loads((folder / "dataset.json").read_text())
    for name, value in change.items():
        (manifest if name in manifest else manifest["dataset"])[name] = value
    (folder / "dataset.json").write_text(json.dumps(manifest))
    assert str(folder) in refused(folder, kind)


def test_a_folder_without_a_manifest_or_no_folder_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotADatasetError):
            ingest(place, tmp_path / "d.h5")
    (tmp_path / "dataset.json").write_bytes(b"\xff" * 100)
    with pytest.raises(NotADatasetError):
        ingest(tmp_path, tmp_path / "d.h5")


def test_a_pipe_or_a_folder_in_the_place_of_a_part_is_refused(folder: Path) -> None:
    part = folder / "filters/model_id=0/part-0.parquet"
    part.unlink()
    os.mkfifo(part)
    assert str(part) in refused(folder)
    part.unlink()
    part.mkdir()
    assert str(part) in refused(folder)


def test_links_such_as_a_hub_s_cache_is_made_of_are_followed(folder: Path) -> None:
    blobs = folder.with_name("blobs")
    blobs.mkdir()
    for place, path in enumerate(path for path in list(folder.rglob("*")) if path.is_file()):
        path.rename(blobs / str(place))
        path.symlink_to(blobs / str(place))
    assert verify(ingest(folder, folder.with_name("back.h5")).path) == []


def test_a_small_file_that_stands_for_a_huge_table_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MAX_TABLE_BYTES", 500)
    monkeypatch.setattr(parquet, "_MOST_TIMES", 0)
    assert "too large" in refused(folder)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_never_get_through_and_never_crash(seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    parts = sorted(path for path in folder.rglob("*.parquet"))
    expected = json.loads((folder / "dataset.json").read_text())["content_hash"]
    refusals = 0
    for _ in range(25):
        path = parts[rng.integers(len(parts))]
        whole = path.read_bytes()
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(len(data), size=3)] ^= rng.integers(1, 256, 3).astype(np.uint8)
        path.write_bytes(data.tobytes())
        with contextlib.suppress(CorruptDataError):
            refusals += 1
            report = ingest(folder, folder.with_name("back.h5"), force=True)
            refusals -= 1
            # A byte of statistics, padding or a writer's name: the content is what was exported.
            assert report.content_hash == expected
            assert verify(report.path) == []
            report.path.unlink()
        path.write_bytes(whole)
    assert refusals > 10


# What an export refuses


def test_a_damaged_data_set_is_not_exported(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["filter"][13, 4] += 1
    with pytest.raises(CorruptDataError, match=r"model alpha, layer body\.0"):
        export(path, tmp_path / "exported")
    path = case.write(tmp_path / "b.h5")
    with h5py.File(path) as file:
        field, place = field_of(file["models/table"], "size")
    with pytables.open_file(str(path), "a") as file:
        rows = file.root.models.table.read()
        rows[field][0, place] += 1
        file.root.models.table.modify_rows(0, len(rows), 1, rows)
    with pytest.raises(CorruptDataError, match="tables have changed"):
        export(path, tmp_path / "exported")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_kernels_with_more_values_than_a_table_has_room_for_are_refused(tmp_path: Path) -> None:
    filters = weights(1, 1, seed=0, size=65 * 65)
    entries = [ZooEntry("m", "m.onnx", record("m", [layer("l", filters, 1)]))]
    case = Case(build_tables(entries, metadata_of(entries)), filters, Kernel(65, 65))
    with pytest.raises(UsageError, match="4,225 values"):
        export(case.write(tmp_path / "a.h5"), tmp_path / "exported")


def test_an_export_is_fresh_until_something_changes(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    assert export(dataset, out).action == "exported"
    before = (out / "meta.parquet").stat().st_ino
    assert export(dataset, out).action == "fresh"
    assert (out / "meta.parquet").stat().st_ino == before
    assert export(dataset, out, license="mit").action == "exported"
    assert export(dataset, out, license="mit", force=True).action == "exported"
    (out / "filters/model_id=4/part-0.parquet").unlink()
    assert export(dataset, out, license="mit").action == "exported"
    assert (out / "filters/model_id=4/part-0.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


@pytest.mark.parametrize("foreign", ["notes.txt", "filters/model_id=0/mine.parquet", ".git/config"])
def test_a_folder_that_holds_something_else_is_not_replaced(
    foreign: str, dataset: Path, tmp_path: Path
) -> None:
    out = export(dataset, tmp_path / "exported").out
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("mine")
    with pytest.raises(UsageError, match=re.escape(foreign)):
        export(dataset, out, license="mit", force=True)
    assert (out / foreign).read_text() == "mine"


def test_a_card_that_somebody_has_edited_is_not_replaced(dataset: Path, tmp_path: Path) -> None:
    out = export(dataset, tmp_path / "exported").out
    with (out / "README.md").open("a") as file:
        file.write("mine")
    with pytest.raises(UsageError, match=r"README\.md"):
        export(dataset, out, license="mit")
    assert ingest(out, tmp_path / "back.h5").content_hash == hash_of(dataset)


def test_a_folder_or_file_of_somebody_else_is_not_replaced(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        export(dataset, tmp_path / "full", force=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FilterDBError, match="this is a file"):
        export(dataset, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert export(dataset, tmp_path / "empty").action == "exported"
