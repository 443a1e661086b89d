"""What a probe found in a zoo, as programs and people read it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import pandas as pd

from filterdb.errors import printable
from filterdb.probe.results import plain
from filterdb.run.probing.zoo import ZooReport

_MOST: Final = 60
_ENDS: Final = 15
_NAME: Final = 48
_REASON: Final = 160
_TITLES: Final = {
    "saturation": {"layers": "layers", "saturation": "saturation", "tail": "tail"},
    "sparsity": {"layers": "layers", "alpha": "alpha", "alpha_last": "last layer"},
    "cka": {"layers": "layers", "cka": "all pairs", "neighbours": "neighbours", "best": "most alike"},
}
"""Columns of the table of models, and what they are called, for each probe."""


def summary(report: ZooReport) -> dict[str, Any]:
    """Return the outcome as plain data."""
    found = report.found
    return {
        "action": report.action,
        "out": str(report.out),
        "probe": found.what,
        "probed": report.probed,
        "reused": report.reused,
        "same": report.same,
        "settings": found.manifest["settings"],
        "models": [plain(row) for row in found.models.to_dict("records")],
    }


def text(report: ZooReport) -> str:
    """Return the outcome as a person reads it."""
    found = report.found
    good = found.models[found.models["status"] == "ok"]
    count = f"{len(good):,} model{'' if len(good) == 1 else 's'}"
    lines = [f"{found.what} of {count}: {printable(str(report.out))}"]
    if report.action == "nothing":
        lines = [f"{found.what}: no model could be probed, and nothing was written"]
    if report.action == "fresh":
        lines[0] += " is fresh, nothing has changed"
    elif report.reused or report.same:
        known = f", {report.reused:,} known from an earlier run" if report.reused else ""
        same = f", {report.same:,} the same as another" if report.same else ""
        lines.append(f"  {report.probed:,} probed{known}{same}")
    lines += _table(good, _TITLES[found.what])
    failed = found.models[found.models["status"] != "ok"]
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in failed.to_dict("records"):
        reasons[str(row["reason"])].append(str(row["model"]))
    lines += [f"  failed: {_some(names)}: {_cut(printable(why), _REASON)}" for why, names in reasons.items()]
    return "\n".join(lines)


def _table(models: pd.DataFrame, titles: dict[str, str]) -> list[str]:
    """Return a line a model, of very many those with the lowest and the highest value."""
    if models.empty:
        return []
    first = next(name for name in titles if name != "layers")
    shown, gap = models, -1
    if len(models) > _MOST:
        order = models.sort_values(first, kind="stable", na_position="last")
        shown, gap = pd.concat([order.head(_ENDS), order.tail(_ENDS)]), _ENDS
    rows = [
        [_cut(printable(str(row["model"])), _NAME), *(_number(row[name]) for name in titles)]
        for row in shown.to_dict("records")
    ]
    heads = ["model", *titles.values()]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in (heads, *rows)
    ]
    if gap >= 0:
        lines.insert(gap + 1, f"  … {len(models) - 2 * _ENDS:,} models between, in models.parquet")
    return lines


def _number(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def _some(names: list[str]) -> str:
    shown = ", ".join(_cut(printable(name), _NAME) for name in names[:3])
    return shown if len(names) <= 3 else f"{len(names):,} models, such as {shown}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
