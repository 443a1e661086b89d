"""filterdb: the convolution filters of model zoos, as a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from filterdb.errors import FilterDBError

if TYPE_CHECKING:
    from filterdb.api import FilterDB, open  # noqa: A004 - as in tarfile.open
    from filterdb.measure import measure_quality

__version__ = "0.1.0"

__all__ = ["FilterDB", "FilterDBError", "__version__", "measure_quality", "open"]


def __getattr__(name: str) -> Any:
    """Load what needs numpy when it is first asked for."""
    if name in __all__:
        from filterdb import api, measure

        return getattr(measure if name == "measure_quality" else api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
