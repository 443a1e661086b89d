"""The pages that are looked at, and the browser that shows them: both once for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "store"), str(TESTS / "report")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder: it needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def tab() -> Iterator[object]:
    import chromium

    program = chromium.find()
    if program is None:
        pytest.fail("no Chromium: apt-get install chromium, or name one: CHROMIUM=/path/to/it")
    with chromium.running(program) as tab:
        yield tab


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports of the shipped zoo, of a hostile one, and of one as large as the published data set."""
    import report_cases as cases

    from filterdb.config import RunConfig
    from filterdb.run.drawing.report import write

    found = {}
    makers = {"demo": cases.demo_dataset, "hostile": cases.hostile_dataset, "large": cases.large_dataset}
    for name, make in makers.items():
        dataset, results = make(tmp_path_factory.mktemp(name))
        found[name] = results.with_name("report.html")
        write(dataset, results, found[name], RunConfig())
    return found
