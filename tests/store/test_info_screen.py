"""What `filterdb info` says of a file, held against the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from store_cases import Case, layer, metadata_of, record, small_case, weights

from filterdb.run.messages import info_summary, info_text
from filterdb.store import DatasetFile, ZooEntry, build_tables
from filterdb.types import SkippedLayer


def screen(case: Case, folder: Path) -> str:
    with DatasetFile(case.write(folder / "dataset.h5")) as file:
        return info_text(file)


def crowded_case() -> Case:
    """A zoo with more of everything than a screen has lines."""
    entries, blocks = [], []
    for i in range(60):
        filters = weights(2, 3, seed=i)
        skipped = [SkippedLayer("x", "Conv", "1x1", f"reason {j} of {i} {'long ' * 60}") for j in range(3)]
        made = record(f"m{i}", [layer("l", filters, 2)], producer=f"maker {i}\n", skipped=skipped)
        entries.append(ZooEntry(f"m{i:02}", f"m{i:02}.onnx", made))
        blocks.append(filters)
    broken = [ZooEntry(f"n{i:02}", f"n{i:02}.onnx", None, f"because\nof {i} {'y' * 300}") for i in range(50)]
    entries += broken
    groups = [f"group {i} {'z' * 100}" for i in range(110)]
    metadata = metadata_of(entries, **{"Task": groups, "Visual Category": groups})
    return Case(build_tables(entries, metadata), np.concatenate(blocks))


def test_the_screen_says_what_the_file_holds(tmp_path: Path) -> None:
    text = screen(small_case(), tmp_path)
    lines = text.splitlines()
    assert "dataset.h5" in lines[0]
    assert "45 of 3x3, in 5 layers" in text
    assert "5: 3 ok, 1 failed, 1 no_filters" in text
    assert "convolutions 0 to 2, models 9 to 9" in text
    assert "2 layers repeat an earlier one's weights; 2 values are NaN or infinite" in text
    assert "beta.onnx: the file is no model" in text
    assert "without metadata, 2 models: beta, copy" in text
    assert "2  another kernel size" in text
    task = next(i for i, line in enumerate(lines) if line.startswith("Task"))
    assert [line.split() for line in lines[task : task + 4]] == [
        ["Task", "filters", "layers", "models"],
        ["(missing)", "20", "2", "1"],
        ["Classification", "20", "2", "1"],
        ["Größe", "5", "1", "1"],
    ]
    assert len({len(line) for line in lines[task : task + 4]}) == 1


@pytest.mark.parametrize("case", [small_case(), crowded_case()], ids=["small", "crowded"])
def test_the_screen_is_one_screen(case: Case, tmp_path: Path) -> None:
    lines = screen(case, tmp_path).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert all(line.isprintable() for line in lines)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    text = screen(crowded_case(), tmp_path)
    assert "... and 55 more" in text
    assert "... and 57 more" in text
    assert "... and 176 more" in text
    assert "... and 47 more" in text
    assert "without metadata, 110 models" in text


def test_the_summary_is_json_and_adds_up(tmp_path: Path) -> None:
    case = small_case()
    with DatasetFile(case.write(tmp_path / "a.h5")) as file:
        summary = json.loads(json.dumps(info_summary(file)))
    assert summary["models_by_status"] == {"ok": 3, "failed": 1, "no_filters": 1}
    assert sum(group["filters"] for group in summary["groups"]["Task"].values()) == summary["n_filters"]
    assert summary["skipped_layers"] == sum(summary["skipped_by_reason"].values()) == 2
    assert summary["failed_models"] == {"beta.onnx": "the file is no model"}
    assert summary["models_without_metadata"] == ["beta", "copy"]
    assert summary["meta_columns"] == list(case.tables.meta.columns)
