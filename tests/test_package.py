"""The face of the package: what it exports, what importing it costs, and that the wheel works alone."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import filterdb

ROOT = Path(__file__).parent.parent
HEAVY = {"dask", "distributed", "matplotlib", "numba", "onnx", "typer", "torch", "tables", "h5py", "pandas"}


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(filterdb.__all__) == [
        "Figures",
        "FilterDB",
        "FilterDBError",
        "Probes",
        "Results",
        "Shifts",
        "Standing",
        "__version__",
        "compare_model",
        "measure_quality",
        "measure_shift",
        "open",
        "open_probes",
        "open_results",
    ]
    assert all(hasattr(filterdb, name) for name in filterdb.__all__)
    assert set(filterdb.__all__) <= set(dir(filterdb))


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, json, filterdb; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(result.stdout)}
    assert loaded & HEAVY == set()


def test_every_module_says_what_it_is_for() -> None:
    for path in (ROOT / "pipeline" / "filterdb").rglob("*.py"):
        assert path.read_text("utf-8").startswith('"""'), path


def test_no_module_has_outgrown_its_room() -> None:
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in (ROOT / "pipeline").rglob("*.py")}
    assert {p: n for p, n in lengths.items() if n > 400} == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the build backend that this environment has."""
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_package_with_its_zoo_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"filterdb"}
    assert "filterdb/demo/models.csv" in names
    assert "filterdb/py.typed" in names
    assert sum(name.endswith(".onnx") for name in names) >= 36


def test_the_installed_wheel_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    # The dependencies are this environment's; the package itself must come from the wheel.
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(str(Path(pytest.__file__).parent.parent))
    work = tmp_path / "empty"
    work.mkdir()
    python = tmp_path / "venv" / "bin" / "python"
    program = "import filterdb; print(filterdb.__file__)"
    where = subprocess.run([python, "-c", program], cwd=work, capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(site))
    command = [python, "-m", "filterdb.cli", "extract", "package:demo", "--metadata", "package:demo"]
    result = subprocess.run(
        [*command, "--out", "d.h5"], cwd=work, capture_output=True, text=True, timeout=200
    )
    assert result.returncode == 0, result.stderr
    assert (work / "d.h5").stat().st_size > 3_000_000
