"""Lay out a data set from what is staged, and write it."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from filterdb import schema
from filterdb.config import RunConfig
from filterdb.errors import MetadataError, OutputError
from filterdb.extract import worker
from filterdb.extract.metadata import Metadata
from filterdb.extract.shard import Shard
from filterdb.onnxgraph import EXTRACTOR_VERSION
from filterdb.run import files, provenance
from filterdb.run.extraction.previous import PreviousFile
from filterdb.run.extraction.report import Action, ExtractReport
from filterdb.run.extraction.staging import Staging
from filterdb.run.progress import progress
from filterdb.run.scanning.buffers import thread_buffer
from filterdb.run.workforce import workers
from filterdb.store import Tables, Target, ZooEntry, build_tables, write_dataset
from filterdb.store.hashing import content_hash
from filterdb.types import Filters, ModelRecord, ModelSource


@dataclass(slots=True)
class Assembly:
    """What it takes to make a data set file of the outcomes of a run that holds its staging folder.

    Parameters
    ----------
    config, out
        What was asked for, and where the file goes.
    sources, metadata
        The models, and what is known of them.
    staging
        Where their shards are.
    previous
        The older file, if there is one.
    timings
        How long the phases of the run take.
    notes
        What went another way than expected.
    outcomes
        What became of each model.
    """

    config: RunConfig
    out: Path
    sources: Sequence[ModelSource]
    metadata: Metadata
    staging: Staging
    previous: PreviousFile | None
    timings: provenance.Timings
    notes: list[str]
    outcomes: dict[str, worker.Outcome]
    restaging: threading.Lock = field(default_factory=threading.Lock)
    shards: dict[str, Shard] = field(default_factory=dict)

    def finish(self) -> ExtractReport:
        """Write the file, unless it is fresh or there is nothing to write."""
        inputs = self._inputs_hash()
        if self.previous and self._is_fresh(self.previous, inputs):
            return self._report("fresh", self.previous.tables, self.previous.content_hash)
        with self.timings.phase("stage"):
            self._try_crashed_again()
        with self.timings.phase("tables"):
            entries = [self._entry(place, source) for place, source in enumerate(self.sources)]
            tables = self._tables(entries)
        if tables.n_filters == 0:
            return self._report("nothing", tables, "")
        with self.timings.phase("write"):
            digest = self._write(tables, [entry.record for entry in entries])
        self._write_sidecar(tables, digest, inputs)
        return self._report("extracted", tables, digest)

    def _tables(self, entries: Sequence[ZooEntry]) -> Tables:
        try:
            return build_tables(entries, self.metadata.frame)
        except MetadataError as error:
            error.where = self.config.metadata
            raise

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
        if staged := Shard.open(self._shard(sha256)):
            self.shards[sha256] = staged
            return staged.record, ""
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
                    lambda target: self._fill(target, records),
                    kernel=kernel,
                    compression=None if compression == "none" else compression,
                    attributes={"extractor_version": EXTRACTOR_VERSION},
                )
                files.sync_and_move(temporary, self.out)
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def _fill(self, target: Target, records: Sequence[ModelRecord | None]) -> None:
        """Give the filters of all models to the file, several models at a time where it can take that."""
        counts = [record.n_filters if record else 0 for record in records]
        starts = list(itertools.accumulate(counts, initial=0))
        threads = workers.worker_count(self.config.workers, len(records)) if target.parallel else 1
        with (
            progress("write", target.rows, "filters") as bar,
            ThreadPoolExecutor(min(threads, workers.cpu_count())) as pool,
        ):
            jobs = [
                pool.submit(self._fill_model, target, start, source, record)
                for start, source, record in zip(starts, self.sources, records, strict=False)
                if record is not None
            ]
            try:
                for job in jobs:
                    bar.advance(job.result())
            finally:
                pool.shutdown(cancel_futures=True)

    def _fill_model(self, target: Target, start: int, source: ModelSource, record: ModelRecord) -> int:
        """Give one model's filters to the file, and return how many there were."""
        row = start
        for block in self._filters_of(source, record, thread_buffer(target.height, target.width)):
            target.write(row, block)
            row += len(block)
        return row - start

    def _filters_of(self, source: ModelSource, record: ModelRecord, buffer: Filters) -> Iterator[Filters]:
        if self.previous is None or self.previous.record(record.sha256) is None:
            yield from self._staged(source, record, buffer)
            return
        for place in range(len(record.layers)):
            filters = self.previous.filters(record.sha256, place)
            if filters is None:
                self._stage_again(source, record)
                yield from self._staged(source, record, buffer, range(place, place + 1))
            else:
                yield filters

    def _staged(
        self, source: ModelSource, record: ModelRecord, buffer: Filters, layers: range | None = None
    ) -> Iterator[Filters]:
        """Read what was staged, some of it from the model itself if that has not changed meanwhile."""
        try:
            yield from self.shards[record.sha256].filters(source.path, buffer, layers)
        except FileNotFoundError:
            raise _changed(source) from None
        if not self.outcomes[source.name].still_holds(source.path):
            raise _changed(source)

    def _stage_again(self, source: ModelSource, record: ModelRecord) -> None:
        """Parse a model whose filters in the older file have changed since they were written."""
        with self.restaging:
            if record.sha256 in self.shards:
                return
            self.notes.append(f"{self.out} is damaged: the filters of {source.name} were extracted again")
            outcome = self.staging.run([source], known_counts=False, quiet=True)[source.name]
            staged = Shard.open(self._shard(record.sha256))
            if outcome.reason or staged is None or staged.record.layers != record.layers:
                raise _changed(source)
            self.outcomes[source.name] = replace(outcome, parsed=True)
            self.shards[record.sha256] = staged

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
        reused = sum(outcome.reused for outcome in self.outcomes.values())
        return ExtractReport(
            action, self.out, tables, digest, parsed, reused, self.metadata, tuple(self.notes)
        )


def _changed(source: ModelSource) -> OutputError:
    return OutputError(
        f"the model {source.name} has changed during the run",
        where=source.path,
        hint="run the same command again",
    )
