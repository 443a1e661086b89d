"""Data set files of drawn filters, and what an analysis finds in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from filter_kinds import filters_of
from filterdb.config import RunConfig
from filterdb.run.scanning.scans import scanner
from filterdb.shift import Basis, fit_basis
from filterdb.stats import Cube, merge_records
from filterdb.store import ZooEntry, build_tables, write_dataset
from filterdb.types import Filters, Kernel
from store.store_cases import layer, metadata_of, record

KINDS = ("random", "trained", "sparse", "zero filters", "low rank", "large mean", "mixed magnitudes")


@dataclass(frozen=True)
class Layer:
    """A weight as rows: one filter a row, one output channel after the other."""

    filters: Filters = field(repr=False)
    out_channels: int
    kind: str = ""


Model = tuple[Layer, ...]
Zoo = Mapping[str, Model]
"""Models by name; a data set holds them in the order of their names."""


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    out_channels, in_channels = draw(st.sampled_from([(1, 1), (1, 5), (4, 3), (16, 8), (30, 20), (64, 1)]))
    kind, seed = draw(st.sampled_from(KINDS)), draw(st.integers(0, 99))
    filters = filters_of(kind, out_channels * in_channels, seed=seed)
    return Layer(filters, out_channels, f"{kind}, seed {seed}, {in_channels} in")


def zoos(models: int = 4) -> st.SearchStrategy[Zoo]:
    """Draw a few models of one to three layers, of which at least one varies."""
    sure = st.integers(0, 99).map(lambda seed: Layer(filters_of("random", 128, seed=seed), 16))
    one = st.lists(layers(), min_size=1, max_size=3).map(tuple)
    first = st.tuples(sure, layers())
    return st.tuples(first, *[one] * (models - 1)).map(
        lambda found: {f"m{i}": m for i, m in enumerate(found)}
    )


def write(path: Path, zoo: Zoo) -> Path:
    """Write a data set; models whose digit is even are of the task ``even``, the others of ``odd``."""
    entries, blocks, tasks = [], [], []
    for name, model in sorted(zoo.items()):
        made = [
            layer(
                f"layer{i}",
                one.filters,
                one.out_channels,
                conv_depth=i,
                conv_depth_norm=i / max(1, len(model) - 1),
            )
            for i, one in enumerate(model)
        ]
        entries.append(ZooEntry(name, f"{name}.onnx", record(name, made)))
        blocks += [one.filters for one in model]
        tasks.append("odd" if int(name[-1]) % 2 else "even")
    tables = build_tables(entries, metadata_of(entries, Task=tasks))
    write_dataset(path, tables, blocks, kernel=Kernel(3, 3), attributes={"extractor_version": 1})
    return path


@dataclass(frozen=True)
class Scanned:
    """What the scans of a data set file give."""

    basis: Basis
    cube: Cube


def scan(path: Path, *, given: Scanned | None = None) -> Scanned:
    """Scan a data set in its own coordinates or in given ones."""
    with scanner(path, RunConfig(workers=1)) as here:
        records = here.statistics()
        basis = fit_basis(merge_records(records, "scaled")) if given is None else given.basis
        limits = None if given is None else (given.cube.low, given.cube.high)
        return Scanned(basis, here.cube(records, basis, 70, limits))


def groups(zoo: Zoo) -> NDArray[np.int64]:
    """Return the task of each record: 0 for even, 1 for odd models."""
    return np.array([int(name[-1]) % 2 for name in sorted(zoo) for _ in zoo[name]])


def group_counts(found: Scanned, zoo: Zoo) -> NDArray[np.int64]:
    return found.cube.group_counts(groups(zoo), 2)


def renamed(zoo: Zoo, order: Sequence[int]) -> Zoo:
    """Put models in another order, each within its task's names."""
    names = sorted(zoo)
    of_task = [[name for name in names if int(name[-1]) % 2 == task] for task in (0, 1)]
    moved: dict[str, Model] = {}
    for task in of_task:
        turned = sorted(task, key=lambda name: order[names.index(name)])
        moved |= {new: zoo[old] for new, old in zip(task, turned, strict=True)}
    return moved


def shuffled(one: Layer, seed: int) -> Layer:
    """Put the filters of a layer in another order."""
    order = np.random.default_rng(seed).permutation(len(one.filters))
    return replace(one, filters=one.filters[order])


def with_broken_filters(one: Layer, seed: int) -> Layer:
    """Add an input and an output channel of which every filter holds a NaN or an infinity."""
    rng = np.random.default_rng(seed)
    n_in = len(one.filters) // one.out_channels
    weight = rng.normal(0, 0.1, (one.out_channels + 1, n_in + 1, 9)).astype(np.float32)
    weight[..., 4] = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), weight.shape[:2])
    weight[:-1, :-1] = one.filters.reshape(one.out_channels, n_in, 9)
    return Layer(weight.reshape(-1, 9), one.out_channels + 1)
