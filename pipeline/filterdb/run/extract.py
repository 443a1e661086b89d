"""The stage that turns a zoo into a data set file.

Workers stage one shard a model; then one process lays the tables out and writes the file. What an
earlier run staged, and what an older data set file holds, is not parsed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.config import RunConfig, resolve_metadata, resolve_zoo
from filterdb.errors import OutputError
from filterdb.extract import shard, worker
from filterdb.extract.discover import discover
from filterdb.extract.metadata import Metadata, join_metadata
from filterdb.onnxgraph import EXTRACTOR_VERSION
from filterdb.run import files, provenance, workers
from filterdb.run.previous import PreviousFile
from filterdb.run.progress import progress
from filterdb.run.staging import Staging
from filterdb.store import Tables, ZooEntry, build_tables, write_dataset
from filterdb.store.hashing import content_hash
from filterdb.types import Filters, ModelRecord, ModelSource

Action = Literal["extracted", "fresh", "nothing"]


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What a run did and found.

    Parameters
    ----------
    action
        ``"fresh"`` where the data set file was up to date already, ``"nothing"`` where no model holds a
        filter and none was written.
    path
        The data set file.
    tables
        What the file holds; for ``"nothing"``, what it would hold.
    content_hash
        The file's content hash.
    parsed, reused
        Models that were parsed, and models taken from an earlier run or file.
    metadata
        The join, for what did not match.
    notes
        What went another way than expected, such as an older file that was damaged.
    """

    action: Action
    path: Path
    tables: Tables
    content_hash: str
    parsed: int
    reused: int
    metadata: Metadata
    notes: tuple[str, ...] = ()

    @property
    def statuses(self) -> Counter[str]:
        """Number of models by status."""
        return Counter(self.tables.models["status"])


def extract(config: RunConfig, out: Path, *, force: bool = False) -> ExtractReport:
    """Extract a zoo into a data set file, doing only what is not done yet.

    Parameters
    ----------
    config
        Zoo, metadata and how to work.
    out
        The data set file. It is at every moment absent, the old file or the new one.
    force
        Parse every model again.
    """
    timings = provenance.Timings()
    with timings.phase("scan"):
        sources = discover([resolve_zoo(entry) for entry in config.zoo])
        metadata = join_metadata(sources, resolve_metadata(config.metadata))
    files.require_place(out)
    folder = out.with_name(f"{out.name}.staging")
    with files.exclusive_folder(folder, purpose=str(out)), ExitStack() as stack:
        if force:
            files.discard_content(folder)
        previous, note = (None, "") if force else PreviousFile.open(out, config.extract.kernel, stack)
        staging = Staging(folder, config)
        run = _Run(config, out, sources, metadata, staging, previous, timings, [note] if note else [])
        report = None
        try:
            report = run.finish()
        finally:
            # What is staged is what the next run goes on from; what is half-written only takes space.
            files.remove_temporary(folder)
            if report is not None or staging.is_empty():
                files.discard(folder)
    return report


