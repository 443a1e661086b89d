"""Run the benchmarks, print their tables and write docs/benchmarks.md.

Run as `make bench`, or `make bench PARTS=Probes` for one part, which leaves the others on the page as
they are. Every figure is measured here and now; ratios between contenders of one run hold where single
times do not.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import analysis, axes, extraction, probes  # noqa: E402

INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. Each part is one run and says when it was measured: contenders take
turns, whole processes are timed from outside, and memory is the largest sum of private memory over a
process and its children. Times differ between machines and days, ratios hardly do.
"""

PARTS = {
    "Extraction": extraction.run,
    "Analysis": analysis.run,
    "Axes": axes.run,
    "Probes": probes.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; else all")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    os.chdir(ROOT)
    page = ROOT / "docs" / "benchmarks.md"
    sections = sections_of(page.read_text("utf-8")) if page.exists() else {}
    for title in options.parts or PARTS:
        about = machine()
        sections[title] = f"{about}\n\n{PARTS[title](options.work, rounds=options.rounds)}"
        print(f"## {title}\n\n{sections[title]}\n")
        page.write_text(page_of(sections), "utf-8")


def machine() -> str:
    """Return when and on what a part is measured, and how busy that was before."""
    return (
        f"Measured {dt.datetime.now(dt.UTC).date()}: {os.cpu_count()} processors, {platform.machine()}, "
        f"Python {platform.python_version()}; the load beforehand was {os.getloadavg()[0]:.1f}."
    )


def sections_of(page: str) -> dict[str, str]:
    """Return the parts of a page by their titles."""
    _, *parts = re.split(r"^## ", page, flags=re.MULTILINE)
    return {title.strip(): text.strip() for title, _, text in (part.partition("\n") for part in parts)}


def page_of(sections: dict[str, str]) -> str:
    """Return the page of the parts, in their order."""
    known: Iterable[str] = (title for title in PARTS if title in sections)
    return INTRODUCTION + "".join(f"\n## {title}\n\n{sections[title]}\n" for title in known)


if __name__ == "__main__":
    main()
