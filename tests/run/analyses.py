"""Small data sets whose groups differ, and their analysis, that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from filterdb.config import RunConfig
from filterdb.run.analysis.analyze import AnalyzeReport, analyze
from filterdb.run.extraction.extract import extract
from filterdb.testing import conv_net, write_model

FEW = {"permutations": 19, "draws": 19}


def write_zoo(folder: Path, seeds: list[int], *, kernel: int = 3) -> Path:
    """Write models whose filters differ by task: every third one's are all alike in sign."""
    rows = []
    for seed in seeds:
        task = ("Classification", "Segmentation", "Denoising")[seed % 3]
        rng = np.random.default_rng(seed)
        shapes = [(8, 3, kernel, kernel), (10 + seed, 8, kernel, kernel)]
        weights = [rng.normal(size=shape) ** (1 + seed % 3) for shape in shapes]
        write_model(folder / f"m{seed:02d}.onnx", conv_net([weight.astype(np.float32) for weight in weights]))
        rows.append(f"m{seed:02d},{task},{seed}")
    (folder / "models.csv").write_text("\n".join(["Name,Task,Stars", *rows]) + "\n")
    return folder


def make(zoo: Path, out: Path, kernel: str = "3x3") -> Path:
    config = RunConfig(zoo=(str(zoo),), metadata=str(zoo / "models.csv"), workers=1)
    config = config.with_extract(kernel=kernel)
    extract(config, out)
    return out


def run(dataset: Path, out: Path, **values: object) -> AnalyzeReport:
    given = {"by": ("Task",), **FEW, **values}
    return analyze(dataset, out, RunConfig(workers=1).with_analyze(**given))


def groups_of(dataset: Path, by: str = "Task") -> dict[str, np.ndarray]:
    meta = pd.read_hdf(dataset, "meta")
    with h5py.File(dataset) as file:
        filters = file["filter"][:]
    labels = np.repeat(meta[by].to_numpy(), meta["filter_end"] - meta["filter_start"])
    return {name: filters[labels == name] for name in dict.fromkeys(labels.tolist())}
