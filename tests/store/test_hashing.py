"""The content hash, against a second implementation made from docs/file-format.md alone."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from store_cases import Case, long_case, small_case

from filterdb.store import DatasetFile
from filterdb.store.hashing import content_hash

NAN = bytes.fromhex("000000000000f87f")


def n(number: int) -> bytes:
    return struct.pack("<Q", number)


def text(value: str) -> bytes:
    return n(len(value.encode())) + value.encode()


def cells(values: list[Any], kind: str) -> bytes:
    if kind == "int64":
        return b"i" + b"".join(struct.pack("<q", v) for v in values)
    if kind == "bool":
        return b"b" + bytes(int(bool(v)) for v in values)
    if kind == "float64":
        return b"f" + b"".join(NAN if math.isnan(v) else struct.pack("<d", v) for v in values)
    return b"s" + b"".join(text(v) if isinstance(v, str) else b"\xff" * 8 for v in values)


def by_the_document(path: Path) -> str:
    """The hash of a file, read with pandas and h5py."""
    names = ("extractor_version", "format", "format_version", "kernel", "n_filters", "n_models", "n_records")
    with h5py.File(path) as file:
        stated = {name: file.attrs[name] for name in names if name in file.attrs}
        stated = {name: v.decode() if isinstance(v, bytes) else v for name, v in stated.items()}
        tables = [name for name in ("meta", "models", "skipped") if name in file]
    parts = [
        f'"{name}":' + (f'"{value}"' if isinstance(value, str) else str(int(value)))
        for name, value in stated.items()
    ]
    data = ("{" + ",".join(parts) + "}").encode()
    for name in tables:
        frame = pd.read_hdf(path, name)
        if name == "meta":
            frame = frame.reset_index()
        data += text(name) + n(len(frame)) + n(len(frame.columns))
        for column in frame.columns:
            data += text(column) + cells(frame[column].tolist(), str(frame[column].dtype))
    if "skipped" not in tables:
        data += text("skipped") + n(0) + n(5) + text("model_id") + b"i"
        data += b"".join(text(c) + b"s" for c in ("layer_name", "op_type", "kernel", "reason"))
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("case", [small_case(), long_case(100)], ids=["small", "without skipped layers"])
@pytest.mark.parametrize("attributes", [{}, {"extractor_version": 3}])
def test_a_third_party_computes_the_same_hash(case: Case, attributes: dict[str, int], tmp_path: Path) -> None:
    path = case.write(tmp_path / "a.h5", attributes=attributes)
    with DatasetFile(path) as file:
        assert file.content_hash == by_the_document(path)


def test_the_compression_is_no_content(tmp_path: Path) -> None:
    case = small_case()
    hashes = []
    for compression in (None, "gzip"):
        with DatasetFile(case.write(tmp_path / "a.h5", compression=compression)) as file:
            hashes.append(file.content_hash)
    assert hashes[0] == hashes[1]


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns)


DIFFERENT = [
    frame(a=[1, 2]),
    frame(a=[2, 1]),
    frame(a=[1]),
    frame(b=[1, 2]),
    frame(a=[1.0, 2.0]),
    frame(a=[True, False]),
    frame(a=["1", "2"]),
    frame(a=["12", ""]),
    frame(a=["", "12"]),
    frame(a=["1", None]),
    frame(a=["1", "None"]),
    frame(a=["1", "nan"]),
    frame(a=[0.0, 1.0]),
    frame(a=[-0.0, 1.0]),
    frame(a=[np.nan, 1.0]),
    frame(a=[1, 2], b=[1, 2]),
    frame(b=[1, 2], a=[1, 2]),
    frame(a=[]),
]


def test_frames_that_differ_in_anything_have_different_hashes() -> None:
    hashes = {content_hash({}, {"t": table}) for table in DIFFERENT}
    hashes |= {content_hash({"x": 1}, {"t": DIFFERENT[0]}), content_hash({}, {"u": DIFFERENT[0]})}
    hashes |= {content_hash({}, {"t": DIFFERENT[0], "u": DIFFERENT[1]}), content_hash({}, {})}
    assert len(hashes) == len(DIFFERENT) + 4


def test_the_payload_of_a_nan_is_no_content() -> None:
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000], dtype="u8").view("f8")
    assert content_hash({}, {"t": frame(a=odd)}) == content_hash({}, {"t": frame(a=[np.nan, np.nan])})
