"""The notebooks run from top to bottom, and show what they print."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

import filterdb
from filterdb.config import RunConfig
from filterdb.run.analysis.analyze import analyze

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "store"), str(ROOT / "tests" / "api")]

from built_demo import build  # noqa: E402
from published_fixtures import published  # noqa: E402

import run_notebooks  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 50_000
"""Characters of one output, pictures left out."""

LARGEST_NOTEBOOK = 1_500_000


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where notebooks run: beside the configurations, and what is built once for all tests that want it."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "build").symlink_to(build(tmp_path_factory.getbasetemp()) / "build")
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def texts(document: Any) -> list[str]:
    """What the cells print and show, as text: a picture may differ with every version of what draws it."""
    # A cell at a time: on a slow machine what it prints comes in several pieces.
    return [
        "".join(
            output.get("text") or output.get("data", {}).get("text/plain", "")
            for output in cell.get("outputs", ())
        )
        for cell in document.cells
    ]


def test_there_are_notebooks() -> None:
    assert {"query_with_pandas", "reproduce_figures"} <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_shows(path: Path, folder: Path) -> None:
    committed = nbformat.read(path, as_version=4)
    assert texts(run_notebooks.run(path, folder)) == texts(committed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_has_run_in_order_and_none_has_failed(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small(path: Path) -> None:
    assert path.stat().st_size < LARGEST_NOTEBOOK
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", ()):
            shown = {kind: data for kind, data in output.get("data", {}).items() if kind != "image/png"}
            assert len(str({**output, "data": shown})) < LARGEST


def test_the_questions_need_nothing_but_filterdb_and_the_field_s_own_tools() -> None:
    document = nbformat.read(ROOT / "notebooks" / "query_with_pandas.ipynb", as_version=4)
    questions = [cell.source for cell in document.cells if cell.cell_type == "markdown"][1:]
    assert [text.split(".")[0] for text in questions] == [f"## {place}" for place in range(1, 11)]
    for cell in document.cells[2:]:
        assert "import" not in cell.source or cell.cell_type == "markdown"
        assert cell.cell_type == "markdown" or len(cell.source.splitlines()) <= 10


def figures_notebook() -> Any:
    return nbformat.read(ROOT / "notebooks" / "reproduce_figures.ipynb", as_version=4)


def test_every_figure_is_followed_by_what_the_paper_found_and_what_the_data_shows() -> None:
    """Sections of pictures, then of the paper's finding, then of a sentence that is computed."""
    kinds = ""
    for cell in figures_notebook().cells[2:]:
        if cell.cell_type == "markdown":
            kinds += "p" if cell.source.startswith("**The paper") else "h"
            continue
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        said = "".join(output.get("text", "") for output in cell.outputs)
        kinds += "f" * len(pictures) + "s" * said.startswith("This data")
        assert pictures or said.startswith("This data"), cell.source
        assert "<Drawing" not in said
    # Section 6 has the intervals behind its sentence; they go beyond the paper.
    assert re.fullmatch(r"(h{1,2}f+ps(hf)?)+", kinds), kinds
    assert kinds.count("f") >= 20


def test_the_figures_need_one_variable_and_the_public_interface_alone() -> None:
    code = [cell.source for cell in figures_notebook().cells if cell.cell_type == "code"]
    assert code[0].startswith("DATASET = None")
    imported = re.findall(r"^(?:import|from) (\S+)", "\n".join(code), re.MULTILINE)
    assert set(imported) == {"subprocess", "sys", "pathlib", "numpy", "filterdb"}
    assert not re.search(r"filterdb\.(?!open\b|Figures\b)\w+", "\n".join(code).replace('filterdb"', ""))


@pytest.mark.soak
def test_the_figures_of_a_published_file_take_one_variable(tmp_path: Path) -> None:
    path = published(120, models=24).v1(tmp_path / "dataset.h5")
    config = RunConfig.load(ROOT / "configs" / "published.yaml").with_analyze(permutations=19, draws=19)
    analyze(path, tmp_path / "results", config)
    document = figures_notebook()
    document.cells[1].source = document.cells[1].source.replace("None", repr(str(path)), 1)
    nbformat.write(document, tmp_path / "reproduce.ipynb")
    printed = texts(run_notebooks.run(tmp_path / "reproduce.ipynb", tmp_path))
    said = [text for text in printed if text.startswith("This data")]
    assert len(said) == sum(text.startswith("This data") for text in texts(figures_notebook()))
    assert "of 120 layers" in "".join(said)
    assert "orthogonality is not defined" in "".join(said)
    with filterdb.open(path) as db:
        assert f"explains {db.basis.explained[0]:.1%} of the variance" in said[0]
        assert f"mean D of 6 pairs {db.shifts['Task'].pairs['D'].mean():.3f}" in "".join(said)


def test_a_cell_that_fails_fails_the_run(tmp_path: Path) -> None:
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(document, tmp_path / "bad.ipynb")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run_notebooks.run(tmp_path / "bad.ipynb", tmp_path)
    assert "JUPYTER_PATH" not in run_notebooks.os.environ


def test_the_kernel_is_the_interpreter_that_runs_the_tests(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("import sys; print(sys.prefix)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "who.ipynb")
    assert texts(run_notebooks.run(tmp_path / "who.ipynb", tmp_path)) == [sys.prefix + "\n"]
