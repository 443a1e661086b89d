"""Checks of the finished zoo against what it promises."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime

from .export import BROKEN

FORBIDDEN = (b"/work", b"/tmp", b"/root", b"/home", b"site-packages")
MAX_BYTES, FILTERS = 6_900_000, (100_000, 140_000)
Row = dict[str, str]


def filters_of(path: Path) -> int:
    """Number of 3x3 filters in the convolutions of a file, wherever their weights are kept.

    Parameters
    ----------
    path : Path
        An ONNX file.

    Returns
    -------
    int
        Sum of output times input channels over the 3x3 convolutions.
    """
    graph = onnx.load(path).graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
        elif node.op_type == "DequantizeLinear" and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]
    weights = [shapes[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    return sum(w[0] * w[1] for w in weights if w[2:] == (3, 3))


def habits_of(folder: Path) -> Counter[str]:
    """How many files use each operator set, and how many keep batch normalisation."""
    seen: Counter[str] = Counter()
    for path in sorted(folder.glob("*.onnx")):
        if path.name != BROKEN:
            proto = onnx.load(path, load_external_data=False)
            seen[f"opset {proto.opset_import[0].version}"] += 1
            kinds = {node.op_type for node in proto.graph.node}
            seen["BatchNormalization kept"] += "BatchNormalization" in kinds
    return seen


def check_rows(rows: list[Row], stems: set[str]) -> dict[str, object]:
    """Check the table: one row per file, and enough models of each kind.

    Parameters
    ----------
    rows : list of dict
        Rows of the table.
    stems : set of str
        Names of the readable files.

    Returns
    -------
    dict
        Counts of tasks, categories and families.
    """
    names = [row["Name"] for row in rows]
    assert set(names) == stems and len(names) == len(stems)
    trained = [row for row in rows if row["Trained"] == "yes"]
    twins = [row for row in rows if row["Trained"] == "no"]
    tasks, kinds = Counter(r["Task"] for r in trained), Counter(r["Visual Category"] for r in trained)
    families = Counter(row["Family"] for row in rows)
    assert len(rows) >= 44 and len(trained) >= 36 and len(twins) >= 6
    assert len(tasks) == 7 and min(tasks.values()) >= 5
    assert len(kinds) >= 6 and min(kinds.values()) >= 5
    assert len(families) == 6 and min(families.values()) >= 4
    assert all(row["Twin"] in stems and not row["Training-Dataset"] for row in twins)
    return {
        "models": len(rows),
        "trained": len(trained),
        "tasks": dict(tasks),
        "categories": dict(kinds),
        "families": dict(families),
        "widths": dict(Counter(row["Width"] for row in rows)),
    }


def check_files(files: list[Path]) -> dict[str, object]:
    """Check the files: size, number of filters, no traces of the machine, and that they load.

    Parameters
    ----------
    files : list of Path
        All files of the folder.

    Returns
    -------
    dict
        Totals, and the filters of each model.
    """
    for path in files:
        content = path.read_bytes()
        assert not any(word in content for word in FORBIDDEN), path.name
    readable = [path for path in files if path.suffix == ".onnx" and path.name != BROKEN]
    for path in readable:
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    filters = {path.stem: filters_of(path) for path in readable}
    size, total = sum(path.stat().st_size for path in files), sum(filters.values())
    assert size <= MAX_BYTES, size
    assert FILTERS[0] <= total <= FILTERS[1], total
    assert sum(count == 0 for count in filters.values()) == 1
    return {"files": len(files), "bytes": size, "filters": total, "per model": filters}


def is_broken(path: Path) -> bool:
    """Whether a file cannot be read as ONNX."""
    try:
        onnx.load(path)
    except Exception:
        return True
    return False


def check(folder: Path, table: Path) -> dict[str, object]:
    """Check a zoo folder and its table.

    Parameters
    ----------
    folder : Path
        The ONNX files.
    table : Path
        The CSV file.

    Returns
    -------
    dict
        Totals and counts.

    Raises
    ------
    AssertionError
        When a promise is not kept.
    """
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stems = {path.stem for path in files if path.suffix == ".onnx" and path.name != BROKEN}
    assert is_broken(folder / BROKEN), "the broken file can be read"
    return {**check_rows(rows, stems), **check_files(files), "habits": dict(habits_of(folder))}
