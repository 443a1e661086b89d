"""The stage that probes models: run, write the table and the figure, and put both into words."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from filterdb.errors import UsageError, printable
from filterdb.probe import CKAResult, SaturationResult, SparsityResult, cka, saturation, sparsity
from filterdb.run import files
from filterdb.run.progress import progress
from filterdb.types import SkippedLayer

if TYPE_CHECKING:
    from filterdb.figures import Drawing

TABLES: Final = (".csv", ".parquet", ".json")
FIGURES: Final = (".png", ".svg")
_NAME: Final = 56

Result = CKAResult | SaturationResult | SparsityResult


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found.

    Parameters
    ----------
    result
        The result.
    table
        It as a tidy table.
    out, figure
        Where the table and the figure were written, if anywhere.
    """

    result: Result
    table: pd.DataFrame
    out: Path | None
    figure: Path | None

    @property
    def empty(self) -> bool:
        """Whether no layer has a value."""
        name = _VALUES[type(self.result).__name__]
        return bool(self.table[name].isna().all())


_VALUES: Final = {"CKAResult": "cka", "SaturationResult": "saturation", "SparsityResult": "alpha"}
_PROBES: Final[Mapping[str, Callable[..., Result]]] = {
    "cka": cka,
    "saturation": saturation,
    "sparsity": sparsity,
}


def probe(
    what: str, *models: Path, out: Path | None = None, figure: Path | None = None, **options: Any
) -> ProbeReport:
    """Probe a model, or two.

    Parameters
    ----------
    what
        ``cka``, ``saturation`` or ``sparsity``.
    *models
        The model files.
    out
        A table to write: ``.csv``, ``.parquet`` or ``.json``.
    figure
        A figure to write: ``.png`` or ``.svg``.
    **options
        Passed on to the probe.

    Raises
    ------
    UsageError
        If an option or the data cannot be used.
    ModelError
        If a model cannot be used.
    OutputError
        If a file cannot be written.
    """
    _check(out, "table", TABLES)
    _check(figure, "figure", FIGURES)
    result = _PROBES[what](*models, progress=progress, **options)
    report = ProbeReport(result, result.to_frame(), out, figure)
    if out is not None:
        with files.appearing(out) as temporary:
            temporary.write_bytes(_content(report, out))
    if figure is not None:
        kind = "png" if figure.suffix == ".png" else "svg"
        with files.appearing(figure) as temporary:
            temporary.write_bytes(draw(result).render(kind))  # type: ignore[arg-type]
    return report


def draw(result: Result) -> Drawing:
    """Return the figure of a result, with the numbers behind it and a caption."""
    from filterdb.figures import probes

    table = result.to_frame()
    if isinstance(result, CKAResult):
        return probes.cka_heatmap(table, models=(Path(result.a.model).stem, Path(result.b.model).stem))
    name = Path(result.model).stem
    if isinstance(result, SaturationResult):
        return probes.saturation_bars(table, model=name, delta=result.delta)
    return probes.sparsity_scores(table, model=name)


def _check(path: Path | None, what: str, endings: Sequence[str]) -> None:
    if path is None:
        return
    if path.suffix not in endings:
        raise UsageError(
            f"the {what} cannot be written as {path.suffix or 'a file without an ending'}",
            where=path,
            expected=f"a name that ends with {' or '.join(endings)}",
        )
    files.require_place(path)


def _content(report: ProbeReport, out: Path) -> bytes:
    if out.suffix == ".json":
        return json.dumps(summary(report), indent=2).encode("utf-8")
    if out.suffix == ".csv":
        return report.table.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")
    return bytes(report.table.to_parquet(None, index=False))


def summary(report: ProbeReport) -> dict[str, Any]:
    """Return everything as plain data; what is not defined is null, since JSON knows no NaN."""
    result = report.result
    rows = report.table.to_dict("records")
    table = [{str(name): _plain(value) for name, value in row.items()} for row in rows]
    if isinstance(result, CKAResult):
        sides = {
            name: {
                "model": side.model,
                "data": side.data,
                "layers": list(side.layers),
                "skipped": _skipped(side.skipped),
            }
            for name, side in (("a", result.a), ("b", result.b))
        }
        known = ("rows", "batch", "batches", "dropped", "seed")
        return {**sides, **{name: getattr(result, name) for name in known}, "pairs": table}
    known = ("model", "data", "rows", "pooling", "rule")
    more = ("delta",) if isinstance(result, SaturationResult) else ("classes", "trees")
    facts = {name: getattr(result, name) for name in (*known, *more)}
    return {**facts, "layers": table, "skipped": _skipped(result.skipped)}


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _skipped(layers: Iterable[SkippedLayer]) -> list[dict[str, str]]:
    return [{"layer": layer.name, "op_type": layer.op_type, "reason": layer.reason} for layer in layers]