@dataclass(slots=True)
class _Run:
    """One run that holds its staging folder."""

    config: RunConfig
    out: Path
    sources: Sequence[ModelSource]
    metadata: Metadata
    staging: Staging
    previous: PreviousFile | None
    timings: provenance.Timings
    notes: list[str]
    outcomes: dict[str, worker.Outcome] = field(default_factory=dict)
    restaged: set[str] = field(default_factory=set)

    def finish(self) -> ExtractReport:
        """Stage what is missing, and write the file unless it is fresh or there is nothing to write."""
        self.staging.prepare(self.previous.known if self.previous else ())
        with self.timings.phase("stage"):
            self.outcomes = self.staging.run(self.sources)
        inputs = self._inputs_hash()
        if self.previous and self._is_fresh(self.previous, inputs):
            return self._report("fresh", self.previous.tables, self.previous.content_hash)
        with self.timings.phase("stage"):
            self._try_crashed_again()
        with self.timings.phase("tables"):
            entries = [self._entry(place, source) for place, source in enumerate(self.sources)]
            tables = build_tables(entries, self.metadata.frame)
        if tables.n_filters == 0:
            return self._report("nothing", tables, "")
        with self.timings.phase("write"):
            digest = self._write(tables, [entry.record for entry in entries])
        self._write_sidecar(tables, digest, inputs)
        return self._report("extracted", tables, digest)

    def _inputs_hash(self) -> str:
        """Hash all that decides what the file holds, bounds included: a raised bound is worth a retry."""
        settings = self.config.extract
        header = {
            "extractor": EXTRACTOR_VERSION,
            "format": schema.FORMAT_VERSION,
            "kernel": str(settings.kernel),
            "compression": settings.compression,
            "limits": {"timeout": settings.timeout, "memory": settings.memory},
        }
        rows = [
            # What kept a file from being identified stands for its identity.
            (source.name, source.relpath, found.sha256 or found.reason, found.size, known)
            for source, known in zip(self.sources, self.metadata.has_row, strict=True)
            for found in (self.outcomes[source.name],)
        ]
        models = pd.DataFrame(rows, columns=["name", "path", "identity", "size", "has_metadata"])
        return content_hash(header, {"models": models, "metadata": self.metadata.frame})

    def _is_fresh(self, previous: PreviousFile, inputs: str) -> bool:
        stated = files.read_json(provenance.sidecar(self.out))
        return stated.get("inputs_hash") == inputs and stated.get("content_hash") == previous.content_hash

    def _try_crashed_again(self) -> None:
        """Give the models another chance whose process died in an earlier run, now that there is work."""
        previous = self.previous
        if previous is None:
            return
        again = [s for s in self.sources if previous.crashed(self.outcomes[s.name].sha256)]
        self.outcomes |= self.staging.run(again, known_counts=False)

    def _entry(self, place: int, source: ModelSource) -> ZooEntry:
        outcome = self.outcomes[source.name]
        record, reason = (None, outcome.reason) if outcome.reason else self._found(outcome.sha256)
        return ZooEntry(
            source.name,
            source.relpath,
            record,
            reason,
            has_metadata=self.metadata.has_row[place],
            sha256=outcome.sha256,
            size=outcome.size,
            crashed=outcome.crashed,
        )

    def _found(self, sha256: str) -> tuple[ModelRecord | None, str]:
        if self.previous and (record := self.previous.record(sha256)):
            return record, ""
        if self.previous and (reason := self.previous.failure(sha256)):
            return None, reason
        if record := shard.read_record(self._shard(sha256)):
            return record, ""
        if reason := worker.read_failure(
            worker.failure_path(self.staging.folder, sha256, self.config.extract.kernel)
        ):
            return None, reason
        raise OutputError(
            "a staged file was lost during the run", where=self._shard(sha256), hint="run again"
        )

    def _shard(self, sha256: str) -> Path:
        return worker.shard_path(self.staging.folder, sha256, self.config.extract.kernel)

    def _write(self, tables: Tables, records: Sequence[ModelRecord | None]) -> str:
        kernel, compression = self.config.extract.kernel, self.config.extract.compression
        temporary = self.staging.folder / "dataset.h5.tmp"
        try:
            if compression == "none":
                files.require_space(temporary, tables.n_filters * kernel.size * 4)
            with files.writing(self.out):
                digest = write_dataset(
                    temporary,
                    tables,
                    self._filters(tables.n_filters, records),
                    kernel=kernel,
                    compression=None if compression == "none" else compression,
                    attributes={"extractor_version": EXTRACTOR_VERSION},
                )
                files.sync_and_move(temporary, self.out)
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def _filters(self, total: int, records: Sequence[ModelRecord | None]) -> Iterator[Filters]:
        buffer = np.empty((schema.CHUNK_ROWS, self.config.extract.kernel.size), dtype=np.float32)
        with progress("write", total, "filters") as bar:
            for source, record in zip(self.sources, records, strict=True):
                if record is None or not record.layers:
                    continue
                for block in self._filters_of(source, record, buffer):
                    yield block
                    bar.advance(len(block))

    def _filters_of(self, source: ModelSource, record: ModelRecord, buffer: Filters) -> Iterator[Filters]:
        path = self._shard(record.sha256)
        if self.previous is None or self.previous.record(record.sha256) is None:
            yield from shard.read_filters(path, record.n_filters, buffer)
            return
        start = 0
        for place, layer in enumerate(record.layers):
            filters = self.previous.filters(record.sha256, place)
            if filters is None:
                self._stage_again(source, record)
                yield from shard.read_filters(path, layer.n_filters, buffer, start=start)
            else:
                yield filters
            start += layer.n_filters

    def _stage_again(self, source: ModelSource, record: ModelRecord) -> None:
        """Parse a model whose filters in the older file have changed since they were written."""
        if record.sha256 in self.restaged:
            return
        self.restaged.add(record.sha256)
        self.notes.append(f"{self.out} is damaged: the filters of {source.name} were extracted again")
        outcome = self.staging.run([source], known_counts=False, quiet=True)[source.name]
        staged = shard.read_record(self._shard(record.sha256))
        if outcome.reason or staged is None or staged.layers != record.layers:
            raise OutputError(
                f"the model {source.name} has changed during the run",
                where=source.path,
                hint="run the same command again",
            )
        self.outcomes[source.name] = replace(self.outcomes[source.name], parsed=True)

    def _write_sidecar(self, tables: Tables, digest: str, inputs: str) -> None:
        made = provenance.of_run(self.config) | {
            "workers": workers.worker_count(self.config.workers, len(self.sources)),
            "seconds": self.timings.seconds,
            "notes": self.notes,
        }
        data = {
            "content_hash": digest,
            "inputs_hash": inputs,
            "consistency": {
                "metadata_without_model": list(self.metadata.without_model),
                "metadata_ambiguous": list(self.metadata.ambiguous),
                "models_without_metadata": [
                    source.name
                    for source, known in zip(self.sources, self.metadata.has_row, strict=True)
                    if not known
                ],
                "statuses": dict(Counter(tables.models["status"])),
            },
            "provenance": made,
        }
        files.write_json(provenance.sidecar(self.out), data)

    def _report(self, action: Action, tables: Tables, digest: str) -> ExtractReport:
        parsed = sum(outcome.parsed for outcome in self.outcomes.values())
        reused = len(self.outcomes) - parsed
        return ExtractReport(
            action, self.out, tables, digest, parsed, reused, self.metadata, tuple(self.notes)
        )
