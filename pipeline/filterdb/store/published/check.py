"""What can be checked of a published file, which holds no hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError
from filterdb.store.published.file import PublishedFile
from filterdb.types import RowRange

_SHARE: Final = 1e-6


def check_published(file: PublishedFile, progress: Callable[[int, int], None] | None = None) -> Iterator[str]:
    """Yield what is wrong with a published file that could be opened.

    Parameters
    ----------
    file
        The file.
    progress
        Called with filters done and filters in all.
    """
    yield from _check_names(file.tables.meta)
    yield from _check_counts(file)
    yield from _check_filters(file, progress)


def _check_names(meta: pd.DataFrame) -> Iterator[str]:
    pairs = pd.DataFrame({"id": meta.index.get_level_values("model_id"), "model": meta["model"].to_numpy()})
    pairs = pairs.drop_duplicates()
    for one, other in (("id", "model"), ("model", "id")):
        groups = pairs.groupby(one, dropna=False)[other].agg(list)
        for key, values in groups[groups.map(len) > 1].items():
            yield f"{'model_id' if one == 'id' else 'model'} {key} has several: {values[:5]}"
    norms = meta.index.get_level_values("conv_depth_norm").to_numpy()
    outside = int(np.count_nonzero((norms < 0) | (norms > 1)))
    if outside:
        yield f"{outside:,} records have a conv_depth_norm that is not from 0 to 1"


def _check_counts(file: PublishedFile) -> Iterator[str]:
    """Compare what the table says of its models with its own rows."""
    meta, models = file.tables.meta, file.tables.models
    own = schema.kernel_column(str(file.kernel.shape))
    if own in meta.columns:
        stated = meta[own].groupby(level="model_id").first()
        counted = stated.loc[models.index]
        # A subset counts whole models, of which it may hold some layers.
        wrong = counted < models["n_filters"] if file.is_part else counted != models["n_filters"]
        for model in models.index[wrong]:
            yield (
                f"model {models.loc[model, 'name']}: {own} is {stated[model]:,}, "
                f"and its records hold {models.loc[model, 'n_filters']:,}"
            )
        share = stated / models["total_filters"]
        given = meta["3x3_filter_share"].groupby(level="model_id").first()
        for model in models.index[((share - given).abs() > _SHARE).loc[models.index]]:
            yield f"model {models.loc[model, 'name']}: 3x3_filter_share is {given[model]}, not {share[model]}"


def _check_filters(file: PublishedFile, progress: Callable[[int, int], None] | None) -> Iterator[str]:
    buffer = np.empty((schema.CHUNK_ROWS, file.kernel.size), np.float32)
    for start in range(0, file.n_filters, schema.CHUNK_ROWS):
        rows = RowRange(start, min(start + schema.CHUNK_ROWS, file.n_filters))
        try:
            block = file.read(rows, buffer)
        except CorruptDataError as error:
            yield f"filters {rows.published} cannot be read: {error.what}"
        else:
            odd = int(np.count_nonzero(~np.isfinite(block)))
            if odd:
                yield f"filters {rows.published}: {odd:,} values are NaN or infinite"
        if progress is not None:
            progress(rows.stop, file.n_filters)
