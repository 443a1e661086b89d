from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def filterdb(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "filterdb.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_extract_analyze_info_and_verify_work_from_the_shell(small_zoo: Path, tmp_path: Path) -> None:
    metadata = small_zoo / "models.csv"
    made = filterdb("extract", small_zoo, "--metadata", metadata, "--out", "d.h5", "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["filters"] == 456
    analyzed = filterdb("analyze", "d.h5", "--out", "results", "--by", "Task", cwd=tmp_path)
    assert analyzed.returncode == 0, analyzed.stderr
    assert "Classification - Segmentation" in analyzed.stdout
    assert "456" in filterdb("info", "d.h5", cwd=tmp_path).stdout
    assert "every hash and invariant holds" in filterdb("verify", "d.h5", cwd=tmp_path).stdout


def test_wrong_usage_is_exit_code_2_and_names_the_place(tmp_path: Path) -> None:
    result = filterdb("extract", "nowhere", "--out", "d.h5", cwd=tmp_path)
    assert result.returncode == 2
    assert "nowhere" in result.stderr


def test_nothing_usable_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    result = filterdb("extract", ".", "--out", "d.h5", cwd=tmp_path)
    assert result.returncode == 1
    assert not (tmp_path / "d.h5").exists()
