"""Data sets and their reports, made once for all tests of the report."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seldom import seldom

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

import report_cases as cases

from filterdb.config import RunConfig
from filterdb.run.drawing import report as stage
from filterdb.run.drawing.report import write


def _written(dataset: Path, results: Path) -> cases.Written:
    out = results.with_name(f"{results.name}.html")
    write(dataset, results, out, RunConfig())
    return cases.Written(dataset, results, out)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> cases.Written:
    return _written(*cases.hostile_dataset(tmp_path_factory.mktemp("hostile")))


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> cases.Written:
    return _written(*cases.large_dataset(tmp_path_factory.mktemp("large")))


@pytest.fixture(scope="session", params=["v1.0.0", seldom("v0.1.0")])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> cases.Written:
    with pytest.MonkeyPatch.context() as patch:
        # What is read of this page are its tables; to draw takes longest.
        patch.setattr(stage, "_drawings", lambda *_: {})
        return _written(*cases.published_dataset(tmp_path_factory.mktemp("published"), request.param))
