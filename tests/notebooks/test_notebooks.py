"""The notebooks run from top to bottom, and show what they print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import run_notebooks  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 50_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where notebooks run: beside the configurations, with nothing built yet."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
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
    assert "query_with_pandas" in {path.stem for path in NOTEBOOKS}


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
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", ()):
            assert len(str(output)) < LARGEST


def test_the_questions_need_nothing_but_filterdb_and_the_field_s_own_tools() -> None:
    document = nbformat.read(ROOT / "notebooks" / "query_with_pandas.ipynb", as_version=4)
    questions = [cell.source for cell in document.cells if cell.cell_type == "markdown"][1:]
    assert [text.split(".")[0] for text in questions] == [f"## {place}" for place in range(1, 11)]
    for cell in document.cells[2:]:
        assert "import" not in cell.source or cell.cell_type == "markdown"
        assert cell.cell_type == "markdown" or len(cell.source.splitlines()) <= 10


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
