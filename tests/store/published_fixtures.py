"""Files in the published layouts, written by pandas and h5py as the originals were, and the same in ours."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from store_cases import layer, metadata_of, record

from filterdb.store import ZooEntry, build_tables, write_dataset
from filterdb.store.published.columns import OPERATORS
from filterdb.types import ConvLayer, Filters, Kernel

TASKS = (
    "Classification",
    "Semantic Segmentation",
    "Panoptic Segmentation",
    "GAN-Generator",
    "Face Detection",
)
CATEGORIES = ("natural", "fractals", "textures", "medical ct")
SHAPES = ("(1, 1)", "(2, 2)", "(3, 3)", "(5, 5)", "(7, 7)", "(1, 7)", "(7, 1)", "(11, 11)")
INDEX = ("model_id", "conv_depth", "conv_depth_norm", "layer_id")


@dataclass(frozen=True)
class Published:
    """One zoo: its records, models and filters.

    Parameters
    ----------
    layers
        For each model its layers, with their true shapes, which the published files leave out.
    frame
        The published table, with plain columns and objects.
    filters
        All filters.
    """

    layers: tuple[tuple[ConvLayer, ...], ...]
    frame: pd.DataFrame
    filters: Filters

    def v1(self, path: Path, *, layout: str = "fixed", levels: int = 4, **options: Any) -> Path:
        """Write ``/filters`` float64 (N, 3, 3), contiguous, then ``/meta`` beside it."""
        with h5py.File(path, "w") as file:
            file["filters"] = self.filters.astype(np.float64).reshape(-1, 3, 3)
        return write_meta(path, self.indexed(levels), layout, **options)

    def v0(self, path: Path, *, layout: str = "table", name: str = "filter", levels: int = 3) -> Path:
        """Write float32 N x 9 and a table with the older names."""
        frame = self.indexed(levels).rename(columns={"Visual Category": "Datatype"})
        frame["Datatype"] = frame["Datatype"].replace({"fractals": "formula"})
        with h5py.File(path, "w") as file:
            file[name] = self.filters
        return write_meta(path, frame, layout)

    def ours(self, path: Path) -> Path:
        """Write the same records as a data set file of our own."""
        first = self.frame.drop_duplicates("model_id")
        entries = [
            ZooEntry(name, f"{name}.onnx", record(name, layers), has_metadata=True)
            for name, layers in zip(first["model"], self.layers, strict=True)
        ]
        columns = {
            "Task": first["Task"].tolist(),
            "Visual Category": first["Visual Category"].tolist(),
            "Datatype": first["Visual Category"].tolist(),
        }
        write_dataset(
            path, build_tables(entries, metadata_of(entries, **columns)), [self.filters], kernel=Kernel(3, 3)
        )
        return path

    def indexed(self, levels: int = 4) -> pd.DataFrame:
        """Return the table with its MultiIndex, of three levels or four."""
        frame = self.frame if levels == 4 else self.frame.drop(columns="layer_id")
        return frame.set_index(list(INDEX[:levels]))


def published(records: int = 1_000, *, models: int = 50, seed: int = 0) -> Published:
    """Make a zoo of small layers whose models have tasks, categories and counts.

    Parameters
    ----------
    records
        How many layers in all.
    models
        How many models they belong to.
    seed
        Seed of the weights.
    """
    rng = np.random.default_rng(seed)
    per_model = np.array_split(np.arange(records), models)
    layers, rows, blocks = [], [], []
    end = 0
    for model, places in enumerate(per_model):
        made = []
        for place, _ in enumerate(places):
            depth = place // 2
            out_channels, in_channels = int(rng.integers(2, 9)), int(rng.integers(1, 9))
            filters = _weights(rng, out_channels * in_channels, model)
            norm = depth / max(1, (len(places) - 1) // 2)
            made.append(layer(f"l{place}", filters, out_channels, conv_depth=depth, conv_depth_norm=norm))
            row = {"model_id": model, "conv_depth": depth, "conv_depth_norm": norm, "layer_id": place}
            rows.append({**row, "filter_ids": f"{end}:{end + len(filters) - 1}"})
            blocks.append(filters)
            end += len(filters)
        layers.append(tuple(made))
    frame = pd.DataFrame(rows).astype({"filter_ids": object})
    models_of = pd.DataFrame([_model(model, made, rng) for model, made in enumerate(layers)])
    # A merge shares the texts of a model among its rows, as the originals do.
    frame = frame.merge(models_of, on="model_id")
    # The originals are older than pandas' type for text.
    texts = frame.select_dtypes("str").columns
    frame = frame.astype(dict.fromkeys(texts, object))
    return Published(tuple(layers), frame, np.concatenate(blocks))


def _weights(rng: np.random.Generator, count: int, model: int) -> Filters:
    """Return filters whose kind depends on the model, so that groups differ; some are sparse or zero."""
    basis = rng.normal(0, 1, (9, 9)) * np.linspace(1, 0.1 + 0.1 * (model % 5), 9)
    filters = rng.normal(0, 0.05, (count, 9)) @ basis
    filters[rng.random(count) < 0.02] = 0
    return filters.astype(np.float32)


def _model(
    model: int, layers: list[ConvLayer] | tuple[ConvLayer, ...], rng: np.random.Generator
) -> dict[str, Any]:
    count = sum(one.n_filters for one in layers)
    shapes = {f"{shape} filters": float(rng.integers(1, 99)) for shape in SHAPES if rng.random() < 0.6}
    shapes["(3, 3) filters"] = float(count)
    total = sum(value for name, value in shapes.items() if name != "(1, 1) filters")
    return {
        "model_id": model,
        "model": f"net{model:02d}_imagenet_{11 + model % 3}",
        "producer": "pytorch 1.8" if model % 7 else None,
        "op_set": 11 + model % 3,
        "depth": 30 + model,
        "Name": f"Net {model} – größer",
        "Paper": f"https://example.org/{model}" if model % 3 else np.nan,
        "Pretraining-Dataset": np.nan,
        "Training-Dataset": "imagenet1k, coco" if model % 2 else "nan",
        "Visual Category": CATEGORIES[model % len(CATEGORIES)],
        "Task": TASKS[model % len(TASKS)],
        "Accessible": "yes" if model % 4 else 1,
        "Dataset URL": np.nan,
        "total_filters": total,
        "3x3_filter_share": count / total,
        **{f"{shape} filters": shapes.get(f"{shape} filters", np.nan) for shape in SHAPES},
        **{
            op: float(model % 9) if (model + place) % 4 else np.nan
            for place, op in enumerate(sorted(OPERATORS))
        },
        **{f"Unnamed: {place}": float(model) for place in range(3)},
    }


def write_meta(path: Path, frame: pd.DataFrame, layout: str, **options: Any) -> Path:
    """Put a frame beside the filters, through pandas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if layout == "table":
            mixed = frame.select_dtypes(["object", "str"]).columns
            texts = {
                name: [str(c) if c == c and c is not None else None for c in frame[name]] for name in mixed
            }
            frame = frame.assign(**texts).astype(dict.fromkeys(mixed, object))
        frame.to_hdf(path, key="meta", mode="a", format=layout, **options)
    return path
