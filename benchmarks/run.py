"""Run the benchmarks, print their tables and write docs/benchmarks.md.

Run as `make bench`. Every figure is measured here and now; ratios between contenders of one run hold
where single times do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import analysis, axes, extraction  # noqa: E402

INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. Each table is one run: contenders take turns, whole processes are
timed from outside, and memory is the largest sum of private memory over a process and its children.
Times differ between machines and days, ratios hardly do.

"""


PARTS = {"Extraction": extraction.run, "Analysis": analysis.run, "Axes": axes.run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.chdir(ROOT)
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}.\n"
    page = INTRODUCTION + machine
    for title, part in PARTS.items():
        page += f"\n## {title}\n\n{part(options.work, rounds=options.rounds)}\n"
    print(page)
    (ROOT / "docs" / "benchmarks.md").write_text(page, "utf-8")


if __name__ == "__main__":
    main()
