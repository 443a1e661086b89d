"""Files that a disk or a download has damaged: whatever is left, only a StoreError comes of it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from store_cases import small_case

KINDS = {"nothing", "problems", "CorruptDataError", "NotADatasetError", "UnsafeFileError"}
SCRIPT = Path(__file__).parent / "mutate_and_read.py"


def outcomes(good: Path, folder: Path, how: str, seeds: range) -> Counter[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(good), str(folder), how, str(seeds.start), str(seeds.stop)],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"the process died of {lines[-1:]}: {done.stderr[-500:]}"
    assert not [line for line in lines if "UNEXPECTED" in line]
    assert len(lines) == len(seeds)
    return Counter(line.split()[1] for line in lines)


@pytest.fixture(params=[None, "gzip"])
def good(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return small_case().write(tmp_path / "good.h5", compression=request.param)


def test_random_damage_gives_store_errors_and_never_a_crash(good: Path, tmp_path: Path) -> None:
    found = outcomes(good, tmp_path, "mutate", range(150))
    assert set(found) <= KINDS
    assert found["nothing"] < 100


def test_a_file_cut_at_any_length_gives_a_store_error(good: Path, tmp_path: Path) -> None:
    found = outcomes(good, tmp_path, "truncate", range(100))
    assert set(found) <= KINDS - {"nothing", "problems"}


@pytest.mark.soak
def test_much_more_random_damage_gives_no_crash_either(good: Path, tmp_path: Path) -> None:
    assert set(outcomes(good, tmp_path, "mutate", range(10_000, 30_000))) <= KINDS
