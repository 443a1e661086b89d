"""Fixtures that the tests of the Python interface share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from built_demo import ROOT, build

import filterdb

# Data sets in the published layouts, which the tests of the store make.
sys.path.append(str(ROOT / "tests" / "store"))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `build/demo`."""
    return build(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def demo(built: Path) -> Path:
    """The data set file of the demo zoo, with its results beside it."""
    return built / "build" / "demo" / "dataset.h5"


@pytest.fixture
def db(demo: Path) -> Iterator[filterdb.FilterDB]:
    with filterdb.open(demo) as opened:
        yield opened
