"""Commands that run models over data: CKA, saturation and the sparsity score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from filterdb.commands.shared import JsonOption, app, show, when_interrupted
from filterdb.errors import UsageError

group = typer.Typer(
    name="probe",
    help="Show what a model does with data; needs the extra filterdb[probe].",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: filterdb probe saturation model.onnx",
)
app.add_typer(group)

ModelArgument = Annotated[Path, typer.Argument(help="An .onnx file.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="An .npz or .npy file, or a folder of images; else scikit-learn's digits."),
]
LayersOption = Annotated[
    list[str] | None, typer.Option("--layers", help="Layers to look at: a name, or a pattern with * and ?.")
]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        help="Layers to look at: weighted (conv, linear and recurrent; the default), block (these after their"
        " normalization and activation), conv, linear, recurrent, norm, activation or all.",
    ),
]
BatchOption = Annotated[int, typer.Option("--batch", help="Rows of data at once.")]
LimitOption = Annotated[int | None, typer.Option("--limit", help="Most rows to use, drawn by the seed.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of every draw.")]
MemoryOption = Annotated[
    str, typer.Option("--memory", help="What activations may take; beyond it, several passes are made.")
]
ThreadsOption = Annotated[int, typer.Option("--threads", help="Of onnxruntime; 0 is one a core.")]
SizeOption = Annotated[
    str | None, typer.Option("--size", help="Size of images where the model takes any: 32 or 32x48.")
]
NormalizeOption = Annotated[
    str,
    typer.Option("--normalize", help="Values of images: unit, byte, signed, imagenet, or means:deviations."),
]
ResizeOption = Annotated[str, typer.Option("--resize", help="How images get their size: stretch or crop.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="A table to write: .csv, .parquet or .json.")]
FigureOption = Annotated[Path | None, typer.Option("--figure", help="A figure to write: .png or .svg.")]


@group.command(epilog="Example: filterdb probe cka a.onnx b.onnx --figure cka.png")
def cka(
    a: ModelArgument,
    b: Annotated[Path | None, typer.Argument(help="Another; else the first with itself.")] = None,
    data: DataOption = None,
    data_b: Annotated[
        Path | None, typer.Option("--data-b", help="What goes through the second model, row for row.")
    ] = None,
    layers: LayersOption = None,
    layers_b: Annotated[
        list[str] | None, typer.Option("--layers-b", help="Layers of the second model; else as --layers.")
    ] = None,
    kind: KindOption = None,
    batch: BatchOption = 64,
    shuffle: Annotated[bool, typer.Option("--shuffle/--in-order", help="Draw the order of rows.")] = True,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 0,
    size: SizeOption = None,
    normalize: NormalizeOption = "unit",
    resize: ResizeOption = "stretch",
    out: OutOption = None,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how alike the layers of two models represent the same data."""
    how = _common(locals())
    models = (a,) if b is None else (a, b)
    _run("cka", *models, as_json=as_json, data_b=data_b, layers_b=layers_b, shuffle=shuffle, **how)


@group.command(epilog="Example: filterdb probe saturation model.onnx --figure saturation.png")
def saturation(
    model: ModelArgument,
    data: DataOption = None,
    layers: LayersOption = None,
    kind: KindOption = None,
    delta: Annotated[float, typer.Option(help="The share of the variance to explain.")] = 0.99,
    pooling: Annotated[
        str, typer.Option(help="Places of an image: channelwise, mean, max, median or flatten.")
    ] = "channelwise",
    rule: Annotated[str, typer.Option(help="plain, or delve: as delve counts.")] = "plain",
    batch: BatchOption = 64,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 0,
    size: SizeOption = None,
    normalize: NormalizeOption = "unit",
    resize: ResizeOption = "stretch",
    out: OutOption = None,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many of the directions of each layer explain nearly all of its variance."""
    how = _common(locals())
    _run("saturation", model, as_json=as_json, delta=delta, pooling=pooling, rule=rule, **how)


@group.command(epilog="Example: filterdb probe sparsity model.onnx --data images.npz --labels labels.npy")
def sparsity(
    model: ModelArgument,
    data: DataOption = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of the rows: .npy, .npz or text; else those beside the data.")
    ] = None,
    layers: LayersOption = None,
    kind: KindOption = None,
    pooling: Annotated[
        str, typer.Option(help="Places of an image: flatten, mean, max or median.")
    ] = "flatten",
    rule: Annotated[str, typer.Option(help="plain, or original: as SparsityProbe computes it.")] = "plain",
    trees: Annotated[int, typer.Option(help="Trees of the forest.")] = 1,
    batch: BatchOption = 64,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 0,
    size: SizeOption = None,
    normalize: NormalizeOption = "unit",
    resize: ResizeOption = "stretch",
    out: OutOption = None,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how plainly the features of each layer tell labels apart."""
    how = _common(locals())
    _run("sparsity", model, as_json=as_json, labels=labels, pooling=pooling, rule=rule, trees=trees, **how)


_COMMON = (
    "data", "kind", "batch", "limit", "seed", "threads", "size", "normalize", "resize", "out", "figure",
)  # fmt: skip


def _common(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that all probes have, as the stage takes them."""
    from filterdb.config import parse_size

    try:
        memory = parse_size(given["memory"])
    except ValueError as error:
        raise UsageError(f"the memory is {given['memory']!r}", expected="a size such as 2GiB") from error
    return {
        **{name: given[name] for name in _COMMON},
        "layers": tuple(given["layers"] or ()),
        "memory": memory,
    }


def _run(what: str, *models: Path, as_json: bool, **options: Any) -> None:
    from filterdb.run import probe as stage

    with when_interrupted("a probe keeps nothing; run the same command again"):
        report = stage.probe(what, *models, **options)
    show(json.dumps(stage.summary(report)) if as_json else stage.text(report))
    if report.empty:
        raise typer.Exit(1)
