"""Generated data set files: random filters, in as many layers and models as a benchmark asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.store import ZooEntry, build_tables, filters_sha256, write_dataset
from filterdb.types import ConvLayer, Filters, Kernel, ModelRecord

LAYERS = 8
"""Layers of every model."""

TASKS = ("Classification", "Segmentation", "Auto-Encoder", "Super Resolution", "GAN-Generator")
CATEGORIES = ("natural", "faces", "medical", "textures", "fractals", "seismic", "plants", "handwriting")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a data set is.

    Parameters
    ----------
    models
        How many there are; each has :data:`LAYERS` layers.
    out_channels, in_channels
        Of each layer.
    """

    models: int
    out_channels: int
    in_channels: int

    @property
    def filters(self) -> int:
        return self.models * LAYERS * self.out_channels * self.in_channels

    @property
    def name(self) -> str:
        return f"{self.models}x{LAYERS}x{self.out_channels}x{self.in_channels}"


def make_dataset(folder: Path, size: Size) -> Path:
    """Generate a data set file once, and return its path."""
    path = folder / f"{size.name}.h5"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        entries = [_entry(number, size) for number in range(size.models)]
        blocks = (_filters(model, layer, size) for model in range(size.models) for layer in range(LAYERS))
        temporary = path.with_suffix(".tmp")
        tables = build_tables(entries, _metadata(entries))
        write_dataset(temporary, tables, blocks, kernel=Kernel(3, 3))
        temporary.replace(path)
    return path


def _filters(model: int, layer: int, size: Size) -> Filters:
    rng = np.random.default_rng([model, layer])
    rows = size.out_channels * size.in_channels
    # Deeper layers vary along fewer directions, as trained ones do, and the models of a task alike.
    directions = np.random.default_rng(model % len(TASKS)).normal(size=(9, 9)).astype(np.float32)
    directions *= np.linspace(1, 0.05 + 0.1 * (LAYERS - layer), 9, dtype=np.float32)[:, None]
    values = rng.standard_normal((rows, 9), dtype=np.float32) @ directions
    return np.ascontiguousarray(values * np.float32(0.05))


def _entry(number: int, size: Size) -> ZooEntry:
    layers = tuple(_layer(number, place, size) for place in range(LAYERS))
    record = ModelRecord(
        sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        size=1,
        producer="benchmark 1",
        ir_version=10,
        op_set=17,
        depth=LAYERS,
        layers=layers,
        ops={"Conv": LAYERS},
        kernels={"(3, 3)": sum(layer.n_filters for layer in layers)},
    )
    return ZooEntry(f"model{number:05d}", f"model{number:05d}.onnx", record, has_metadata=True)


def _layer(model: int, place: int, size: Size) -> ConvLayer:
    return ConvLayer(
        name=f"conv{place}",
        op_type="Conv",
        conv_depth=place,
        conv_depth_norm=place / (LAYERS - 1),
        out_channels=size.out_channels,
        in_channels=size.in_channels,
        group=1,
        depthwise=False,
        strides=(1, 1),
        dilations=(1, 1),
        weight_dtype="float32",
        weight_source="initializer",
        bn_follows=False,
        nonfinite=0,
        weights_sha256=filters_sha256(_filters(model, place, size)),
    )


def _metadata(entries: list[ZooEntry]) -> pd.DataFrame:
    frame = pd.DataFrame({name: pd.Series([None] * len(entries), dtype="str") for name in schema.METADATA})
    frame["Name"] = pd.Series([entry.name for entry in entries], dtype="str")
    for column, values in (("Task", TASKS), ("Visual Category", CATEGORIES)):
        frame[column] = pd.Series(list(_cycled(values, len(entries))), dtype="str")
    return frame


def _cycled(values: tuple[str, ...], count: int) -> Iterator[str]:
    return (values[number % len(values)] for number in range(count))
