"""One small drawing of every kind, of made-up numbers that never change."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd

from filterdb import figures
from filterdb.figures import Drawing

LONG_NAMES = (
    "Image Classification",
    "Semantic Segmentation of Street Scenes",
    "Object Detection",
    "Face Detection and Recognition",
    "GAN-Discriminator",
    "GAN-Generator",
    "Super Resolution",
    "Image Denoising and Restoration",
    "Auto-Encoder",
    "Monocular Depth Estimation, outdoors",
    "Monocular Depth Estimation, indoors",
    "Pose Estimation of Several Persons",
    "Optical Character Recognition",
    "Style Transfer",
    "Instance Segmentation (panoptic)",
)
LOW, HIGH = -2.9, 3.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def group_frame(names: tuple[str, ...] = LONG_NAMES) -> pd.DataFrame:
    n = len(names)
    models = [(3, 30, 12, 8, 4)[i % 5] for i in range(n)]
    return pd.DataFrame(
        {
            "group": list(names),
            "filters": [int(10 ** (3 + i % 5)) + i for i in range(n)],
            "layers": [20 + 17 * i for i in range(n)],
            "models": models,
        }
    )


def pair_frame(groups: pd.DataFrame, fewest: int = 5) -> pd.DataFrame:
    """Pairs of which some are beyond chance, some not, and some not tested."""
    names, models = groups["group"].to_numpy(object), groups["models"].to_numpy()
    a, b = np.triu_indices(len(names), k=1)
    d = rng(1).gamma(1.2, 0.15, len(a))
    frame = pd.DataFrame({"group_a": names[a], "group_b": names[b], "D": d})
    frame["low"], frame["high"] = np.maximum(0, d - 0.08), d + 0.05
    frame["null_mean"], frame["p_holm"] = 0.3 * d, np.where(np.arange(len(a)) % 3 == 0, 0.4, 0.01)
    few = (models[a] < fewest) | (models[b] < fewest)
    frame.loc[few, ["low", "high", "null_mean", "p_holm"]] = np.nan
    return frame


def matrix_frame(groups: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    names = groups["group"].tolist()
    values = pd.DataFrame(0.0, index=names, columns=names)
    for one in pairs.itertuples():
        values.loc[one.group_a, one.group_b] = values.loc[one.group_b, one.group_a] = one.D
    return values


def bases(n: int) -> tuple[np.ndarray, np.ndarray]:
    draws = rng(2)
    components = np.stack([np.linalg.qr(draws.normal(size=(9, 9)))[0] for _ in range(n)])
    return components, np.sort(draws.dirichlet(np.ones(9), n), axis=1)[:, ::-1]


def coefficient_sets(n: int, size: int = 4000) -> list[list[np.ndarray]]:
    """Coefficients of groups, of two humps each."""
    draws = rng(3)
    found = []
    for _ in range(n):
        one = []
        for _ in range(9):
            centre, spread = draws.uniform(-1, 1), draws.uniform(0.3, 0.8)
            both = [draws.normal(centre, spread, size), draws.normal(0, 0.3, size // 2)]
            one.append(np.clip(np.concatenate(both), LOW, HIGH))
        found.append(one)
    return found


@cache
def density(n: int) -> figures.Densities:
    sets = coefficient_sets(n)
    counts = np.array([[np.histogram(v, 70, (LOW, HIGH))[0] for v in one] for one in sets])
    deviations = np.array([[v.std(ddof=1) for v in one] for one in sets])
    return figures.binned_densities(counts, LOW, HIGH, deviations)


def shapes_of_four_kinds() -> dict[str, np.ndarray]:
    """Pairs of coefficients that a person would call a sun, spikes, symbols and a point."""
    draws, n = rng(4), 20_000
    spots = draws.normal(size=(6, 2))
    heaps = draws.choice([-1.6, 1.6], (n, 1)) * [1, 0.2]
    centre = np.where(draws.random((n, 1)) < 0.7, 0.05, 0.8)
    return {
        "sun": draws.normal(size=(n, 2)) * [1, 0.7],
        "spikes": draws.normal(size=(n, 2)) * 0.03 + spots[draws.integers(0, 6, n)],
        "symbols": draws.normal(size=(n, 2)) * 0.25 + heaps,
        "point": draws.normal(size=(n, 2)) * centre,
    }


@cache
def squares() -> np.ndarray:
    return np.stack([figures.pair_counts(*xy.T, 3.3) for xy in shapes_of_four_kinds().values()])


def layer_frame(n: int = 600) -> pd.DataFrame:
    draws = rng(5)
    frame = pd.DataFrame(
        {
            "sparsity": draws.beta(0.4, 3, n),
            "variance_entropy": 0.95 - draws.beta(1, 6, n) * 0.9,
            "orthogonality": draws.beta(9, 1, n),
        }
    )
    frame.loc[::17, "orthogonality"] = np.nan
    return frame


def group_codes(groups: int, n: int = 600) -> np.ndarray:
    """Groups of layers: the first of five layers only."""
    codes = np.arange(n) % groups
    codes[(codes == 0) & (np.arange(n) >= 5 * groups)] = -1
    return codes


def model_frame(n: int = 40) -> pd.DataFrame:
    layers = 10 + np.arange(n)
    worn = (layers * np.linspace(0, 0.9, n) ** 2).astype(int)
    return pd.DataFrame(
        {"model": [f"network-{i:02d}" for i in range(n)], "layers": layers, "degenerate_layers": worn}
    )


def first_of_layers() -> list[np.ndarray]:
    draws = rng(6)
    return [draws.normal(size=(k, 3, 3)).astype(np.float32) for k in (3, 12, 24, 8)]


def weight() -> np.ndarray:
    return rng(7).normal(size=(12, 8, 3, 3)).astype(np.float32)


def all_kinds(
    width: float = figures.COLUMN, names: tuple[str, ...] = LONG_NAMES
) -> dict[str, Callable[[], Drawing]]:
    """Return what draws each kind of figure."""
    groups, n = group_frame(names), len(names)
    pairs, (components, explained) = pair_frame(groups), bases(n)
    matrix, layers = matrix_frame(groups, pairs), layer_frame()
    deciles = group_frame(tuple(f"0.{i}-0.{i + 1}" for i in range(9)))
    by: dict = {"axis": "Task", "width": width}
    shapes = [figures.shape_of(one, 3.3) for one in squares()]
    six = np.concatenate([squares(), squares()[:2]])
    return {
        "eigenimages": lambda: figures.eigenimages(components, explained, groups, width=width),
        "explained_variance": lambda: figures.explained_variance(explained, groups, width=width),
        "covariance": lambda: figures.covariance_image(components[0], sizes=groups[:1], width=width),
        "heatmap": lambda: figures.drift_heatmap(matrix, pairs, groups, **by),
        "intervals": lambda: figures.drift_intervals(pairs, **by),
        "boxes": lambda: figures.drift_boxes({"Task": pairs, "depth_decile": pairs[:9]}, width=width),
        "ridges": lambda: figures.ridges(density(n), groups, **by),
        "scatter": lambda: figures.scatter_density(
            six, list(combinations(range(4), 2)), limit=3.3, sizes=groups[:1], width=width
        ),
        "phenotypes": lambda: figures.phenotypes(squares(), names[:4], shapes, limit=3.3, **by),
        "metrics": lambda: figures.metrics_by_group(layers, group_codes(n), groups, **by),
        "metrics_ordered": lambda: figures.metrics_by_group(
            layers, group_codes(9), deciles, ordered=True, metrics=("orthogonality",), **by
        ),
        "degenerate": lambda: figures.degenerate_by_model(
            model_frame(), groups=[names[i % n] for i in range(40)], names=names, axis="Task", width=width
        ),
        "first_filters": lambda: figures.first_filters(
            first_of_layers(), ["stem", "block.1", "block.2", "head"], model="net", width=width
        ),
        "kernels": lambda: figures.layer_kernels(weight(), name="net / block.1", width=width),
    }


@cache
def drawn(kind: str, width: float = figures.COLUMN) -> Drawing:
    """Return a figure that several tests look at, drawn once."""
    return all_kinds(width)[kind]()
