"""Files of every format version so far stay readable."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from filterdb.store import DatasetFile, verify

DATA = Path(__file__).parent.parent / "data"
GOLDEN = DATA / "dataset-v1.h5"
CONTENT_HASH = "179ed2fd11077b0f9f856e32752a14c70876c88e2731e3afad1b0f72af455306"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", DATA / "make_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_golden_file_is_small_and_whole() -> None:
    assert GOLDEN.stat().st_size < 100_000
    assert verify(GOLDEN) == []


def test_the_golden_file_says_what_it_always_said() -> None:
    with DatasetFile(GOLDEN) as file:
        tables, attributes = file.tables, file.attributes
        filters = np.concatenate([block.copy() for block in file.blocks()])
    assert attributes == {
        "format": "filterdb",
        "format_version": 1,
        "kernel": "3x3",
        "n_filters": 31,
        "n_records": 5,
        "n_models": 4,
        "extractor_version": 1,
        "content_hash": CONTENT_HASH,
    }
    meta, models = tables.meta, tables.models
    assert meta.index.tolist() == [(1, 0, 0, 0), (1, 2, 1, 1), (2, 0, 0, 0), (2, 2, 1, 1), (3, 0, 0, 0)]
    assert meta["filter_ids"].tolist() == ["0:5", "6:13", "14:19", "20:27", "28:30"]
    assert meta["layer_name"].tolist() == ["stem", "body.0", "stem", "body.0", "Conv_0"]
    assert meta["duplicate_of"].tolist() == [-1, -1, 0, 1, -1]
    assert meta["nonfinite"].tolist() == [0, 2, 0, 2, 0]
    assert meta["(3, 3) filters"].tolist() == [14, 14, 14, 14, 3]
    assert meta["Conv"].tolist() == [3, 3, 3, 3, 1]
    assert meta["Task"].fillna("-").tolist() == ["Classification"] * 2 + ["-"] * 2 + ["NA"]
    assert models["name"].tolist() == ["broken", "first", "first-again", "größe"]
    assert models["status"].tolist() == ["failed", "ok", "ok", "ok"]
    assert models["duplicate_of"].fillna("-").tolist() == ["-", "-", "first", "-"]
    assert models["notes"].tolist()[1] == '["a note in \\u4e2d\\u6587"]'
    assert tables.skipped["layer_name"].tolist() == ["head", "head"]
    assert filters.shape == (31, 9)
    assert filters[0].tolist() == [i / 64 for i in range(9)]
    assert np.isnan(filters[9, 4])
    assert filters[11, 0] == -np.inf
    assert filters[28, 0] == 900 / 64


def test_pandas_reads_the_golden_file() -> None:
    meta = pd.read_hdf(GOLDEN, "meta")
    assert meta["model"].tolist() == ["first"] * 2 + ["first-again"] * 2 + ["größe"]


def test_the_writer_still_gives_the_same_content(maker: ModuleType, tmp_path: Path) -> None:
    assert maker.write(tmp_path / "again.h5") == CONTENT_HASH
    assert verify(tmp_path / "again.h5") == []
