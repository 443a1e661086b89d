"""CKA against torch_cka and saturation against delve, on the torch twins of the same two models.

Everything runs in the environment of the oracles, each run in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ORACLES, Figure, in_turn, run_command

IMAGES, BATCH = 2000, 250
"""As many batches as there are images; torch_cka's own examples have batches of 256."""

FEW = {"rows": 200, "batch": 100}
"""What goes through torch_cka in float64, which takes long."""

FLOAT32, FLOAT64 = 5e-3, 1e-6
"""How far torch_cka may be from ours with sums in float32, as it is, and in float64."""

CKA = {"filterdb": "our_cka", "torch_cka": "torch_cka"}
SATURATION = {
    "filterdb": "our_saturation",
    f"delve, batches of {BATCH}": "delve",
    f"delve, one batch of {IMAGES:,}": "delve_at_once",
}


def run(work: Path, *, rounds: int) -> str:
    """Run the benchmark and return its report."""
    if not ORACLES.exists():
        sys.exit(f"{ORACLES} is missing: run it as `make bench`, which makes it")
    # Threads of PyTorch that wait in a loop would take the time of whatever else runs.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    folder = work / "probes"
    subprocess.run(command("make", folder), check=True)
    lines = [_introduction(rounds)]
    processors = len(os.sched_getaffinity(0))
    for contenders, agree in ((CKA, _same_cka), (SATURATION, _same_saturation)):
        rows = []
        for threads in sorted({1, processors}):
            figures = in_turn(_commands(contenders, folder, threads), rounds=rounds, before=0)
            rows += _rows(figures, threads)
            print(*rows[-len(figures) :], sep="\n", file=sys.stderr, flush=True)
        lines += ["", *_HEADER, *rows, "", agree(folder, figures)]
    return "\n".join(lines)


def command(what: str, folder: Path, **options: int) -> list[str]:
    """Return the command of one run."""
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [str(ORACLES), "-m", "benchmarks.probe_once", what, str(folder), *given]


def _commands(
    contenders: dict[str, str], folder: Path, threads: int
) -> dict[str, Callable[[], Sequence[str]]]:
    found = {
        name: command(what, folder, rows=IMAGES, batch=BATCH, threads=threads)
        for name, what in contenders.items()
    }
    return {name: lambda command=command: command for name, command in found.items()}


def _rounds(count: int) -> str:
    return "one round" if count == 1 else f"medians of {count} rounds"


def _introduction(rounds: int) -> str:
    return (
        "Plain-20 and ResNet-20 (19 convolutions and a dense layer, 16 to 64 channels) with random "
        f"weights, as ONNX files and as PyTorch modules; {IMAGES:,} images of 3 x 32 x 32 in batches of "
        f"{BATCH}, all 20 layers, in eval mode and without gradients; {_rounds(rounds)}, contenders "
        "in turn, each in a process of its own, timed after imports and loading. Processor seconds are added "
        "up over threads and over user and system; other work on the machine changes them less. PyTorch's "
        "threads wait passively."
    )


_HEADER = (
    "| | threads | seconds | times ours | processor seconds | times ours | memory (MB) |",
    "|---|---|---|---|---|---|---|",
)


def _rows(figures: Sequence[Figure], threads: int) -> list[str]:
    base = figures[0]
    rows = []
    for f in figures:
        cells = [
            f"{f.said(name):.2f} | {f.said(name) / base.said(name):.1f}" for name in ("seconds", "processor")
        ]
        rows.append(f"| {f.name} | {threads} | {' | '.join(cells)} | {f.memory / 1e6:,.0f} |")
    return rows


def _values(source: Figure | list[str]) -> Any:
    run = run_command(source) if isinstance(source, list) else source.runs[-1]
    return np.array(run.said["values"])


def _same_cka(folder: Path, figures: Sequence[Figure]) -> str:
    single = _far(*map(_values, figures), FLOAT32)
    few = [_values(command(what, folder, **FEW)) for what in ("our_cka", "torch_cka_double")]
    double = _far(*few, FLOAT64)
    return (
        f"Both give the same numbers: the largest difference is {single:.0e}, and {double:.0e} on "
        f"{FEW['rows']} images where torch_cka runs in float64, so that the first is its float32; ours sums "
        "in float64 anyway. torch_cka computes the matrix of each layer of the second model again for every "
        "layer of the first, and two more products of matrices for each of the 400 pairs; here each layer's "
        "matrix is made once, half of it as it is symmetric, and all pairs are one product."
    )


def _same_saturation(folder: Path, figures: Sequence[Figure]) -> str:
    ours, batched, at_once = map(_values, figures)
    _far(ours, at_once, 0)
    last = _values(command("our_saturation", folder, rows=BATCH, batch=BATCH))
    _far(last, batched, 0)
    return (
        f"delve starts again with every batch: in batches of {BATCH}, what it reports is the saturation of "
        f"the last {BATCH} images, exactly what ours gives for these. For all {IMAGES:,} it needs them as "
        "one batch; then both give the same number for each of the 20 layers. One batch is slow because "
        "results of a hundred megabytes and more are allocated, and their pages cleared, for every layer. "
        "Here the rows of a batch go through the model in parts of 32, as nothing in it mixes rows, so that "
        "most activations are still in the processor's caches when they are summed; convolutions run in the "
        "blocked layout that onnxruntime has for them; and covariances of few channels are products of "
        "small matrices, in float64."
    )


def _far(ours: Any, theirs: Any, most: float) -> float:
    """A rival that computes something else is none."""
    found = float(np.abs(ours - theirs).max())
    if not found <= most:
        sys.exit(f"the contenders disagree by {found}")
    return found
