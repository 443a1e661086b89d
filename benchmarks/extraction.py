"""Extraction against a bare loop over the same generated zoo, in one run."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import in_turn
from filterdb.testing import conv_net, write_model

ZOOS = {"zoo": (6, 200), "large-zoo": (24, 800)}
"""How many models of some 90 MB, like a VGG, and of some 2 MB, like a mobile network: about 1 and 4 GB."""


def make_zoo(folder: Path, large: int, small: int) -> int:
    """Generate a zoo once, and return its bytes."""
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        widths = [3, 64, 128, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512, 512, 512]
        for seed in range(large):
            shapes = [(b, a, 3, 3) for a, b in itertools.pairwise(widths)]
            write_model(folder / f"large{seed}.onnx", conv_net(shapes, seed=seed))
        widths = [3, 32, 64, 64, 96, 96, 128, 128]
        for seed in range(small):
            shapes = [(b, a, 3, 3) for a, b in itertools.pairwise(widths)]
            write_model(folder / "small" / f"small{seed}.onnx", conv_net(shapes, seed=1000 + seed))
        (folder / "complete").touch()
    return sum(path.stat().st_size for path in folder.rglob("*.onnx"))


def contenders(zoo: Path, work: Path) -> dict[str, Callable[[], Sequence[str]]]:
    """Return what is compared: the loop, the loop until its file is on the disk, and ours."""

    def fresh(name: str) -> Path:
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder / "dataset.h5"

    def loop(*options: str) -> Callable[[], Sequence[str]]:
        command = [sys.executable, "benchmarks/bare_loop.py", str(zoo)]
        return lambda: [*command, str(fresh("loop")), *options]

    def ours(workers: int) -> Callable[[], Sequence[str]]:
        def prepare() -> Sequence[str]:
            out = fresh(f"ours{workers}")
            command = [sys.executable, "-m", "filterdb.cli", "extract", str(zoo), "--out", str(out)]
            return [*command, "--workers", str(workers)]

        return prepare

    return {
        "bare loop": loop(),
        "bare loop, to the disk": loop("--durable"),
        "filterdb, 1 worker": ours(1),
        "filterdb, 2 workers": ours(2),
    }


def run(work: Path, *, rounds: int) -> str:
    """Run the benchmark and return its report."""
    return "\n\n".join(_compare(work, name, rounds) for name in ZOOS)


def _compare(work: Path, name: str, rounds: int) -> str:
    zoo, models = work / name, sum(ZOOS[name])
    size = make_zoo(zoo, *ZOOS[name])
    figures = in_turn(contenders(zoo, work), rounds=rounds)
    base, durable, *_ = figures
    lines = [
        f"{models} models, {size / 1e9:.2f} GB; medians of {rounds} rounds, contenders in turn. Ours ends "
        "when its file is on the disk, as the second loop does; the first leaves that to the system.",
        "",
        "| | seconds | MB/s | times the loop's speed | of that to the disk | memory (MB) | of the loop's |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.name} | {f.seconds:.2f} | {size / 1e6 / f.seconds:,.0f} | {base.seconds / f.seconds:.2f} "
        f"| {durable.seconds / f.seconds:.2f} | {f.memory / 1e6:,.0f} | {f.memory / base.memory:.2f} |"
        for f in figures
    ]
    return "\n".join(lines)
