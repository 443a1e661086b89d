"""The stage that turns a zoo into a data set file.

Workers stage one shard a model; then one process lays the tables out and writes the file. What an
earlier run staged, and what an older data set file holds, is not parsed again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from filterdb import schema
from filterdb.config import RunConfig, resolve_metadata, resolve_zoo
from filterdb.errors import CorruptDataError, FilterDBError, StoreError, WorkerError
from filterdb.extract import shard, worker
from filterdb.extract.discover import discover
from filterdb.extract.metadata import Metadata, join_metadata
from filterdb.onnxgraph import EXTRACTOR_VERSION
from filterdb.run import files, provenance, workers
from filterdb.run.progress import progress
from filterdb.store import (
    DatasetFile,
    Tables,
    ZooEntry,
    build_tables,
    filters_sha256,
    read_records,
    write_dataset,
)
from filterdb.store.hashing import content_hash
from filterdb.types import Filters, Kernel, ModelRecord, ModelSource, RowRange

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
    """

    action: Action
    path: Path
    tables: Tables
    content_hash: str
    parsed: int
    reused: int
    metadata: Metadata

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
    sources = discover([resolve_zoo(entry) for entry in config.zoo])
    metadata = join_metadata(sources, resolve_metadata(config.metadata))
    with files.writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f"{out.name}.staging")
    with files.exclusive_folder(staging, purpose=str(out)), ExitStack() as stack:
        if force:
            files.discard_content(staging)
        old = None if force else _OldFile.open(out, config.extract.kernel, stack)
        outcomes = _run_workers(sources, staging, config, known=old.known if old else frozenset())
        run = _Run(config, out, staging, sources, metadata, outcomes, old)
        report = run.finish()
        files.discard(staging)
    return report


class _OldFile:
    """The data set file of an earlier run, as a source of models that need no parsing."""

    def __init__(self, file: DatasetFile) -> None:
        self.file = file
        self.records: dict[str, tuple[ModelRecord, tuple[int, ...]]] = {}
        for _, record, rows in read_records(file.tables):
            self.records.setdefault(record.sha256, (record, rows))
        failed = file.tables.models[file.tables.models["status"] == "failed"]
        self.failures = {
            sha256: str(reason)
            for sha256, reason in zip(failed["sha256"], failed["reason"], strict=True)
            if isinstance(sha256, str) and sha256
        }

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self.records) | frozenset(self.failures)

    @classmethod
    def open(cls, path: Path, kernel: Kernel, stack: ExitStack) -> _OldFile | None:
        """Open an older file if it can serve; one that is damaged or of another kind cannot."""
        try:
            file = stack.enter_context(DatasetFile(path))
            usable = file.kernel == kernel and file.attributes.get("extractor_version") == EXTRACTOR_VERSION
            return cls(file) if usable else None
        except (StoreError, FilterDBError):
            return None

    def filters(self, rows: Sequence[int], layers: Sequence[Any]) -> Iterator[Filters]:
        """Copy filters, trusting none that do not match their hash."""
        meta = self.file.tables.meta
        for row, layer in zip(rows, layers, strict=True):
            block = self.file.read(
                RowRange(int(meta["filter_start"].iloc[row]), int(meta["filter_end"].iloc[row]))
            )
            if filters_sha256(block) != layer.weights_sha256:
                raise CorruptDataError(
                    f"the filters of layer {layer.name} have changed since they were written",
                    where=self.file.path,
                    hint="extract again with --force",
                )
            yield block


def _run_workers(
    sources: Sequence[ModelSource], staging: Path, config: RunConfig, *, known: frozenset[str]
) -> dict[str, worker.Outcome]:
    """Stage every model that is not staged or known, and return the outcomes by name."""
    with files.writing(staging):
        files.remove_temporary(staging)
        worker.known_path(staging).write_text(json.dumps(sorted(known)))
    sizes = {source.name: _size(source) for source in sources}
    order = sorted(sources, key=lambda source: -sizes[source.name])
    names = {worker.Task(s.path.absolute(), staging.absolute(), config.extract.kernel): s.name for s in order}
    outcomes: dict[str, worker.Outcome] = {}
    with progress("extract", len(sources), "models") as bar:
        for done in _schedule(list(names), config):
            outcomes[names[done.item]] = done.result or _crashed(done)
            bar.advance()
    return outcomes


def _size(source: ModelSource) -> int:
    try:
        return source.path.stat().st_size
    except OSError:
        return 0


def _schedule(
    tasks: Sequence[worker.Task], config: RunConfig
) -> Iterator[workers.Done[worker.Task, worker.Outcome]]:
    if config.scheduler != "local":
        return workers.run_on_dask(worker.run, tasks, scheduler=config.scheduler)
    count = workers.worker_count(config.workers, len(tasks))
    limits = workers.Limits(config.extract.timeout, workers.memory_per_worker(config.extract.memory, count))
    return workers.run_supervised(worker.run, tasks, workers=count, limits=limits)


