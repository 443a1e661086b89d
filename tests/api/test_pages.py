"""The tour and the reference of the Python interface: they run, and they are complete."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from built_demo import ROOT

import filterdb
import filterdb.probe

sys.path.insert(0, str(ROOT / "tools"))

import write_api
import write_docs

TOUR = ROOT / "docs" / "tour.md"


def test_every_example_of_the_tour_prints_what_it_shows(built: Path) -> None:
    text = TOUR.read_text("utf-8")
    assert write_docs.readme(text, built) == text


def test_the_reference_is_what_the_docstrings_say_and_their_examples_print(built: Path) -> None:
    page = write_api.page(built)
    assert write_api.PAGE.read_text("utf-8") == page
    sessions = [re.findall(r"```pycon\n(.*?)```", text, re.DOTALL) for text in (write_api.reference(), page)]
    for stated, printed in zip(*sessions, strict=True):
        # A docstring may leave out what is printed, but not be wrong about it.
        if any(not line.startswith((">>>", "...")) for line in stated.splitlines()):
            assert stated == printed


def test_the_reference_names_all_that_is_public() -> None:
    text = write_api.PAGE.read_text("utf-8")
    for name in filterdb.__all__:
        assert f"## filterdb.{name.replace('__', chr(92) + '_' + chr(92) + '_')}\n" in text
    for kind in (filterdb.FilterDB, filterdb.Results):
        for name in vars(kind):
            assert name.startswith("_") or f"### {kind.__name__}.{name}\n" in text
    for name in filterdb.probe.__all__:
        assert f"### probe.{name}\n" in text
    assert "#### CKAResult.matrix\n" in text
    assert "CorruptDataError" in text


def test_every_public_name_and_parameter_is_described() -> None:
    text = write_api.PAGE.read_text("utf-8")
    for section in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        prose = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
        assert len(prose.strip()) > 5, heading
        for block in re.findall(r"```python\n(.*?)```", body, re.DOTALL):
            for name in re.findall(r"[(\s](\w+): ", block):
                assert re.search(rf"^- `[^`]*\b{name}\b", prose, re.MULTILINE), f"{heading}: {name}"


def test_the_published_notebook_takes_twenty_lines() -> None:
    section = TOUR.read_text("utf-8").partition("## The published notebook in twenty lines")[2]
    session = re.findall(r"```pycon\n(.*?)```", section, re.DOTALL)[0]
    code = [line[4:] for line in session.splitlines() if line.startswith((">>> ", "... "))]
    assert len([line for line in code if not line.startswith(("import ", "from "))]) <= 20
    assert "1e-6\nTrue" in section
