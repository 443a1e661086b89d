"""Commands that run models over data: CKA, saturation and the sparsity score, of one model or of a zoo."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from filterdb.commands.shared import (
    ConfigOption,
    DashboardOption,
    JsonOption,
    SchedulerOption,
    WorkersOption,
    app,
    load,
    output,
    show,
    when_interrupted,
)
from filterdb.errors import UsageError, printable

if TYPE_CHECKING:
    from filterdb.config import RunConfig
    from filterdb.probe.worker import What

group = typer.Typer(
    name="probe",
    help="Show what models do with data; needs the extra filterdb[probe].",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: filterdb probe saturation model.onnx",
)
app.add_typer(group)

ModelsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="MODEL|ZOO...", help="An .onnx file, or a zoo: folders whose models are probed."),
]


@dataclass(frozen=True)
class Shared:
    """The options of all probes; what is not said stands in the configuration, or has a default."""

    data: Annotated[
        str | None,
        typer.Option(help="An .npz or .npy file, or a folder of images; else scikit-learn's digits."),
    ] = None
    layers: Annotated[
        list[str] | None, typer.Option(help="Layers to look at: a name, or a pattern with * and ?.")
    ] = None
    kind: Annotated[
        str | None,
        typer.Option(
            help="Layers to look at: weighted (conv, linear and recurrent; the default), block (these after"
            " their normalization and activation), conv, linear, recurrent, norm, activation or all."
        ),
    ] = None
    batch: Annotated[int | None, typer.Option(help="Rows of data at once; 64.")] = None
    limit: Annotated[int | None, typer.Option(help="Most rows to use, drawn by the seed.")] = None
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the rows of --limit, CKA's order, shuffled labels and what a model draws itself; 0."
        ),
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(help="What activations may take, 1GiB; beyond it, several passes are made."),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(help="Of one model, to run and to be looked at; one a core, in a zoo one a model."),
    ] = None
    size: Annotated[
        str | None, typer.Option(help="Size of images where the model takes any: 32 or 32x48.")
    ] = None
    normalize: Annotated[
        str | None,
        typer.Option(
            help="Values of images: unit (the default), byte, signed, imagenet, or means:deviations."
        ),
    ] = None
    resize: Annotated[
        str | None, typer.Option(help="How images get their size: stretch (the default), crop or center.")
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(help="A table to write: .csv, .parquet or .json; of a zoo, the folder to write."),
    ] = None
    figure: Annotated[Path | None, typer.Option(help="A figure to write: .png, .svg or .pdf.")] = None
    config: ConfigOption = None
    workers: WorkersOption = None
    scheduler: SchedulerOption = None
    dashboard: DashboardOption = None
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Probe every model of a zoo again, also where --out holds another probe."
        ),
    ] = False
    as_json: JsonOption = False

    def settings(self, **section: Any) -> RunConfig:
        """Return the configuration with all that was said on the command line."""
        known = ("data", "kind", "batch", "limit", "seed", "threads", "size", "normalize", "resize")
        config = load(self.config, workers=self.workers, scheduler=self.scheduler, dashboard=self.dashboard)
        return config.with_probe(
            **{name: getattr(self, name) for name in known},
            layers=tuple(self.layers) if self.layers else None,
            activations=None if self.memory is None else _size_of(self.memory),
            **section,
        )


def _size_of(text: str) -> int:
    from filterdb.config import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"--memory is {text!r}", expected="a size such as 2GiB") from error


def _sharing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`Shared`, which it takes as its first argument."""
    kinds = get_type_hints(Shared, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name]
        )
        for field in fields(Shared)
    ]
    _, *own = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        mine = {field.name: given.pop(field.name) for field in fields(Shared)}
        command(Shared(**mine), **given)

    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    wrapped.__signature__ = inspect.Signature([*keywords, *shared])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in (*keywords, *shared)}
    return wrapped


@group.command(epilog="Example: filterdb probe cka a.onnx b.onnx --figure cka.png")
@_sharing
def cka(
    shared: Shared,
    a: Annotated[
        Path | None, typer.Argument(metavar="MODEL|ZOO", help="An .onnx file, or a folder of them.")
    ] = None,
    b: Annotated[Path | None, typer.Argument(metavar="MODEL", help="Another; else each with itself.")] = None,
    data_b: Annotated[
        Path | None, typer.Option(help="What goes through the second model, row for row.")
    ] = None,
    layers_b: Annotated[
        list[str] | None, typer.Option(help="Layers of the second model; else as --layers.")
    ] = None,
    shuffle: Annotated[
        bool | None, typer.Option("--shuffle/--in-order", help="Draw the order of rows; the default.")
    ] = None,
) -> None:
    """Show how alike the layers of two models represent the same data."""
    more: dict[str, Any] = {} if b is None else {"b": b}
    more |= {} if data_b is None else {"data_b": data_b}
    more |= {} if not layers_b else {"layers_b": tuple(layers_b)}
    _run("cka", shared, [] if a is None else [a], shared.settings(shuffle=shuffle), more)


