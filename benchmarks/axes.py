"""Questions to a cube of the published data set's size: any axis, and what chance alone would give."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb import shift
from filterdb.schema import INDEX
from filterdb.stats import Cube
from filterdb.stats.cube import record_dtype
from filterdb.types import Kernel

RECORDS, MODELS = 21_436, 650
COMPONENTS, BINS = 9, 70
LIMITS = (-3.0, 3.0)
EXPLAINED = np.array([0.398, 0.183, 0.117, 0.099, 0.066, 0.055, 0.030, 0.028, 0.024])

AXES = (
    ("Task", None),
    ("Visual Category", None),
    ("depth_decile", None),
    ("sparsity > 0.2 and op_set >= 11", None),
    ("sparsity", None),
    ("Task", "depth_decile"),
)
"""What is asked: texts between models, depth within them, a condition, binned numbers, a combination."""

TESTED = 3
"""How many of these are also permuted and resampled: what ``filterdb analyze`` does."""


@dataclass(frozen=True, slots=True)
class Question:
    """One axis and the best times of its steps, in seconds."""

    name: str
    groups: int
    axis: float
    matrix: float
    uncertainty: float | None
    processor: float | None


def make_frame(rng: np.random.Generator) -> pd.DataFrame:
    """Generate a table of records: long and short models, tasks of which some are rare."""
    share = rng.lognormal(0, 0.6, MODELS)
    layers = 1 + rng.multinomial(RECORDS - MODELS, share / share.sum())
    model = np.repeat(np.arange(MODELS), layers)
    depth = np.arange(RECORDS) - np.repeat(np.cumsum(layers) - layers, layers)
    task = rng.choice(15, MODELS, p=np.arange(15, 0, -1) / 120)[model]
    category = rng.choice(11, MODELS)[model]
    frame = pd.DataFrame(
        {
            "model": pd.Series([f"model {i}" for i in model], dtype="str"),
            "Task": pd.Series([f"task {i}" for i in task], dtype="str"),
            "Visual Category": pd.Series([f"category {i}" for i in category], dtype="str"),
            "op_set": rng.choice([9, 11, 13], MODELS)[model],
            "sparsity": rng.beta(0.5, 3, RECORDS),
        }
    )
    levels = [model, depth, depth / np.maximum(layers[model] - 1, 1), depth]
    frame.index = pd.MultiIndex.from_arrays(levels, names=INDEX)
    return frame


def make_counts(rng: np.random.Generator, frame: pd.DataFrame) -> NDArray[np.uint32]:
    """Generate counts: bell curves that model, record and depth shift; 68,000 filters a record on average."""
    model, relative = (
        frame.index.get_level_values(name).to_numpy() for name in ("model_id", "conv_depth_norm")
    )
    places, deviation = np.linspace(*LIMITS, BINS), np.linspace(1, 0.35, COMPONENTS)[:, None]
    centre = 0.25 * rng.standard_normal((MODELS, COMPONENTS))[model]
    centre += 0.15 * rng.standard_normal((RECORDS, COMPONENTS)) + 0.1 * relative[:, None]
    sizes = np.exp(rng.normal(9.85, 1.6, RECORDS)).astype(np.int64) + 9
    counts = np.empty((RECORDS, COMPONENTS, BINS), np.uint32)
    for part in np.array_split(np.arange(RECORDS), 50):
        p = np.exp(-0.5 * ((places - centre[part, :, None]) / deviation) ** 2)
        p /= p.sum(axis=-1, keepdims=True)
        counts[part] = rng.multinomial(sizes[part, None], p)
    return counts


def make_cube(work: Path) -> tuple[pd.DataFrame, Cube]:
    """Generate the cube, its counts once."""
    frame = make_frame(np.random.default_rng(0))
    path = work / "counts.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        np.save(path, make_counts(np.random.default_rng(1), frame))
    counts = np.load(path)
    records = np.zeros(RECORDS, record_dtype(COMPONENTS))
    records["n"] = records["finite"] = counts[:, 0].sum(axis=-1)
    return frame, Cube.of(records, counts, *LIMITS)


def coordinates() -> shift.CoordinateSystem:
    basis = shift.Basis(1, np.zeros(COMPONENTS), np.eye(COMPONENTS), EXPLAINED)
    return shift.CoordinateSystem(Kernel(3, 3), "paper", basis, *LIMITS, BINS, EXPLAINED)


def best(rounds: int, work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the least seconds, the least seconds of all processors, and the result."""
    times = []
    result = None
    for _ in range(rounds):
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    walls, processors = zip(*times, strict=True)
    return min(walls), min(processors), result


def ask(frame: pd.DataFrame, cube: Cube, by: str, with_: str | None, *, test: bool, rounds: int) -> Question:
    where = coordinates()
    making, _, axis = best(rounds, lambda: shift.make_axis(frame, by, with_=with_))
    comparing, _, _ = best(rounds, lambda: shift.axis_matrix(axis, cube, where))
    testing = best(rounds, lambda: shift.axis_shift(axis, cube, where))[:2] if test else (None, None)
    return Question(axis.name, len(axis.groups), making, comparing, *testing)


def run(work: Path, *, rounds: int) -> str:
    """Run the benchmark and return its report."""
    frame, cube = make_cube(work / "axes")
    questions = [ask(frame, cube, *axis, test=i < TESTED, rounds=rounds) for i, axis in enumerate(AXES)]
    lines = [
        f"{RECORDS:,} records of {MODELS} models, {COMPONENTS} x {BINS} counts each; no filter is read.",
        f"The best of {rounds} rounds in one process, in seconds. The last two columns: with 999",
        "permutations and 999 bootstrap draws of every pair, on the clock and added up over processors.",
        "",
        "| axis | groups | pairs | making the axis | all distances | with uncertainty | of all processors |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one.name}` | {one.groups} | {one.groups * (one.groups - 1) // 2:,} | {one.axis:.3f} "
        f"| {one.matrix:.3f} | {_seconds(one.uncertainty)} | {_seconds(one.processor)} |"
        for one in questions
    ]
    tested = [question.uncertainty or 0 for question in questions[:TESTED]]
    lines += ["", f"The {TESTED} axes with their uncertainty together: {sum(tested):.1f} s."]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
