"""The data set file of an earlier run, as a source of models that need no parsing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from filterdb.errors import FilterDBError, NotADatasetError, UsageError
from filterdb.onnxgraph import EXTRACTOR_VERSION
from filterdb.store import DatasetFile, Tables, filters_sha256, read_records
from filterdb.store.hashing import content_hash
from filterdb.store.writer import content_header
from filterdb.types import ConvLayer, Filters, Kernel, ModelRecord, RowRange


class PreviousFile:
    """An open data set file whose tables were found to be those that it was written with.

    Parameters
    ----------
    file
        The file.
    """

    def __init__(self, file: DatasetFile) -> None:
        self._file = file
        self._records: dict[str, tuple[ModelRecord, tuple[int, ...]]] = {}
        for _, record, rows in read_records(file.tables):
            self._records.setdefault(record.sha256, (record, rows))
        self._failures = self._reasons("failed")
        self._crashes = self._reasons("crashed")

    @classmethod
    def open(cls, path: Path, kernel: Kernel, stack: ExitStack) -> tuple[PreviousFile | None, str]:
        """Open an older file, or say why it cannot serve.

        Parameters
        ----------
        path
            Where it would be.
        kernel
            The kernel size that is wanted.
        stack
            Closes the file.

        Returns
        -------
        file, note
            At least one of them is empty; both are where there is no file.

        Raises
        ------
        UsageError
            If the file is somebody else's, or holds other filters: it is not ours to replace.
        """
        if not path.exists():
            return None, ""
        try:
            file = stack.enter_context(DatasetFile(path))
            if file.kernel != kernel:
                raise UsageError(
                    f"the file holds {file.kernel} filters, and {kernel} are to be extracted",
                    where=path,
                    hint="name another --out, or replace it with --force",
                )
            if file.attributes.get("extractor_version") != EXTRACTOR_VERSION:
                return None, f"{path} was written by another version of the extractor: every model is parsed"
            header = content_header(file.tables, kernel, {"extractor_version": EXTRACTOR_VERSION})
            if content_hash(header, file.tables.by_name()) != file.content_hash:
                return (
                    None,
                    f"the tables of {path} have changed since they were written: every model is parsed",
                )
            return cls(file), ""
        except NotADatasetError as error:
            raise _foreign(path, error) from error
        except UsageError:
            raise
        except FilterDBError as error:
            return None, f"{path} is damaged ({error.reason}): every model is parsed"

    @property
    def tables(self) -> Tables:
        """Its tables."""
        return self._file.tables

    @property
    def content_hash(self) -> str:
        """Its content hash."""
        return self._file.content_hash

    @property
    def known(self) -> frozenset[str]:
        """Identities of all models that it says something about."""
        return frozenset(self._records) | frozenset(self._failures) | frozenset(self._crashes)

    def crashed(self, sha256: str) -> bool:
        """Tell whether a model's process died, so that it is worth another try when others are parsed."""
        return sha256 in self._crashes and sha256 not in self._records

    def failure(self, sha256: str) -> str:
        """Return why a model cannot be read; empty where it can, or is not known."""
        return self._failures.get(sha256, "")

    def record(self, sha256: str) -> ModelRecord | None:
        """Return what a model holds, if that is known."""
        return self._records[sha256][0] if sha256 in self._records else None

    def filters(self, sha256: str, layer: int) -> Filters | None:
        """Return a layer's filters, or nothing where they are no longer what was written.

        Parameters
        ----------
        sha256
            A model that has a record.
        layer
            The layer's place in that record.
        """
        record, rows = self._records[sha256]
        meta = self._file.tables.meta
        start, end = (int(meta[name].iloc[rows[layer]]) for name in ("filter_start", "filter_end"))
        try:
            filters = self._file.read(RowRange(start, end))
        except FilterDBError:
            return None
        return filters if is_intact(filters, record.layers[layer]) else None

    def _reasons(self, status: str) -> dict[str, str]:
        models = self._file.tables.models
        rows = models[models["status"] == status]
        return {
            sha256: str(reason)
            for sha256, reason in zip(rows["sha256"], rows["reason"], strict=True)
            if isinstance(sha256, str) and sha256
        }


def require_replaceable(path: Path) -> None:
    """Refuse to replace a file that is no data set: it may be the only copy of something.

    Parameters
    ----------
    path
        What is going to be replaced, if it is there.
    """
    if path.exists():
        try:
            DatasetFile(path).close()
        except NotADatasetError as error:
            raise _foreign(path, error) from error
        except FilterDBError:
            # A damaged one is replaced: that is what a run is for.
            return


def _foreign(path: Path, error: NotADatasetError) -> UsageError:
    return UsageError(
        f"the file is there already, and is no data set ({error.what})",
        where=path,
        expected="a new name, or a data set file that filterdb has written",
        hint="name another --out, or remove the file",
    )


def is_intact(filters: Filters, layer: ConvLayer) -> bool:
    """Tell whether filters are those that a layer's record speaks of."""
    return filters_sha256(filters) == layer.weights_sha256
