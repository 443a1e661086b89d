"""filterdb: the convolution filters of model zoos, as a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from filterdb.errors import FilterDBError

if TYPE_CHECKING:
    from filterdb.api import (
        Figures,
        FilterDB,
        Probes,
        Results,
        Shifts,
        measure_shift,
        open,  # noqa: A004 - as in tarfile.open
        open_probes,
        open_results,
    )
    from filterdb.measure import measure_quality
    from filterdb.run.model.standing import Standing, compare_model

__version__ = "0.1.0"

__all__ = [
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

_HOMES = {
    "measure_quality": "filterdb.measure",
    "Standing": "filterdb.run.model.standing",
    "compare_model": "filterdb.run.model.standing",
}


def __getattr__(name: str) -> Any:
    """Load what needs numpy when it is first asked for."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOMES.get(name, "filterdb.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what is there, loaded or not: notebooks complete from it."""
    return sorted({*globals(), *__all__})
