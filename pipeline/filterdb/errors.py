"""Everything filterdb raises on purpose.

::

    FilterDBError
    ├── UsageError            the command, call or configuration is wrong (exit code 2)
    │   ├── ConfigError       a configuration file
    │   ├── MetadataError     the table that describes the models of a zoo
    │   ├── ColumnError       a column that does not exist, or cannot be used so
    │   └── MissingPackageError  an optional package is not installed
    ├── ModelError            one model cannot be used; the zoo's other models are not affected
    │   ├── NotAModelError    the file holds something else than an ONNX model
    │   ├── UnsafeModelError  the file asks for what no honest model asks for
    │   ├── ExternalDataError weights kept beside the model are missing or too short
    │   └── WorkerError       the process that read the model died, hung or ran out of memory
    ├── WeightError           one convolution's weight cannot be had; the model's others can
    ├── StoreError            a data set file
    │   ├── NotADatasetError  the file is no filterdb data set, or of another format version
    │   ├── UnsafeFileError   the file refers to other files, or carries code
    │   └── CorruptDataError  the content contradicts itself or its checksums
    └── OutputError           the place to write to: not writable, full, or in use

A message says what was found, where, what was expected, and what to do next. What may be meant so, and is
more likely a mistake, is an :class:`UnseenValueWarning`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FilterDBError(Exception):
    """Root of all errors that filterdb raises on purpose.

    Parameters
    ----------
    what
        What was found, as one sentence without a full stop.
    where
        The file, layer or key it was found in.
    expected
        What should have been there.
    hint
        What the reader can do next.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: object = None, expected: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        lines = [printable(" ".join(self.what.split("\n")))]
        if self.where:
            lines.append(f"  in: {printable(self.where)}")
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.hint:
            lines.append(f"  try: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default protocol, and errors cross process borders.
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.hint))

    @property
    def reason(self) -> str:
        """The error on one line, as tables and reports keep it."""
        parts = [self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        return "; ".join(parts)


def _rebuild(
    kind: type[FilterDBError], what: str, where: str | None, expected: str | None, hint: str | None
) -> FilterDBError:
    return kind(what, where=where, expected=expected, hint=hint)


class UsageError(FilterDBError):
    """The command, call or configuration is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file has a key or value that cannot be used."""


class MetadataError(UsageError):
    """The table that describes the models of a zoo cannot be used."""


class ColumnError(UsageError):
    """A column does not exist, or cannot be used in this way."""


class MissingPackageError(UsageError):
    """An optional package is not installed."""


class ModelError(FilterDBError):
    """One model cannot be used; the other models of the zoo are not affected."""


class NotAModelError(ModelError):
    """The file holds something else than an ONNX model."""


class UnsafeModelError(ModelError):
    """The file asks for what no honest model asks for."""


class ExternalDataError(ModelError):
    """Weights that are kept beside the model are missing, too short or out of bounds."""


class WorkerError(ModelError):
    """The process that read the model died, hung or ran out of memory."""


class WeightError(FilterDBError):
    """One convolution's weight cannot be had; the model's other layers can."""


class StoreError(FilterDBError):
    """A data set file cannot be used."""


class NotADatasetError(StoreError):
    """The file is no filterdb data set, or one of an unknown format version."""


class UnsafeFileError(StoreError):
    """The data set file refers to other files, or carries code."""


class CorruptDataError(StoreError):
    """The content of a data set file contradicts itself or its checksums."""


class OutputError(FilterDBError):
    """The place to write to is not writable, full, or in use by another run."""


class UnseenValueWarning(UserWarning):
    """An expression compares a column with a text that no record has there."""


def printable(text: str) -> str:
    """Return text in which a terminal finds nothing to obey: control characters are escaped.

    Parameters
    ----------
    text
        Text that a file or its author may have chosen.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to a misspelt one, if any is close.

    Parameters
    ----------
    name
        The name that was given.
    known
        The names that exist.
    """
    table = {entry.casefold(): entry for entry in known}
    matches = difflib.get_close_matches(name.casefold(), table, n=1, cutoff=0.6)
    return table[matches[0]] if matches else None
