"""Data set files of any size that take no room, and what is read of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import pandas as pd
import pytest

from filterdb import schema
from filterdb.store import ZooEntry, attributes, build_tables
from filterdb.store.frames import write_frames
from filterdb.store.hashing import content_hash
from filterdb.store.writer import content_header
from filterdb.types import ConvLayer, Kernel, ModelRecord

needs_counters = pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="the system does not count what a process reads"
)

TASKS = ("Classification", "Segmentation", "Auto-Encoder", "Super Resolution")
CATEGORIES = ("natural", "faces", "medical")


def write_sparse(path: Path, *, models: int, layers: int, filters: int) -> Path:
    """Write a file whose filters are a hole that reads as zeros."""
    entries = [_entry(number, layers, filters) for number in range(models)]
    frame = pd.DataFrame({name: pd.Series([None] * models, dtype="str") for name in schema.METADATA})
    frame["Name"] = pd.Series([entry.name for entry in entries], dtype="str")
    for column, values in (("Task", TASKS), ("Visual Category", CATEGORIES)):
        labels = [values[number % len(values)] for number in range(models)]
        frame[column] = pd.Series(labels, dtype="str")
    tables = build_tables(entries, frame)
    write_frames(path, tables.by_name())
    header = content_header(tables, Kernel(3, 3))
    with h5py.File(path, "r+") as file:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        shape, chunks = (tables.n_filters, 9), (schema.chunk_rows(tables.n_filters, 9), 9)
        file.create_dataset("filter", shape, "<f4", chunks=chunks, track_times=False, dcpl=layout)
        file["filters"] = file["filter"]
        for name, value in {**header, "content_hash": content_hash(header, tables.by_name())}.items():
            attributes.write(file, name, value)
    return path


def bytes_read() -> int:
    """Return how many bytes this process has read of files, mapped ones left out."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def _entry(number: int, layers: int, filters: int) -> ZooEntry:
    made = tuple(_layer(number, place, layers, filters) for place in range(layers))
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    record = ModelRecord(digest, 1, "made up", 10, 17, layers, made, kernels={"(3, 3)": layers * filters})
    return ZooEntry(f"m{number:05d}", f"m{number:05d}.onnx", record, has_metadata=True)


def _layer(model: int, place: int, layers: int, filters: int) -> ConvLayer:
    return ConvLayer(
        name=f"conv{place}",
        op_type="Conv",
        conv_depth=place,
        conv_depth_norm=place / max(1, layers - 1),
        out_channels=filters,
        in_channels=1,
        group=1,
        depthwise=False,
        strides=(1, 1),
        dilations=(1, 1),
        weight_dtype="float32",
        weight_source="initializer",
        bn_follows=False,
        nonfinite=0,
        weights_sha256=hashlib.sha256(f"{model} {place}".encode()).hexdigest(),
    )
