"""The same models under other names and in other folders give the same results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from filterdb.config import RunConfig
from filterdb.quality import LABELS, METRICS
from filterdb.run.analysis.analyze import analyze
from filterdb.run.extraction.extract import extract
from filterdb.testing import conv_net, write_model

MODELS = 12
SHAPES = [(16, 3, 3, 3), (24, 16, 3, 3), (16, 24, 1, 1), (8, 24, 3, 3)]


def results_of(folder: Path, names: list[str]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Extract and analyze models, given the path of each within the zoo; every third is of another task."""
    for place, name in enumerate(names):
        write_model(folder / "zoo" / f"{name}.onnx", conv_net(SHAPES[: 2 + place % 3], seed=10 * place))
    tasks = ["classify" if place % 3 else "segment" for place in range(MODELS)]
    rows = [f"{Path(name).name},{task}" for name, task in zip(names, tasks, strict=True)]
    (folder / "models.csv").write_text("\n".join(["Name,Task", *rows]) + "\n")
    config = RunConfig(zoo=(str(folder / "zoo"),), metadata=str(folder / "models.csv"), workers=2)
    extract(config, folder / "dataset.h5")
    config = config.with_analyze(by=("Task", "depth_decile"), permutations=49, draws=49)
    report = analyze(folder / "dataset.h5", folder / "results", config)
    meta = pd.read_hdf(folder / "dataset.h5", "meta")
    layers = report.layers.assign(model_sha256=meta["model_sha256"])
    layers = layers.set_index(["model_sha256", "layer_name"])[[*METRICS, *LABELS, "reason"]].sort_index()
    shifts = {name: pd.read_parquet(path) for name, path in shift_files(folder / "results").items()}
    return layers, shifts


def shift_files(results: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted((results / "shift").glob("*.parquet"))}


def test_names_and_folders_of_models_change_no_result(tmp_path: Path) -> None:
    forward = [f"m{place:02d}" for place in range(MODELS)]
    backward = [f"{'abc'[place % 3]}/z{MODELS - place:02d}" for place in range(MODELS)]
    layers, shifts = results_of(tmp_path / "one", forward)
    other_layers, other_shifts = results_of(tmp_path / "two", backward)
    # A record's metrics come from its own filters: not a bit may differ.
    pd.testing.assert_frame_equal(other_layers, layers, check_exact=True)
    assert len(shifts) >= 2
    assert list(other_shifts) == list(shifts)
    for name, table in shifts.items():
        # Distances go through the basis, whose sums follow the order of the file.
        pd.testing.assert_frame_equal(other_shifts[name], table, rtol=1e-9, atol=1e-12)
