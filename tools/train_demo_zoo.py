"""Train the demo zoo of filterdb and export it as ONNX files.

Usage: python tools/train_demo_zoo.py --out pipeline/filterdb/demo/zoo [--only NAME] [--jobs N] [--cache DIR]

Everything is seeded, so a second run on the same machine gives the same files. Trained weights are
kept in the cache folder; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import torch

from demo_zoo import check, data, export, gan, tasks
from demo_zoo.catalogue import PAPER, Model, build, models
from demo_zoo.nets import count_filters

COLUMNS = [
    "Name",
    "Paper",
    "Pretraining-Dataset",
    "Training-Dataset",
    "Visual Category",
    "Task",
    "Accessible",
    "Dataset URL",
    "Family",
    "Width",
    "Trained",
    "Twin",
    "Parameters",
    "Metric",
    "Metric Value",
    "Metric Untrained",
    "Seed",
    "Exporter",
]
BROKEN_FROM = "cls-textures-plain-fit"


def _key(job: tuple[Model, ...]) -> str:
    """Digest of what training depends on; exporter habits do not matter to it."""
    text = repr([{k: v for k, v in asdict(m).items() if k not in ("habit", "twin")} for m in job])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def jobs_of(rows: list[Model]) -> list[tuple[Model, ...]]:
    """Single models and pairs of generator and discriminator."""
    single: list[tuple[Model, ...]] = [(row,) for row in rows if not row.is_gan]
    pairs = [row for row in rows if row.is_gan]
    # The pairs go first: if one of them diverges, it shows early.
    return [*zip(pairs[::2], pairs[1::2], strict=True), *single]


def cache_file(cache: Path, job: tuple[Model, ...]) -> Path:
    """Where the outcome of a job is kept."""
    return cache / f"{job[-1].name}-{_key(job)}.pt"


def run_job(job: tuple[Model, ...], cache: Path) -> str:
    """Train one job unless it is in the cache.

    Parameters
    ----------
    job : tuple of Model
        One model, or a generator and its discriminator.
    cache : Path
        Folder of the outcomes.

    Returns
    -------
    str
        Lines to print.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    target = cache_file(cache, job)
    if not target.exists():
        outcomes = gan.train_pair(*job) if len(job) == 2 else (tasks.train(job[0]),)
        part = target.with_suffix(".part")
        torch.save([vars(outcome) for outcome in outcomes], part)
        part.replace(target)
    lines = []
    for model, kept in zip(job, load(cache, job), strict=True):
        base = "" if kept.baseline is None else f" (input itself {kept.baseline:.3f})"
        change = f"{kept.untrained:8.3f} -> {kept.value:8.3f}{base}"
        lines.append(f"{model.name:32s} {change} {kept.seconds:.1f} s")
    return "\n".join(lines)


def load(cache: Path, job: tuple[Model, ...]) -> list[tasks.Trained]:
    """Outcomes of a job from the cache."""
    return [tasks.Trained(**kept) for kept in torch.load(cache_file(cache, job), weights_only=True)]


def row_of(model: Model, kept: tasks.Trained, trained: bool) -> dict[str, object]:
    """Row of the table for a model or its untrained twin."""
    digits = model.category == "handwriting"
    net = build(model)
    return dict(
        zip(
            COLUMNS,
            [
                model.name if trained else f"{model.name}-untrained",
                PAPER[model.family],
                "",
                data.DATA_SET[model.category] if trained else "",
                model.category,
                model.task,
                "",
                data.DIGITS_URL if digits and trained else "",
                model.family,
                "over-parameterised" if model.over else "fitting",
                "yes" if trained else "no",
                "" if trained else model.name,
                sum(p.numel() for p in net.parameters()),
                tasks.METRIC[model.task],
                f"{kept.value if trained else kept.untrained:.4f}",
                f"{kept.untrained:.4f}",
                model.seed,
                model.habit.describe(model.norm),
            ],
            strict=True,
        )
    )


def export_one(model: Model, state: dict[str, torch.Tensor], path: Path) -> None:
    """Export one set of weights and compare the file with torch."""
    net = build(model)
    net.load_state_dict(state)
    export.write(model, net, path)
    gap = export.difference(model, net, path)
    print(
        f"{path.stem:44s} {count_filters(net):6d} filters {path.stat().st_size:8d} bytes gap {gap:.1e}",
        flush=True,
    )
    assert gap <= export.allowed(model), (path.stem, gap)


def export_job(job: tuple[Model, ...], cache: Path, out: Path) -> list[dict[str, object]]:
    """Export the models of a job with their twins, and return their rows."""
    rows = []
    for model, kept in zip(job, load(cache, job), strict=True):
        assert tasks.beats_untrained(model, kept.value, kept.untrained), model.name
        export_one(model, kept.final, out / f"{model.name}.onnx")
        rows.append(row_of(model, kept, trained=True))
        if model.twin:
            # An int8 or float16 twin would not be the initial weights any more.
            plain = replace(model, habit=replace(model.habit, post=""))
            export_one(plain, kept.initial, out / f"{model.name}-untrained.onnx")
            rows.append(row_of(plain, kept, trained=False))
    return rows


def train_all(jobs: list[tuple[Model, ...]], cache: Path, workers: int) -> None:
    """Train all jobs, in this process or in several."""
    cache.mkdir(parents=True, exist_ok=True)
    if workers <= 1:
        for job in jobs:
            print(run_job(job, cache), flush=True)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for text in pool.map(run_job, jobs, [cache] * len(jobs)):
            print(text, flush=True)


def write_table(rows: list[dict[str, object]], path: Path) -> None:
    """Write the rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def parse() -> argparse.Namespace:
    """Command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, required=True, help="folder of the ONNX files")
    parser.add_argument("--only", help="train and export a single model (or its pair)")
    parser.add_argument("--jobs", type=int, default=1, help="processes for training")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "filterdb-demo-zoo",
        help="folder of trained weights",
    )
    return parser.parse_args()


def main() -> None:
    """Train, export, write the table and check the zoo."""
    args = parse()
    jobs = jobs_of(models())
    if args.only:
        jobs = [job for job in jobs if args.only in [model.name for model in job]]
        if not jobs:
            raise SystemExit(f"no model is called {args.only}")
    train_all(jobs, args.cache, args.jobs)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [row for job in jobs for row in export_job(job, args.cache, args.out)]
    if args.only:
        return
    wanted = {f"{row['Name']}.onnx" for row in rows}
    for stale in args.out.glob("*.onnx*"):
        if stale.name.removesuffix(".data") not in wanted:
            stale.unlink()
    export.write_broken(args.out / f"{BROKEN_FROM}.onnx", args.out)
    table = args.out.parent / "models.csv"
    write_table(rows, table)
    for key, value in check.check(args.out, table).items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
