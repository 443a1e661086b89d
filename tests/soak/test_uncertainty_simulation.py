"""Do p values and intervals keep their promise? In simulated zoos, every model has its own distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from filterdb.shift.divergence import measure
from filterdb.shift.resampling import Resampling
from filterdb.shift.uncertainty import uncertainty
from filterdb.shift.units import Weighting

pytestmark = pytest.mark.soak

COMPONENTS, BINS = 9, 70
WIDTH = 6 / BINS
PLACES = np.linspace(-3, 3, BINS)
WEIGHTS = np.array([0.40, 0.18, 0.12, 0.10, 0.07, 0.05, 0.03, 0.03, 0.02])
DEVIATIONS = np.linspace(1, 0.35, COMPONENTS)
SPREAD, LAYER_SPREAD = 0.25, 0.15
DATA_SETS = 200


def distributions(shift: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Bell curves over the bins; shift and log scale are (..., components)."""
    deviation = (DEVIATIONS * np.exp(log_scale))[..., None]
    p = np.exp(-0.5 * ((PLACES - shift[..., None]) / deviation) ** 2)
    return p / p.sum(axis=-1, keepdims=True)


def zoo(rng: np.random.Generator, models: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Distributions of records: an effect of the model, one of the record, and the group's shift."""
    effects = []
    for _ in range(2):
        own = SPREAD * rng.standard_normal((models.max() + 1, COMPONENTS))
        effects.append(own[models] + LAYER_SPREAD * rng.standard_normal((len(models), COMPONENTS)))
    return distributions(effects[0] + delta[:, None], effects[1])


def population(delta: float) -> np.ndarray:
    """The mean distribution of a group, from 40,000 models."""
    parts = []
    for seed in range(20):
        rng, models = np.random.default_rng([seed, 99]), np.arange(2000)
        parts.append(zoo(rng, models, np.full(2000, delta)).mean(axis=0))
    return np.mean(parts, axis=0)


def layout(kind: str, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups and models of records: three records a model; or models with two records in each group."""
    if kind == "between":
        models = np.repeat(np.arange(2 * each), 3)
        return models // each, models
    return np.tile([0, 0, 1, 1], each), np.repeat(np.arange(each), 4)


def filters(rng: np.random.Generator, p: np.ndarray, *, uneven: bool) -> np.ndarray:
    sizes = np.exp(rng.normal(7, 1, len(p))).astype(int) + 20 if uneven else np.full(len(p), 2000)
    return np.stack([rng.multinomial(n, one) for n, one in zip(sizes, p, strict=True)])


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("each", [8, 30])
@pytest.mark.parametrize("kind", ["between", "within"])
def test_p_is_uniform_where_nothing_differs(kind: str, each: int, uneven: bool) -> None:
    p = []
    for seed in range(DATA_SETS):
        rng = np.random.default_rng([seed, each])
        codes, models = layout(kind, each)
        counts = filters(rng, zoo(rng, models, np.zeros(len(models))), uneven=uneven)
        how = Resampling(seed=seed, permutations=199, draws=1)
        found = uncertainty(
            "null", ["a", "b"], counts, codes, models, weights=WEIGHTS, width=WIDTH, resampling=how
        )
        p.append(found["p"].iloc[0])
    test = kstest(p, "uniform")
    print({"kind": kind, "each": each, "uneven": uneven, "ks_p": round(test.pvalue, 3)}, end=" ")
    print({"rejected at .05": np.mean(np.array(p) <= 0.05)})
    assert test.pvalue > 0.01


@pytest.mark.parametrize(
    ("kind", "by", "weighting", "uneven"),
    [
        ("between", "paper", "filters", False),
        ("between", "paper", "filters", True),
        ("between", "paper", "models", True),
        ("between", "jensen_shannon", "filters", False),
        ("between", "wasserstein", "filters", False),
        ("within", "paper", "filters", False),
        ("within", "paper", "layers", True),
    ],
)
@pytest.mark.parametrize("delta", [0.1, 0.4])
@pytest.mark.parametrize("each", [8, 30])
def test_the_interval_covers_the_distance_of_the_populations(
    each: int, delta: float, kind: str, by: str, weighting: Weighting, uneven: bool
) -> None:
    true = measure(by)(population(0), population(delta), weights=WEIGHTS, width=WIDTH)
    covered, errors = [], []
    for seed in range(DATA_SETS):
        rng = np.random.default_rng([seed, each, 1])
        codes, models = layout(kind, each)
        counts = filters(rng, zoo(rng, models, delta * codes), uneven=uneven)
        how = Resampling(seed=seed, permutations=99, draws=399)
        options = {"weights": WEIGHTS, "width": WIDTH, "by": by, "weighting": weighting, "resampling": how}
        row = uncertainty("cover", ["a", "b"], counts, codes, models, **options).iloc[0]
        covered.append(row["low"] <= true <= row["high"])
        errors.append(row["D"] - true)
    print(
        {"each": each, "delta": delta, "kind": kind, "by": by, "weighting": weighting, "uneven": uneven},
        end=" ",
    )
    print({"true": round(float(true), 4), "bias of D": round(float(np.mean(errors)), 4)}, end=" ")
    print({"coverage": np.mean(covered)})
    assert np.mean(covered) >= 0.90