@group.command(epilog="Example: filterdb probe saturation model.onnx --figure saturation.png")
@_sharing
def saturation(
    shared: Shared,
    models: ModelsArgument = None,
    delta: Annotated[float | None, typer.Option(help="The share of the variance to explain; 0.99.")] = None,
    pooling: Annotated[
        str | None, typer.Option(help="Places of an image: channelwise, mean, max, median or flatten.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="plain, or delve: as delve counts.")] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            help="Steps of a sequence: the last, the first, or all, which are pooled as places are."
        ),
    ] = None,
) -> None:
    """Show how many of the directions of each layer explain nearly all of its variance."""
    own = {"delta": delta, "pooling": pooling, "rule": rule, "steps": steps}
    _run("saturation", shared, models or [], _with_own("saturation", shared.settings(), own))


@group.command(epilog="Example: filterdb probe sparsity model.onnx --data images.npz --labels labels.npy")
@_sharing
def sparsity(
    shared: Shared,
    models: ModelsArgument = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels of the rows: .npy, .npz or text; else those beside the data.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help="Places of an image: flatten, mean, max or median.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(help="plain, or original: as SparsityProbe computes it.")
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            help="Steps of a sequence: the last, the first, or all, which are pooled as places are."
        ),
    ] = None,
    trees: Annotated[int | None, typer.Option(help="Trees of a forest; 1.")] = None,
    forests: Annotated[
        int | None, typer.Option(help="Forests, each by a seed of its own, that alpha is the mean of; 1.")
    ] = None,
    shuffles: Annotated[
        int | None,
        typer.Option(help="Forests of shuffled labels, to see what alpha is where labels mean nothing; 0."),
    ] = None,
    forest_seed: Annotated[
        int | None, typer.Option(help="Of the forests, of clusters and of drawn singular components; 2.")
    ] = None,
    clusters: Annotated[
        bool | None,
        typer.Option("--clusters/--no-clusters", help="Compare clusters with the labels; the default."),
    ] = None,
) -> None:
    """Show how plainly the features of each layer tell labels apart."""
    own = {
        "pooling": pooling,
        "rule": rule,
        "steps": steps,
        "trees": trees,
        "forests": forests,
        "shuffles": shuffles,
        "forest_seed": forest_seed,
        "clusters": clusters,
    }
    _run("sparsity", shared, models or [], _with_own("sparsity", shared.settings(labels=labels), own))


def _with_own(section: str, settings: RunConfig, own: dict[str, Any]) -> RunConfig:
    """Return the configuration with what only one of the probes can be told."""
    given = {name: value for name, value in own.items() if value is not None}
    return settings.with_probe(**{section: {**dict(getattr(settings.probe, section)), **given}})


def _run(
    what: What, shared: Shared, paths: Sequence[Path], settings: RunConfig, more: dict[str, Any] | None = None
) -> None:
    from filterdb.config import resolve_zoo
    from filterdb.run.probing.settings import options_of

    options = {**options_of(what, settings.probe), **(more or {})}
    _require_models([*paths, *([options["b"]] if "b" in options else [])], shared)
    if len(paths) == 1 and not paths[0].is_dir():
        _probe_one(what, paths[0], shared, options)
        return
    zoo = list(paths) or [resolve_zoo(entry) for entry in settings.zoo]
    if not zoo:
        raise UsageError(
            "no model is given", expected="an .onnx file, or folders of them, or --config with a zoo"
        )
    _probe_zoo(what, zoo, shared, settings, options)


def _require_models(paths: Sequence[Path], shared: Shared) -> None:
    """Refuse words that are taken for models, though they are names of layers."""
    missing = [path for path in paths[1:] if not path.exists()]
    if missing and shared.layers:
        names = [*shared.layers, *map(str, missing)]
        raise UsageError(
            f"{missing[0]} is no model: there is no such file",
            expected="one name or pattern after each --layers",
            hint=" ".join(f"--layers {printable(name)}" for name in names),
        )


def _probe_one(what: What, path: Path, shared: Shared, options: dict[str, Any]) -> None:
    from filterdb.run.probing import single, words

    for name, value in (("--workers", shared.workers), ("--scheduler", shared.scheduler)):
        if value is not None:
            raise UsageError(
                f"{name} is given for one model",
                expected="a folder of models",
                hint="--threads for one model",
            )
    models = (path, *([options.pop("b")] if "b" in options else []))
    with when_interrupted("the probe of one model keeps nothing; run the same command again"):
        report = single.probe(what, *models, out=shared.out, figure=shared.figure, **options)
    show(json.dumps(single.summary(report)) if shared.as_json else words.text(report))
    if report.empty:
        raise typer.Exit(1)


def _probe_zoo(
    what: What, zoo: Sequence[Path], shared: Shared, settings: RunConfig, options: dict[str, Any]
) -> None:
    from filterdb.run.probing import zoo as stage
    from filterdb.run.probing import zoo_words as words

    if "data_b" in options:
        raise UsageError("--data-b is given with a zoo", expected="two models: it is for the second one")
    if shared.out is None and not settings.name:
        several = len(zoo) > 1
        raise UsageError(
            "several models are given, and --out is not" if several else "a zoo is given, and --out is not",
            where=None if several else zoo[0],
            expected=f"the folder to write, such as --out probes/{what}, or --config with a name",
            hint="one model at a time for a table without --out" if several else None,
        )
    out = output(shared.out, settings, f"probes/{what}")
    with when_interrupted("the same command goes on from here"):
        report = stage.probe_zoo(what, zoo, out, settings, options, figure=shared.figure, force=shared.force)
    show(json.dumps(words.summary(report)) if shared.as_json else words.text(report))
    if report.empty or (settings.strict and report.failed):
        raise typer.Exit(1)
