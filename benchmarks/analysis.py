"""The analysis against a notebook's method and torchconvquality on the same filters, and its growth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.datasets import LAYERS, Size, make_dataset
from benchmarks.measure import ORACLES, Figure, in_turn

WARM_UP = Size(models=8, out_channels=8, in_channels=8)
SIZES = (
    Size(models=40, out_channels=125, in_channels=25),
    Size(models=40, out_channels=250, in_channels=125),
    Size(models=400, out_channels=250, in_channels=125),
)
OURS = {"filterdb": 999, "filterdb, without draws": 1}
NOTEBOOK = {"notebook's method": "auto", "notebook's method, its scikit-learn's solver": "full"}
PUBLISHED = 1_464_797_156
"""Filters of CNN-Filter-DB."""


def contenders(path: Path, warm_up: Path) -> dict[str, Callable[[], Sequence[str]]]:
    """Return what is compared on one data set file."""
    commands = {name: ours(path, warm_up, draws) for name, draws in OURS.items()}
    for name, solver in NOTEBOOK.items():
        commands[name] = [sys.executable, "-m", "benchmarks.notebook_method", str(path), solver]
    if ORACLES.exists():
        module = "benchmarks.torchconvquality_layers"
        commands["torchconvquality"] = [str(ORACLES), "-m", module, str(path)]
    return {name: lambda command=command: command for name, command in commands.items()}


def run(work: Path, *, rounds: int) -> str:
    """Run the benchmark and return its report."""
    warm_up = make_dataset(work / "filters", WARM_UP)
    paths = [make_dataset(work / "filters", size) for size in SIZES]
    figures = in_turn(contenders(paths[1], warm_up), rounds=rounds)
    growth = [
        in_turn({size.name: lambda p=path: ours(p, warm_up)}, rounds=max(1, rounds // 2))[0]
        for size, path in zip(SIZES, paths, strict=True)
    ]
    return "\n".join([*_comparison(figures, rounds), "", *_growth(growth)])


def ours(path: Path, warm_up: Path, draws: int = OURS["filterdb"]) -> Sequence[str]:
    """Return the command of our analysis."""
    return [sys.executable, "-m", "benchmarks.our_analysis", str(warm_up), str(path), str(draws)]


def _comparison(figures: Sequence[Figure], rounds: int) -> list[str]:
    base = figures[0]
    _require_same_numbers(figures)
    lines = [
        f"{SIZES[1].filters:,} random filters in {SIZES[1].models * LAYERS} layers, three axes; medians of "
        f"{rounds} rounds, contenders in turn, timed within each process after imports and compilation. "
        "Ours draws its permutations and bootstrap samples too, the others have none. The published notebook "
        "asks for scikit-learn 0.24.1, whose PCA decomposes all filters; today's takes their covariance.",
        "",
        "| | seconds | times ours | memory (MB) | ours of it |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.name} | {f.said('seconds'):.2f} | {f.said('seconds') / base.said('seconds'):.1f} "
        f"| {f.memory / 1e6:,.0f} | {base.memory / f.memory:.2f} |"
        for f in figures
    ]
    quality = base.said("phases", "statistics") + base.said("phases", "quality")
    for other in figures[len(OURS) + len(NOTEBOOK) :]:
        ratio = other.said("seconds") / quality
        lines += ["", f"Quality alone: {quality:.2f} s; {other.name} takes {ratio:.1f} times as long."]
    return lines


def _require_same_numbers(figures: Sequence[Figure]) -> None:
    """A rival that computes something else is none: the largest D of each axis and the mean entropy agree."""
    ours, _, *others = (figure.runs[-1].said for figure in figures)
    pairs = [(ours["entropy"], other["entropy"]) for other in others]
    for notebook in others[: len(NOTEBOOK)]:
        pairs += [(ours["largest"][axis], notebook["largest"][axis]) for axis in ours["largest"]]
    for a, b in pairs:
        if abs(a - b) > 1e-3 * abs(a):
            sys.exit(f"the contenders disagree: {a} and {b}")


def _growth(growth: Sequence[Figure]) -> list[str]:
    lines = [
        "| filters | seconds | times the size before | memory (MB) | million filters a second |",
        "|---|---|---|---|---|",
    ]
    before = None
    for size, figure in zip(SIZES, growth, strict=True):
        seconds = figure.said("seconds")
        factor = "" if before is None else f"{seconds / before:.1f}"
        rate = size.filters / seconds / 1e6
        lines.append(
            f"| {size.filters:,} | {seconds:.2f} | {factor} | {figure.memory / 1e6:,.0f} | {rate:.1f} |"
        )
        before = seconds
    whole = PUBLISHED / (SIZES[-1].filters / growth[-1].said("seconds")) / 60
    lines += ["", f"At the last rate, the {PUBLISHED:,} filters of CNN-Filter-DB take {whole:.1f} minutes."]
    return lines
