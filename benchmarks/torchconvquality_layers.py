"""torchconvquality on the layers of a data set file, timed; runs in the environment of the oracles."""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import h5py
import pandas as pd
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchconvquality import measure_quality


def main(path: Path) -> None:
    meta = pd.read_hdf(path, "meta")
    model = torch.nn.Sequential()
    with h5py.File(path) as file:
        columns = (meta[name] for name in ("filter_start", "filter_end", "out_channels", "in_channels"))
        for start, end, out, inner in zip(*columns, strict=True):
            layer = torch.nn.Conv2d(inner, out, 3, bias=False)
            layer.weight.data = torch.from_numpy(file["filter"][start:end].reshape(out, inner, 3, 3))
            model.append(layer)
    begun = time.perf_counter()
    found = measure_quality(model)
    seconds = time.perf_counter() - begun
    entropy = sum(float(layer["variance_entropy"]) for layer in found.values()) / len(found)
    print(json.dumps({"seconds": seconds, "entropy": entropy}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
