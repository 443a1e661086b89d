"""The stage that turns a zoo into a data set file.

Workers stage one shard a model; then one process lays the tables out and writes the file. What an
earlier run staged, and what an older data set file holds, is not parsed again.

Pandas and HDF5 take longer to load than a small zoo to stage, so they are loaded while the workers work.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filterdb.config import RunConfig, resolve_metadata, resolve_zoo
from filterdb.extract.discover import discover
from filterdb.run import files, provenance
from filterdb.run.extraction.crew import Crew
from filterdb.run.extraction.report import ExtractReport
from filterdb.run.extraction.staging import STAGED, Staging
from filterdb.types import ModelSource

if TYPE_CHECKING:
    from filterdb.extract.metadata import Metadata
    from filterdb.run.extraction.previous import PreviousFile


def extract(config: RunConfig, out: Path, *, force: bool = False, spare: Crew | None = None) -> ExtractReport:
    """Extract a zoo into a data set file, doing only what is not done yet.

    Parameters
    ----------
    config
        Zoo, metadata and how to work.
    out
        The data set file. It is at every moment absent, the old file or the new one.
    force
        Parse every model again.
    spare
        Workers that :func:`filterdb.run.extraction.crew.crew` has started.
    """
    timings = provenance.Timings()
    with timings.phase("scan"):
        sources = discover([resolve_zoo(entry) for entry in config.zoo])
    files.require_place(out)
    folder = out.with_name(f"{out.name}.staging")
    with files.exclusive_folder(folder, purpose=str(out)), ExitStack() as stack:
        files.refuse_foreign(folder, STAGED)
        previous, notes = _previous(out, config, stack, force=force)
        if force:
            files.discard_content(folder)
        staging = Staging(folder, config, [] if spare is None else spare)
        report = None
        try:
            report = _finish(_Begun(config, out, sources, staging, previous, timings, notes))
        finally:
            # What is staged is what the next run goes on from; what is half-written only takes space.
            files.remove_temporary(folder)
            if report is not None or staging.is_empty():
                files.discard(folder)
    return report


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run that holds its staging folder."""

    config: RunConfig
    out: Path
    sources: Sequence[ModelSource]
    staging: Staging
    previous: PreviousFile | None
    timings: provenance.Timings
    notes: list[str]


def _previous(
    out: Path, config: RunConfig, stack: ExitStack, *, force: bool
) -> tuple[PreviousFile | None, list[str]]:
    if not out.exists():
        return None, []
    from filterdb.run.extraction.previous import PreviousFile, require_replaceable

    if force:
        require_replaceable(out)
        return None, []
    previous, note = PreviousFile.open(out, config.extract.kernel, stack)
    return previous, [note] if note else []


def _finish(run: _Begun) -> ExtractReport:
    run.staging.prepare(run.previous.known if run.previous else ())
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(_join, run.sources, resolve_metadata(run.config.metadata))
        with run.timings.phase("stage"):
            outcomes = run.staging.run(run.sources, meanwhile=joined)
        metadata = joined.result()
    from filterdb.run.extraction.assembly import Assembly

    return Assembly(
        run.config,
        run.out,
        run.sources,
        metadata,
        run.staging,
        run.previous,
        run.timings,
        run.notes,
        outcomes,
    ).finish()


def _join(sources: Sequence[ModelSource], table: Path | None) -> Metadata:
    """Load what the workers do not need, and what is known of the models."""
    import filterdb.run.extraction.assembly  # noqa: F401
    from filterdb.extract.metadata import join_metadata

    return join_metadata(sources, table)
