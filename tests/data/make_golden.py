"""Write the golden data set file of the current format version.

Run once for each version; the file is committed and must stay readable for ever. The records are made up,
of integers alone, so that no library's random numbers or rounding decide what is in it.

    python tests/data/make_golden.py tests/data/dataset-v1.h5
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.store import Tables, ZooEntry, build_tables, filters_sha256, write_dataset
from filterdb.types import ConvLayer, Filters, Kernel, ModelRecord, SkippedLayer


def ramp(out_channels: int, in_channels: int, start: int) -> Filters:
    """Return filters of consecutive sixty-fourths, which float32 holds exactly."""
    count = out_channels * in_channels * 9
    return (np.arange(start, start + count, dtype=np.float32) / 64).reshape(-1, 9)


def conv(name: str, filters: Filters, out_channels: int, depth: int, norm: float, dtype: str) -> ConvLayer:
    """Return a layer of the golden file."""
    return ConvLayer(
        name=name,
        op_type="Conv",
        conv_depth=depth,
        conv_depth_norm=norm,
        out_channels=out_channels,
        in_channels=len(filters) // out_channels,
        group=1,
        depthwise=False,
        strides=(1, 1),
        dilations=(1, 2),
        weight_dtype=dtype,
        weight_source="initializer",
        bn_follows=depth == 0,
        nonfinite=int(np.count_nonzero(~np.isfinite(filters))),
        weights_sha256=filters_sha256(filters),
    )


def golden() -> tuple[Tables, Filters]:
    """Return the tables and filters of the golden file."""
    stem, body, flat = ramp(2, 3, 0), ramp(4, 2, -40), ramp(3, 1, 900)
    body[3, 4], body[5, 0] = np.nan, -np.inf
    first = ModelRecord(
        sha256="11" * 32,
        size=1234,
        producer="maker 1.0",
        ir_version=8,
        op_set=17,
        depth=5,
        layers=(
            conv("stem", stem, 2, 0, 0.0, "float32"),
            conv("body.0", body, 4, 2, 1.0, "float16"),
        ),
        skipped=(SkippedLayer("head", "Conv", "1x1", "the kernel is 1x1, not 3x3"),),
        ops={"Conv": 3, "Relu": 2},
        other_ops={"com.microsoft::Gelu": 1},
        kernels={"(1, 1)": 8, "(3, 3)": 14},
        notes=("a note in \u4e2d\u6587",),
    )
    second = ModelRecord(
        sha256="22" * 32,
        size=99,
        producer="",
        ir_version=4,
        op_set=9,
        depth=1,
        layers=(conv("Conv_0", flat, 3, 0, 0.0, "float32"),),
        ops={"Conv": 1},
        kernels={"(3, 3)": 3},
    )
    entries = [
        ZooEntry("broken", "broken.onnx", None, "the file is empty", sha256="00" * 32),
        ZooEntry("first", "a/first.onnx", first, has_metadata=True),
        ZooEntry("first-again", "b/first.onnx", first),
        ZooEntry("gr\u00f6\u00dfe", "gr\u00f6\u00dfe.onnx", second, has_metadata=True),
    ]
    metadata = pd.DataFrame({name: pd.Series([None] * 4, dtype="str") for name in schema.METADATA})
    metadata["Name"] = pd.Series([entry.name for entry in entries], dtype="str")
    metadata["Task"] = pd.Series([None, "Classification", None, "NA"], dtype="str")
    metadata["Visual Category"] = pd.Series([None, "natural", None, ""], dtype="str")
    metadata["Stars"] = pd.Series([np.nan, 4.5, np.nan, 2.0])
    return build_tables(entries, metadata), np.concatenate([stem, body, stem, body, flat])


def write(path: Path) -> str:
    """Write the golden file and return its content hash."""
    tables, filters = golden()
    return write_dataset(path, tables, [filters], kernel=Kernel(3, 3), attributes={"extractor_version": 1})


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