def _crashed(done: workers.Done[worker.Task, worker.Outcome]) -> worker.Outcome:
    error = done.error or WorkerError("the process that read it gave no result")
    return worker.Outcome("", _size_of(done.item.path), parsed=True, reason=error.reason, crashed=True)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class _Run:
    """The second half of a run: everything is staged, nothing is written yet."""

    config: RunConfig
    out: Path
    staging: Path
    sources: Sequence[ModelSource]
    metadata: Metadata
    outcomes: dict[str, worker.Outcome]
    old: _OldFile | None

    def finish(self) -> ExtractReport:
        """Write the file unless it is fresh, or there is nothing to write."""
        entries = [self._entry(i, source) for i, source in enumerate(self.sources)]
        tables = build_tables(entries, self.metadata.frame)
        inputs = self._inputs_hash(tables)
        if self._is_fresh(inputs):
            return self._report("fresh", tables, self.old.file.content_hash if self.old else "")
        if tables.n_filters == 0:
            return self._report("nothing", tables, "")
        digest = self._write(tables)
        self._write_sidecar(tables, digest, inputs)
        return self._report("extracted", tables, digest)

    def _entry(self, index: int, source: ModelSource) -> ZooEntry:
        outcome = self.outcomes[source.name]
        record, reason = None, outcome.reason
        if not outcome.reason:
            record, reason = self._record(outcome.sha256)
        return ZooEntry(
            source.name,
            source.relpath,
            record,
            reason,
            has_metadata=self.metadata.has_row[index],
            sha256=outcome.sha256,
            size=outcome.size,
            crashed=outcome.crashed,
        )

    def _record(self, sha256: str) -> tuple[ModelRecord | None, str]:
        if self.old and sha256 in self.old.records:
            return self.old.records[sha256][0], ""
        if self.old and sha256 in self.old.failures:
            return None, self.old.failures[sha256]
        record = shard.read_record(worker.shard_path(self.staging, sha256, self.config.extract.kernel))
        if record is not None:
            return record, ""
        failure = files.read_json(worker.failure_path(self.staging, sha256, self.config.extract.kernel))
        return None, str(failure.get("reason", "its staged file was lost; run again"))

    def _inputs_hash(self, tables: Tables) -> str:
        """Hash what the file would be made of, bounds included: a bound that was raised is worth a retry."""
        limits = {"timeout": self.config.extract.timeout, "memory": self.config.extract.memory}
        header = {
            "extractor": EXTRACTOR_VERSION,
            "format": schema.FORMAT_VERSION,
            "kernel": str(self.config.extract.kernel),
            "compression": self.config.extract.compression,
            "limits": limits,
        }
        return content_hash(header, tables.by_name())

    def _is_fresh(self, inputs: str) -> bool:
        if self.old is None:
            return False
        stated = files.read_json(provenance.sidecar(self.out))
        return (
            stated.get("inputs_hash") == inputs and stated.get("content_hash") == self.old.file.content_hash
        )

    def _write(self, tables: Tables) -> str:
        kernel, temporary = self.config.extract.kernel, self.staging / "dataset.h5"
        compression = self.config.extract.compression
        files.require_space(self.staging, tables.n_filters * kernel.size * 4)
        with files.writing(self.out):
            digest = write_dataset(
                temporary,
                tables,
                self._filters(tables),
                kernel=kernel,
                compression=None if compression == "none" else compression,
                attributes={"extractor_version": EXTRACTOR_VERSION},
            )
            files.sync_and_move(temporary, self.out)
        return digest

    def _filters(self, tables: Tables) -> Iterator[Filters]:
        kernel = self.config.extract.kernel
        buffer = np.empty((schema.CHUNK_ROWS, kernel.size), dtype=np.float32)
        counts = tables.models["n_filters"].tolist()
        with progress("write", tables.n_filters, "filters") as bar:
            for source, count in zip(self.sources, counts, strict=True):
                if not count:
                    continue
                sha256 = self.outcomes[source.name].sha256
                if self.old and sha256 in self.old.records:
                    record, rows = self.old.records[sha256]
                    blocks = self.old.filters(rows, record.layers)
                else:
                    blocks = shard.read_filters(
                        worker.shard_path(self.staging, sha256, kernel), count, buffer
                    )
                for block in blocks:
                    yield block
                    bar.advance(len(block))

    def _write_sidecar(self, tables: Tables, digest: str, inputs: str) -> None:
        report = {
            "metadata_without_model": list(self.metadata.without_model),
            "metadata_ambiguous": list(self.metadata.ambiguous),
            "models_without_metadata": [
                source.name
                for source, known in zip(self.sources, self.metadata.has_row, strict=True)
                if not known
            ],
            "statuses": dict(Counter(tables.models["status"])),
        }
        data = provenance.of_run(self.config) | {
            "content_hash": digest,
            "inputs_hash": inputs,
            "consistency": report,
        }
        files.write_json(provenance.sidecar(self.out), data)

    def _report(self, action: Action, tables: Tables, digest: str) -> ExtractReport:
        parsed = sum(outcome.parsed for outcome in self.outcomes.values())
        return ExtractReport(
            action, self.out, tables, digest, parsed, len(self.outcomes) - parsed, self.metadata
        )
