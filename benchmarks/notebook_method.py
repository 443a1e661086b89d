"""The rival of the analysis benchmark: the method of a notebook, everything in memory at once.

PCA by scikit-learn, histograms by numpy for each group and component, and a singular value decomposition
of every layer in a pool of two processes. Written plainly, but not carelessly: arrays are vectorized and
nothing is computed twice.

A second argument names scikit-learn's solver. The published notebook asks for scikit-learn 0.24.1, whose PCA
decomposes the filters themselves (``full``); since 1.5, it takes their covariance, which is far faster.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy.special import rel_entr
from sklearn.decomposition import PCA

BINS = 70
AXES = ("Task", "Visual Category", "depth_decile")


def quality(job: tuple[np.ndarray, int]) -> dict[str, float]:
    filters, out_channels = job
    threshold = np.abs(filters).max() * 0.01
    sparsity = (np.abs(filters) < threshold).all(axis=1).mean()
    values = np.linalg.svd(filters - filters.mean(axis=0), full_matrices=False, compute_uv=False) ** 2
    share = values / values.sum()
    entropy = -(share * np.log10(np.where(share > 0, share, 1))).sum()
    rows = filters.reshape(out_channels, -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    overlap = np.abs(rows @ rows.T - np.eye(out_channels)).sum()
    orthogonality = 1 - overlap / (out_channels * (out_channels - 1))
    return {"sparsity": sparsity, "variance_entropy": entropy, "orthogonality": orthogonality}


def divergences(histograms: dict[str, np.ndarray], weights: np.ndarray) -> pd.DataFrame:
    rows = []
    for a, b in itertools.combinations(histograms, 2):
        p, q = histograms[a], histograms[b]
        distance = ((rel_entr(p, q) + rel_entr(q, p)).sum(axis=1) * weights).sum()
        rows.append((a, b, distance))
    return pd.DataFrame(rows, columns=["group_a", "group_b", "D"])


def histograms_of(coefficients: np.ndarray, low: float, high: float) -> np.ndarray:
    densities = [
        np.histogram(coefficients[:, i], bins=BINS, range=(low, high), density=True)[0] for i in range(9)
    ]
    floored = np.where(np.array(densities) == 0, np.finfo(np.float32).eps, densities)
    return floored / floored.sum(axis=1, keepdims=True)


def analyze(path: Path, meta: pd.DataFrame, solver: str) -> dict[str, pd.DataFrame]:
    with h5py.File(path) as file:
        filters = file["filter"][:]
    scale = np.abs(filters).max(axis=1, keepdims=True)
    scaled = filters / np.where(scale > 0, scale, 1)
    pca = PCA(svd_solver=solver).fit(scaled)
    coefficients = pca.transform(scaled)
    low, high = coefficients.min(), coefficients.max()
    results = {}
    for axis in AXES:
        groups = meta.groupby(axis, observed=True)
        histograms = {
            str(name): histograms_of(
                np.concatenate([coefficients[a:b] for a, b in zip(rows["start"], rows["end"], strict=True)]),
                low,
                high,
            )
            for name, rows in groups
        }
        results[axis] = divergences(histograms, pca.explained_variance_ratio_)
    jobs = [(filters[a:b], out) for a, b, out in zip(meta["start"], meta["end"], meta["out"], strict=True)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results["layers"] = pd.DataFrame(pool.map(quality, jobs, chunksize=8))
    return results


def main() -> None:
    path, solver = Path(sys.argv[1]), sys.argv[2]
    table = pd.read_hdf(path, "meta").reset_index()
    meta = pd.DataFrame(
        {
            "start": table["filter_start"],
            "end": table["filter_end"],
            "out": table["out_channels"],
            "Task": table["Task"],
            "Visual Category": table["Visual Category"],
            "depth_decile": pd.cut(table["conv_depth_norm"], np.linspace(0, 1, 11), include_lowest=True),
        }
    )
    begun = time.perf_counter()
    results = analyze(path, meta, solver)
    seconds = time.perf_counter() - begun
    largest = {axis: float(results[axis]["D"].max()) for axis in AXES}
    entropy = float(results["layers"]["variance_entropy"].mean())
    print(json.dumps({"seconds": seconds, "largest": largest, "entropy": entropy}))


if __name__ == "__main__":
    main()
