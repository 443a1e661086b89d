"""Fixtures that the tests of all rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from filterdb.testing import conv_net, write_model
from watchdog import Watchdog

# On a busy machine any example may take a while: how long says nothing of what is tested.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

ROOT = Path(__file__).parent.parent


def pytest_sessionstart(session: pytest.Session) -> None:
    # With xdist, tests run in its workers; the process that hands them out may wait for long.
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        session.config.pluginmanager.register(Watchdog(session.config))


@pytest.fixture(scope="session")
def real_zoo() -> Path:
    """The folder of real ONNX files, where this machine has it."""
    folder = Path(os.environ.get("FILTERDB_REAL_ZOO", ROOT.parent / "shared" / "zoo"))
    if not (folder / "index.csv").exists():
        pytest.skip("the folder of real ONNX files is not on this machine")
    return folder


@pytest.fixture
def small_zoo(tmp_path: Path) -> Path:
    """Three models of two layers each, with a metadata table that fits all but one row."""
    zoo = tmp_path / "zoo"
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        write_model(zoo / f"{name}.onnx", conv_net([(8, 3, 3, 3), (16, 8, 3, 3), (4, 16, 1, 1)], seed=seed))
    (zoo / "models.csv").write_text(
        "Name,Task,Visual Category,Stars\n"
        "alpha,Classification,natural,5\n"
        "beta,Segmentation,natural,4\n"
        "gamma,Classification,fractals,3\n"
        "delta,Classification,fractals,2\n"
    )
    return zoo