def text(report: ProbeReport) -> str:
    """Return a result as a person reads it: a table, the reasons behind its gaps, and what was left out."""
    result = report.result
    if isinstance(result, CKAResult):
        lines = _cka_lines(result)
        skipped = dict.fromkeys((*result.a.skipped, *result.b.skipped))
        gaps = [pair for side in (result.a, result.b) for pair in zip(side.layers, side.reasons, strict=True)]
    else:
        lines = _saturation_lines(result) if isinstance(result, SaturationResult) else _score_lines(result)
        skipped = dict.fromkeys(result.skipped)
        gaps = [(layer.layer, layer.reason) for layer in result.layers]
    lines += _reasons(gaps, skipped)
    lines += [
        f"  the {what}: {path}" for what, path in (("table", report.out), ("figure", report.figure)) if path
    ]
    return "\n".join(lines)


def _cka_lines(result: CKAResult) -> list[str]:
    a, b = result.a, result.b
    data = a.data if a.data == b.data else f"{a.data} and {b.data}"
    with_itself = (a.model, a.data, a.layers) == (b.model, b.data, b.layers)
    other = "itself" if with_itself else f"{printable(b.model)} ({len(b.layers)} layers)"
    lines = [
        f"CKA of {printable(a.model)} ({len(a.layers)} layers) with {other}",
        f"  on {result.rows:,} rows of {printable(data)}, in {result.batches:,} batches of {result.batch}",
    ]
    if result.dropped:
        lines.append(f"  left out: {result.dropped} rows of a short last batch; --batch changes how many")
    rows = []
    for i, name in enumerate(a.layers):
        known = {
            j: value
            for j, value in enumerate(result.values[i].tolist())
            if not math.isnan(value) and not (with_itself and i == j)
        }
        best = max(known, key=lambda j: known.get(j, 0.0), default=-1)
        rows.append((name, a.ops[i], _number(known.get(best, math.nan)), b.layers[best] if known else ""))
    return [*lines, *_table(("layer", "operator", "CKA", "most like"), rows)]


def _saturation_lines(result: SaturationResult) -> list[str]:
    lines = [
        f"saturation of {printable(result.model)}",
        f"  on {result.rows:,} rows of {printable(result.data)}"
        f" (delta {result.delta:g}, {result.pooling}, rule {result.rule})",
    ]
    rows = [
        (
            layer.layer,
            layer.op_type,
            _number(layer.saturation),
            f"{layer.dimension:,} of {layer.features:,}",
            f"{layer.trace:.4g}",
            "tail" if layer.tail else "",
        )
        for layer in result.layers
    ]
    lines += _table(("layer", "operator", "saturation", "directions", "trace", ""), rows)
    few = [layer.layer for layer in result.layers if layer.observations <= layer.features]
    if few:
        lines.append(f"  fewer rows than features, so that less than all could be used: {_some(few)}")
    return lines


def _score_lines(result: SparsityResult) -> list[str]:
    lines = [
        f"sparsity score of {printable(result.model)}",
        f"  on {result.rows:,} rows of {printable(result.data)} in {result.classes} classes"
        f" (rule {result.rule})",
    ]
    rows = [
        (layer.layer, layer.op_type, *map(_number, (layer.alpha, layer.ari, layer.ami, layer.fmi)))
        for layer in result.layers
    ]
    return [*lines, *_table(("layer", "operator", "alpha", "ARI", "AMI", "FMI"), rows)]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells below titles; words lean to the left, numbers to the right."""
    cells = [[_cut(printable(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    left = {0, 1, *([len(titles) - 1] if titles[-1] in ("", "most like") else [])}
    lines = []
    for row in (titles, *cells):
        parts = [
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"  {'  '.join(parts)}".rstrip())
    return lines


def _reasons(gaps: Iterable[tuple[str, str]], skipped: Iterable[SkippedLayer]) -> list[str]:
    """Say why values are missing: each reason once, with the layers that have it."""
    named: dict[str, list[str]] = defaultdict(list)
    for layer, reason in dict.fromkeys(gaps):
        if reason:
            named[reason].append(layer)
    lines = [f"  not defined: {_some(names)}: {printable(reason)}" for reason, names in named.items()]
    left_out: dict[str, list[str]] = defaultdict(list)
    for other in skipped:
        left_out[other.reason].append(other.name)
    return lines + [f"  not looked at: {_some(names)}: {printable(why)}" for why, names in left_out.items()]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(_cut(printable(name)) for name in names[:3])
    return shown if len(names) <= 3 else f"{len(names)} layers, such as {shown}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _cut(text: str) -> str:
    """Cut the beginning of a name that is too long: names of layers begin alike."""
    return text if len(text) <= _NAME else f"…{text[-_NAME + 1 :]}"
