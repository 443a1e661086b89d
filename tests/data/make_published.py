"""Write `published-*.h5.gz` with an older pandas, as the published files were, in an environment of its own.

python3.11 -m venv old && old/bin/pip install pandas==1.5.3 "numpy<1.25" "tables<3.9" h5py
old/bin/python tests/data/make_published.py tests/data
"""

import gzip
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

RECORDS = 40


def frame_of(counts):
    records = np.arange(RECORDS)
    end = counts.cumsum()
    models = records // 5
    frame = pd.DataFrame(
        {
            "filter_ids": [f"{a}:{b - 1}" for a, b in zip(end - counts, end)],  # noqa: B905
            "model": [f"net{model}" for model in models],
            "producer": "pytorch 1.8",
            "op_set": 11,
            "depth": 30.0,
            "Name": [f"Größe {model}" for model in models],
            "Paper": [("nan", None, "https://example.org")[model % 3] for model in models],
            "Dataset URL": np.nan,
            "Datatype": [("formula", "natural")[model % 2] for model in models],
            "Task": [("Classification", "Semantic Segmentation")[model // 2 % 2] for model in models],
            "Accessible": [1 if model % 2 else "yes" for model in models],
            "(3, 3) filters": pd.Series(counts).groupby(models).transform("sum").astype(float),
            "(5, 5) filters": [float(model) if model % 2 else np.nan for model in models],
            "Conv": 3,
            "Small": records.astype("i4"),
            "Odd": records % 2 == 1,
        }
    )
    levels = [models, records % 5, records % 5 / 4, records % 5]
    frame.index = pd.MultiIndex.from_arrays(
        levels, names=["model_id", "conv_depth", "conv_depth_norm", "layer_id"]
    )
    return frame


def main(folder):
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, RECORDS)
    filters = rng.normal(0, 0.1, (counts.sum(), 3, 3)).astype(np.float32)
    for layout in ("fixed", "table"):
        frame = frame_of(counts)
        path = folder / f"published-{layout}-pandas-{pd.__version__}.h5"
        with h5py.File(path, "w") as file:
            file["filters"] = filters.astype(np.float64)
        if layout == "table":
            frame["Accessible"] = frame["Accessible"].astype(str)
        warnings.simplefilter("ignore")
        frame.to_hdf(path, key="meta", mode="a", format=layout)
        # A column of objects takes a mebibyte in the file, most of it zeros.
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
