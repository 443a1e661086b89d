"""filterdb: the convolution filters of model zoos, as a database."""

from __future__ import annotations

from filterdb.api import FilterDB, open  # noqa: A004 - as in tarfile.open
from filterdb.errors import FilterDBError

__version__ = "0.1.0"

__all__ = ["FilterDB", "FilterDBError", "__version__", "open"]
