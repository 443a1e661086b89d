"""The commands of docs/cluster.md are run as they stand there, but for the port."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from filterdb.config import SCHEDULERS, RunConfig, demo_folder

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "cluster.md").read_text("utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def words(command: str, port: int) -> list[str]:
    """Return a command of the page, run by this environment and on a port that is free."""
    program, *arguments = command.replace("8786", str(port)).split()
    return [str(Path(sys.prefix) / "bin" / program), *arguments]


@pytest.fixture(scope="module")
def cluster(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("page")
    processes = []
    with (folder / "log").open("w") as log:
        for command in [line for line in COMMANDS if line.startswith("dask ")]:
            line = words(command, port)
            processes.append(subprocess.Popen(line, cwd=folder, stdout=log, stderr=log))
    assert len(processes) == 2
    end = time.monotonic() + 100
    while (folder / "log").read_text().count("Starting established connection to") < 2:
        assert time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.2)
    yield
    # The worker first: without its scheduler it takes seconds to say goodbye.
    for process in reversed(processes):
        process.terminate()
        process.wait(60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for model in sorted((demo_folder() / "zoo").glob("*.onnx"))[::5]:
        shutil.copy(model, tmp_path / "models")
    shutil.copy(demo_folder() / "models.csv", tmp_path / "models.csv")
    return tmp_path


@pytest.mark.usefixtures("cluster")
def test_the_commands_of_the_page_extract_and_analyze_on_a_cluster(port: int, folder: Path) -> None:
    stages = [line for line in COMMANDS if line.startswith("filterdb ")]
    assert [line.split()[1] for line in stages] == ["extract", "analyze"]
    for command in stages:
        done = subprocess.run(words(command, port), cwd=folder, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
    assert (folder / "results" / "layers.parquet").exists()
    local = [sys.executable, "-m", "filterdb", "analyze", "dataset.h5", "--out", "local", "--by", "Task"]
    subprocess.run(local, cwd=folder, check=True, capture_output=True, timeout=250)
    for name in ("cube.npy", "layers.parquet", "basis.json", "shift/Task.csv"):
        assert (folder / "local" / name).read_bytes() == (folder / "results" / name).read_bytes(), name


@pytest.mark.usefixtures("cluster")
@pytest.mark.soak
def test_the_shipped_configuration_runs_and_says_where_the_dashboard_is(port: int, folder: Path) -> None:
    text = (ROOT / "configs" / "cluster.yaml").read_text("utf-8").replace("8786", str(port))
    (folder / "mine.yaml").write_text(text)
    for stage in ("extract", "analyze"):
        line = [sys.executable, "-m", "filterdb", stage, "--config", "mine.yaml"]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"dashboard: http://127\.0\.0\.1:\d+/status", done.stderr.splitlines()[0])
    assert (folder / "build" / "cluster" / "results" / "manifest.json").exists()


@pytest.mark.soak
def test_a_performance_report_is_a_page_and_the_dashboard_answers(folder: Path) -> None:
    extract = ["extract", "models", "--out", "d.h5"]
    subprocess.run([sys.executable, "-m", "filterdb", *extract], cwd=folder, check=True, timeout=250)
    options = ["--scheduler", "cluster", "--dashboard", "--performance-report", "made/r.html"]
    line = [sys.executable, "-m", "filterdb", "analyze", "d.h5", "--out", "r", "--by", "depth_decile"]
    done = subprocess.run([*line, *options], cwd=folder, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("dashboard: http://127.0.0.1:")
    report = (folder / "made" / "r.html").read_text("utf-8")
    assert "<html" in report
    assert "run_there" in report
    assert [path.name for path in (folder / "made").iterdir()] == ["r.html"]
    again = subprocess.run([*line, *options], cwd=folder, capture_output=True, text=True, timeout=250)
    assert again.stderr == "filterdb: no filter was read, so there is no performance report\n"


def test_the_page_names_every_scheduler() -> None:
    for name in SCHEDULERS:
        assert f"`{name}`" in PAGE


def test_the_shipped_configuration_is_one_for_a_cluster() -> None:
    config = RunConfig.load(ROOT / "configs" / "cluster.yaml")
    assert config.scheduler == "tcp://127.0.0.1:8786"
    assert config.dashboard
    assert os.fspath(config.zoo[0]) == "models/"
