"""Small data sets of made-up records, which the tests of the data set file share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.store import Tables, ZooEntry, build_tables, filters_sha256, write_dataset
from filterdb.types import ConvLayer, Filters, Kernel, ModelRecord, SkippedLayer

K3 = Kernel(3, 3)


@dataclass(frozen=True)
class Case:
    """Tables and the filters they speak of."""

    tables: Tables
    filters: Filters
    kernel: Kernel = K3

    def write(self, path: Path, **options: Any) -> Path:
        options.setdefault("attributes", {"extractor_version": 1})
        write_dataset(path, self.tables, [self.filters], kernel=self.kernel, **options)
        return path


def weights(out_channels: int, in_channels: int, *, seed: int, size: int = 9) -> Filters:
    values = np.random.default_rng(seed).normal(0, 0.1, (out_channels * in_channels, size))
    return values.astype(np.float32)


def layer(name: str, filters: Filters, out_channels: int, **values: Any) -> ConvLayer:
    given = {
        "op_type": "Conv",
        "conv_depth": 0,
        "conv_depth_norm": 0.0,
        "group": 1,
        "depthwise": False,
        "strides": (1, 1),
        "dilations": (1, 1),
        "weight_dtype": "float32",
        "weight_source": "initializer",
        "bn_follows": True,
        "nonfinite": int(np.count_nonzero(~np.isfinite(filters))),
        **values,
    }
    return ConvLayer(
        name=name,
        out_channels=out_channels,
        in_channels=len(filters) // out_channels,
        weights_sha256=filters_sha256(filters),
        **given,
    )


def record(name: str, layers: Sequence[ConvLayer] = (), **values: Any) -> ModelRecord:
    count = sum(entry.n_filters for entry in layers)
    given = {
        "size": 1000 + len(name),
        "producer": "pytorch 2.13.0",
        "ir_version": 10,
        "op_set": 17,
        "depth": 9,
        "ops": {"Conv": len(layers), "Relu": 2},
        "other_ops": {"com.microsoft::FusedConv": 1},
        "kernels": {"(1, 1)": 5, "(3, 3)": count} if count else {},
        **values,
    }
    sha256 = given.pop("sha256", filters_sha256(np.frombuffer(name.encode(), "u1").astype(np.float32)))
    return ModelRecord(sha256=sha256, layers=tuple(layers), **given)


def metadata_of(entries: Sequence[ZooEntry], **columns: Sequence[Any]) -> pd.DataFrame:
    """The reference's columns, missing but for the given ones, then any others."""
    frame = pd.DataFrame(
        {name: pd.Series([None] * len(entries), dtype="str") for name in schema.METADATA},
        index=range(len(entries)),
    )
    frame["Name"] = pd.Series([entry.name for entry in entries], dtype="str")
    for name, values in columns.items():
        frame[name] = pd.Series(values, dtype="str" if isinstance(values[0], str | None) else None)
    return frame


def small_case() -> Case:
    """Three models with records, one without, one that failed; a duplicate model and a NaN."""
    blocks = [weights(4, 3, seed=1), weights(2, 4, seed=2), weights(5, 1, seed=3)]
    blocks[1][0, 0] = np.nan
    alpha = record(
        "alpha",
        [
            layer("stem", blocks[0], 4),
            layer("body.0", blocks[1], 2, conv_depth=2, conv_depth_norm=1.0, strides=(2, 2)),
        ],
        notes=("the checker complains",),
        skipped=[SkippedLayer("head", "Conv", "1x1", "another kernel size")],
    )
    gamma = record("gamma", [layer("dw", blocks[2], 5, depthwise=True, bn_follows=False)])
    entries = [
        ZooEntry("alpha", "a/alpha.onnx", alpha, has_metadata=True),
        ZooEntry("beta", "beta.onnx", None, "the file is no model", sha256="be" * 32, size=7),
        ZooEntry("copy", "copy.onnx", alpha),
        ZooEntry("empty", "empty.onnx", record("empty"), has_metadata=True),
        ZooEntry("gamma", "gamma.onnx", gamma, has_metadata=True),
    ]
    columns = {
        "Task": ["Classification", None, None, "Embedding", "Größe"],
        "Visual Category": ["natural", None, None, "nan", ""],
        "Stars": [5.0, np.nan, np.nan, 1.0, 2.5],
        "Year": [2020, 2021, 2022, 2023, 2024],
        "Open": [True, False, True, False, True],
    }
    filters = np.concatenate([blocks[0], blocks[1], blocks[0], blocks[1], blocks[2]])
    return Case(build_tables(entries, metadata_of(entries, **columns)), filters)


def long_case(rows: int, *, layers: int = 7, seed: int = 0) -> Case:
    """One model whose layers' filters fill several chunks."""
    filters = weights(rows, 1, seed=seed)
    edges = [rows * i // layers for i in range(layers + 1)]
    made = [
        layer(f"l{i}", filters[a:b], b - a, conv_depth=i, conv_depth_norm=i / layers)
        for i, (a, b) in enumerate(itertools.pairwise(edges))
    ]
    entries = [ZooEntry("long", "long.onnx", record("long", made))]
    return Case(build_tables(entries, metadata_of(entries)), filters)


def field_of(table: h5py.Dataset, column: str) -> tuple[str, int]:
    """The field of a pandas table that holds a column, and its place there."""
    import pickle  # noqa: TID251 - the test wrote this file itself

    for field in table.dtype.names:
        if field != "index":
            names = pickle.loads(bytes(table.attrs[f"{field}_kind"]))
            if column in names:
                return field, names.index(column)
    raise KeyError(column)
