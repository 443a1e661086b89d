"""Measure a data set in the coordinates that an analysis asks for; what older results hold is not done again.

The statistics of a record depend on its filters alone. So a basis, a range or bins that are new cost a scan
or two of the filters, but never the statistics again; and what is asked of groups of records costs none.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb.config import AnalyzeConfig, RunConfig
from filterdb.errors import CorruptDataError, UsageError
from filterdb.run.analysis import results
from filterdb.run.analysis.results import Measured
from filterdb.run.provenance import Timings, digest
from filterdb.run.scanning.scans import Scanner, scanner
from filterdb.shift import (
    DEFAULT_BINS,
    FIXED_LIMITS,
    CoordinateSystem,
    Policy,
    component_weights,
    fit_basis,
)
from filterdb.stats import Cube, merge_records
from filterdb.types import Kernel

MEASURE_VERSION: Final = 4
"""Changes when the same filters would give other statistics or other counts."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The coordinates that an analysis asks for.

    Parameters
    ----------
    policy, bins
        What they are called in :class:`AnalyzeConfig`.
    source
        ``all``, ``subset`` or ``given``.
    given
        The coordinates of a file, if one was named.
    """

    policy: Policy
    bins: int
    source: str
    given: CoordinateSystem | None = None

    @classmethod
    def of(cls, settings: AnalyzeConfig, kernel: Kernel) -> Choice:
        """Read what the settings ask for.

        Raises
        ------
        UsageError
            If a given basis is of another kernel, or the settings contradict it or each other.
        """
        if settings.basis == "subset" and settings.where is None:
            raise UsageError(
                "a basis of a subset needs a condition that selects it",
                where="basis: subset",
                expected="where: an expression",
                hint="--where \"Task == 'Classification'\", or --basis all",
            )
        if settings.basis in ("all", "subset"):
            return cls(settings.policy or "paper", settings.bins or DEFAULT_BINS, settings.basis)
        path = Path(settings.basis).expanduser()
        given = results.read_coordinates(path)
        if given.kernel != kernel:
            raise UsageError(
                f"the basis is of {given.kernel} filters, and the data set holds {kernel} filters",
                where=path,
                expected=f"a basis of {kernel} filters",
            )
        for name, asked, has in (
            ("policy", settings.policy, given.policy),
            ("bins", settings.bins, given.bins),
        ):
            if asked not in (None, has):
                raise UsageError(
                    f"{name} is {asked!r}, but the given basis has {has!r}",
                    where=path,
                    hint=f"leave out {name}: a given basis brings its own",
                )
        return cls(given.policy, given.bins, "given", given)

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the coordinates of given records, as plain data."""
        basis = self.given.identity if self.given else self.source
        return {"policy": self.policy, "bins": self.bins, "basis": basis}


@dataclass(slots=True)
class Measuring:
    """The filters of a data set and older results of it, of which as little as possible is read.

    Parameters
    ----------
    path
        The data set file.
    kernel
        Size of its filters.
    content
        Its content hash.
    config
        How to work.
    stack
        Closes what is opened.
    out, manifest
        The older results, and their manifest; empty where there are none.
    timings
        Takes the time of each scan.
    scans
        What the filters were read for.
    """

    path: Path
    kernel: Kernel
    content: str
    config: RunConfig
    stack: contextlib.ExitStack
    out: Path
    manifest: Mapping[str, Any]
    timings: Timings
    scans: list[str] = field(default_factory=list)
    _scanner: Scanner | None = None
    _older: Measured | None = None

    @property
    def statistics_key(self) -> str:
        """What the statistics depend on."""
        return digest(dataset=self.content, version=MEASURE_VERSION)

    def counts_key(self, choice: Choice, chosen: NDArray[np.bool_] | None) -> str:
        """Return what the counts depend on."""
        subset = None if chosen is None else hashlib.sha256(chosen.tobytes()).hexdigest()
        return digest(statistics=self.statistics_key, subset=subset, **choice.settings)

    def statistics(self) -> NDArray[Any]:
        """Return the statistics of every record."""
        if self.manifest.get("statistics") == self.statistics_key:
            # Damaged results are not worth a message: they are written again.
            with contextlib.suppress(CorruptDataError):
                self._older = results.load_measured(self.out)
        if self._older is not None:
            return self._older.cube.records
        found: NDArray[Any] = self._scan("statistics", lambda scan: scan.statistics())
        return found

    def measure(
        self, records: NDArray[Any], choice: Choice, chosen: NDArray[np.bool_] | None = None
    ) -> Measured:
        """Find the coordinates, and count every record's coefficients in them.

        Parameters
        ----------
        records
            Statistics of every record.
        choice
            The coordinates.
        chosen
            The records that these are fitted to; all where not given.
        """
        if self._older and self.manifest.get("counts") == self.counts_key(choice, chosen):
            return self._older
        coordinates = choice.given or self._fit(records, choice, chosen)
        limits = coordinates.low, coordinates.high
        counted: Cube = self._scan(
            "counts", lambda scan: scan.cube(records, coordinates.basis, coordinates.bins, limits)
        )
        return Measured(coordinates, counted)

    def _fit(
        self, records: NDArray[Any], choice: Choice, chosen: NDArray[np.bool_] | None
    ) -> CoordinateSystem:
        with self.timings.phase("basis"):
            basis = fit_basis(merge_records(records if chosen is None else records[chosen], "scaled"))
        if choice.policy == "fixed":
            low, high = FIXED_LIMITS
        else:
            low, high = self._scan("range", lambda scan: scan.limits(records, basis, chosen))
        weights = component_weights(basis, choice.policy)
        return CoordinateSystem(self.kernel, choice.policy, basis, low, high, choice.bins, weights)

    def _scan(self, name: str, work: Callable[[Scanner], Any]) -> Any:
        self.scans.append(name)
        if self._scanner is None:
            self._scanner = self.stack.enter_context(
                scanner(self.path, self.config, content_hash=self.content, timings=self.timings)
            )
        return work(self._scanner)
