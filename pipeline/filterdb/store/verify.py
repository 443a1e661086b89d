"""Check every value and every invariant of a data set file against what the file says of itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from filterdb.errors import CorruptDataError
from filterdb.store.hashing import content_hash, filters_sha256
from filterdb.store.reader import DatasetFile
from filterdb.store.writer import content_header
from filterdb.types import RowRange


def verify(path: Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Re-hash a data set file and return what is wrong with it, empty where nothing is.

    Parameters
    ----------
    path
        The file.
    progress
        Called with filters done and filters in all.

    Raises
    ------
    StoreError
        If the file cannot be read at all, or breaks an invariant of the format.
    """
    with DatasetFile(path) as file:
        tables, problems = file.tables, []
        stated = file.attributes
        for name, value in content_header(tables, file.kernel).items():
            if stated.get(name) != value:
                problems.append(
                    f"the root attribute {name} is {stated.get(name)!r}, the content says {value!r}"
                )
        header = content_header(tables, file.kernel)
        if content_hash(header, tables.by_name()) != file.content_hash:
            problems.append("the tables are not those that the content hash was made of: a cell has changed")
        return problems + _check_filters(file, progress)


def _check_filters(file: DatasetFile, progress: Callable[[int, int], None] | None) -> list[str]:
    meta = file.tables.meta
    columns = ("filter_start", "filter_end", "weights_sha256", "model", "layer_name", "nonfinite")
    problems = []
    for start, end, sha256, model, layer, nonfinite in zip(*(meta[name] for name in columns), strict=True):
        try:
            filters = file.read(RowRange(start, end))
        except CorruptDataError as error:
            problems.append(f"{model}, layer {layer}: {error.what}")
            continue
        if filters_sha256(filters) != sha256:
            problems.append(f"{model}, layer {layer}: the filters (rows {start}:{end}) have changed")
        elif int(np.count_nonzero(~np.isfinite(filters))) != nonfinite:
            problems.append(f"{model}, layer {layer}: another count of NaN and Inf than stated")
        if progress is not None:
            progress(end, file.n_filters)
    return problems
