"""The README and the pages of docs/: everything they show is run, everything they name is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from filterdb.config import RunConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
sys.path.insert(0, str(ROOT / "tools"))

import write_docs  # noqa: E402


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # The environment that runs the tests is the one that make would make.
    command = ["make", "--old-file", f"{sys.prefix}/bin/filterdb", f"VENV={sys.prefix}", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `make extract analyze` has run."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("Makefile", "configs", "constraints.txt", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    result = make("extract", "analyze", cwd=folder)
    assert result.returncode == 0, result.stderr + result.stdout
    return folder


def test_the_two_commands_of_the_readme_build_the_demo(built: Path) -> None:
    assert "make extract analyze" in (ROOT / "README.md").read_text("utf-8")
    assert (built / "build" / "demo" / "dataset.h5").exists()
    assert (built / "build" / "demo" / "results" / "layers.parquet").exists()


def test_a_second_make_extract_says_that_nothing_has_changed(built: Path) -> None:
    before = (built / "build" / "demo" / "dataset.h5").stat()
    result = make("extract", cwd=built)
    assert "fresh" in result.stdout
    after = (built / "build" / "demo" / "dataset.h5").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_make_test_is_a_target_and_runs_pytest() -> None:
    assert "pytest" in make("--dry-run", "test").stdout


def test_the_sessions_of_the_readme_print_what_it_shows(built: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert write_docs.readme(text, built) == text


SHELL = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("filterdb ")
]
ANALYZED = 1 + max(place for place, line in enumerate(SHELL) if line.startswith("filterdb analyze"))
"""How many of the commands, from the first one, make what the others use."""


def shell(command: str, folder: Path) -> None:
    run = [sys.executable, "-m", "filterdb.cli", *command.split()[1:]]
    result = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, f"{command}: {result.stderr}"


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some models of the demo, in which the first commands of the README have run."""
    demo, folder = ROOT / "pipeline" / "filterdb" / "demo", tmp_path_factory.mktemp("shell")
    (folder / "models").mkdir()
    for model in sorted((demo / "zoo").glob("*.onnx"))[::7]:
        shutil.copy(model, folder / "models")
    shutil.copy(demo / "zoo" / "cls-shapes-resnet-fit.onnx", folder / "models" / "mine.onnx")
    shutil.copy(demo / "models.csv", folder / "models.csv")
    for command in SHELL[:ANALYZED]:
        shell(command, folder)
    return folder


def test_the_shell_commands_of_the_readme_extract_before_they_analyze(analyzed: Path) -> None:
    assert SHELL[0].startswith("filterdb extract ")
    assert (analyzed / "dataset.h5").exists()
    assert (analyzed / "results" / "manifest.json").exists()


@pytest.mark.parametrize("command", SHELL[ANALYZED:])
def test_the_shell_commands_of_the_readme_run(command: str, analyzed: Path) -> None:
    shell(command, analyzed)


def test_the_command_line_reference_is_what_the_commands_say() -> None:
    assert write_docs.REFERENCE.read_text("utf-8") == write_docs.cli_reference()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_a_page_names_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = re.findall(r"^make ((?:[a-z-]+ ?)+)", page.read_text("utf-8"), re.MULTILINE)
    assert {name for line in named for name in line.split()} - targets == set()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    assert RunConfig.load(path).name == path.stem
