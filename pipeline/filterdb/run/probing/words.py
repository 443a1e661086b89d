"""What a probe found in one model, or in two, as a person reads it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from filterdb.errors import printable
from filterdb.probe import CKAResult, SaturationResult, SparsityResult
from filterdb.run.probing.single import ProbeReport
from filterdb.types import SkippedLayer

_NAME: Final = 56


def text(report: ProbeReport) -> str:
    """Return a result as a person reads it: a table, the reasons behind its gaps, and what was left out."""
    result = report.result
    if isinstance(result, CKAResult):
        lines = _cka_lines(result)
        gaps = [pair for side in (result.a, result.b) for pair in zip(side.layers, side.reasons, strict=True)]
    else:
        lines = _saturation_lines(result) if isinstance(result, SaturationResult) else _score_lines(result)
        gaps = [(layer.layer, layer.reason) for layer in result.layers]
    lines += _reasons(gaps, result.skipped)
    written = {"table": report.out, "layers not looked at": report.skipped, "figure": report.figure}
    lines += [f"  the {what}: {path}" for what, path in written.items() if path]
    return "\n".join(lines)


def _cka_lines(result: CKAResult) -> list[str]:
    a, b = result.a, result.b
    datas = [f"{side.data}{_images(side.images, result.settings)}" for side in (a, b)]
    data = " and ".join(dict.fromkeys(datas))
    with_itself = result.with_itself
    other = "itself" if with_itself else f"{printable(b.model)} ({_counted(len(b.layers), 'layer')})"
    lines = [
        f"CKA of {printable(a.model)} ({_counted(len(a.layers), 'layer')}) with {other}",
        f"  on {result.rows:,} rows of {printable(data)}, in {_in_batches(result)}",
    ]
    if result.dropped:
        left_out = _counted(result.dropped, "row")
        lines.append(f"  left out: {left_out} of a short last batch; --batch changes how many")
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
        f"  on {_counted(result.rows, 'row')} of {_data(result)}"
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
    # A layer with a reason has no covariance of as many rows as went through it: that is said of it already.
    few = [one.layer for one in result.layers if not one.reason and one.observations <= one.features]
    if few:
        lines.append(f"  fewer rows than features, so that less than all could be used: {_some(few)}")
    return lines


def _score_lines(result: SparsityResult) -> list[str]:
    scoring = result.scoring
    drawn = f", mean of {scoring.forests:,} forests" if scoring.forests > 1 else ""
    drawn += f", {scoring.shuffles:,} with shuffled labels" if scoring.shuffles else ""
    lines = [
        f"sparsity score of {printable(result.model)}",
        f"  on {_counted(result.rows, 'row')} of {_data(result)} in {result.classes} classes"
        f" (rule {scoring.rule}{drawn})",
    ]
    columns = {
        "alpha": "alpha",
        **({"sd": "alpha_sd"} if scoring.forests > 1 else {}),
        **({"shuffled": "alpha_shuffled"} if scoring.shuffles else {}),
        **({"its sd": "alpha_shuffled_sd"} if scoring.shuffles > 1 else {}),
        **({"ARI": "ari", "AMI": "ami", "FMI": "fmi"} if scoring.clusters else {}),
    }
    rows = [
        (layer.layer, layer.op_type, *(_number(getattr(layer, name)) for name in columns.values()))
        for layer in result.layers
    ]
    return [*lines, *_table(("layer", "operator", *columns), rows)]


def _data(result: SaturationResult | SparsityResult) -> str:
    """Say what went through the model, and what became of it if that was images."""
    return f"{printable(result.data)}{_images(result.images, result.settings)}"


def _images(images: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> str:
    """Say what became of images; of the digits only where somebody has asked for something."""
    asked = any(settings.get(name) is not None for name in ("size", "normalize", "resize"))
    if images is None or (images["kind"] == "digits" and not asked):
        return ""
    return f" [{images['resize']} to {images['size']}, normalize {images['normalize']}]"


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


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def _in_batches(result: CKAResult) -> str:
    return "one batch" if result.batches == 1 else f"{result.batches:,} batches of {result.batch}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _cut(text: str) -> str:
    """Cut the beginning of a name that is too long: names of layers begin alike."""
    return text if len(text) <= _NAME else f"…{text[-_NAME + 1 :]}"
