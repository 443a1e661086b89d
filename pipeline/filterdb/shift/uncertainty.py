"""How far to trust a distance between two groups, given that models, not filters, are the sample.

The filters of one model resemble each other, so a thousand filters of one model say little more than the
model does. Whoever permutes or resamples filters or layers finds a difference almost everywhere. Here the
model is the unit. For every pair of groups:

- The null distribution. Where no model has records in both groups, models are exchangeable: their labels are
  permuted whole. Where models have records in both groups (depth, labels), the labels of a model's records
  are permuted inside the model. Sizes move with the labels: where one group's layers are the smaller ones, as
  along depth, weigh by layers, or p answers for the sizes too.
- The interval. The distance of finite samples is too large, about as much as a bootstrap draw is too large
  again. The basic interval, which reflects the draws about the estimate, subtracts that bias; it covers the
  distance between the mean distributions of the populations that the models were drawn from. Two corrections
  keep that promise for few models and small distances: the quantiles lie as far out as Student's distribution
  does beyond the normal one; and the interval begins at 0 wherever the permutations do not exclude 0.

Every pair has random streams of its own, and sums are exact, so that neither the order of models, records
and groups, nor other groups, nor chunks change a bit of its numbers.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from filterdb.errors import UsageError
from filterdb.shift.divergence import MEMORY, Measure, measure

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Weighting = Literal["filters", "layers", "models"]

WEIGHTINGS: Final = ("filters", "layers", "models")
FEWEST_MODELS: Final = 5
"""Models a group needs before anything is said about its uncertainty."""

_NUMBERS: Final = ("D", "null_mean", "excess", "low", "high", "p", "p_holm")
_COUNTS: Final = tuple(f"{what}_{side}" for what in ("filters", "layers", "models") for side in "ab")

COLUMNS: Final = ("group_a", "group_b", *_NUMBERS, "measure", *_COUNTS, "reason")
"""Columns of the table that :func:`uncertainty` returns."""

_GRID: Final = 2.0**36
"""Weighted counts are whole multiples of 1 / _GRID: double precision adds 100,000 layers of them exactly."""

_TIE: Final = 1e-9
"""Relative difference below which a permuted distance equals the observed one."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How uncertainty is computed.

    Parameters
    ----------
    seed
        Key of all random streams.
    permutations
        Draws of the null distribution. The smallest p is 1 / (permutations + 1), before Holm's factor.
    draws
        Draws of the bootstrap.
    level
        Coverage of the interval.
    memory
        Bytes of temporary arrays; it changes no bit of the result.
    """

    seed: int = 0
    permutations: int = 999
    draws: int = 999
    level: float = 0.95
    memory: int = MEMORY

    def __post_init__(self) -> None:
        if self.seed < 0 or min(self.permutations, self.draws, self.memory) < 1 or not 0 < self.level < 1:
            raise UsageError(
                f"resampling cannot work with {self}",
                expected="seed >= 0; permutations, draws and memory >= 1; 0 < level < 1",
            )


_DEFAULT: Final = Resampling()


def weigh(counts: NDArray[Any], models: NDArray[Any], weighting: Weighting = "filters") -> F64:
    """Give records the weight that they have in the sum over a group.

    Parameters
    ----------
    counts
        Records x components x bins.
    models
        The model of each record.
    weighting
        ``filters``: every filter counts alike; ``layers``: every record; ``models``: every model, whose
        records share its weight by their number of filters.
    """
    if weighting not in WEIGHTINGS:
        raise UsageError(f"there is no weighting {weighting!r}", expected=f"one of {', '.join(WEIGHTINGS)}")
    if weighting == "filters":
        return counts.astype(np.float64)
    total = counts[:, 0].sum(axis=-1, dtype=np.float64)
    if weighting == "models":
        code = np.unique(models, return_inverse=True)[1]
        total = np.bincount(code, weights=total)[code]
    return np.asarray(np.round(counts * (_GRID / np.maximum(total, 1))[:, None, None]) / _GRID)


def holm(p: F64) -> F64:
    """Adjust p values for their number, by Holm's method; NaN stays and does not count."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


def uncertainty(
    axis: str,
    groups: Sequence[str],
    counts: NDArray[Any],
    codes: Ints,
    models: NDArray[Any],
    *,
    weights: F64,
    width: float,
    by: str = "paper",
    weighting: Weighting = "filters",
    resampling: Resampling = _DEFAULT,
) -> pd.DataFrame:
    """Compare every two groups of an axis, and say how far chance alone would come.

    Parameters
    ----------
    axis
        Name of the axis, which keys the random streams together with the names of the two groups.
    groups
        Names of the groups.
    counts
        Records x components x bins.
    codes
        The group of each record; -1 for none.
    models
        The model of each record.
    weights
        Weight of each component.
    width
        Width of a bin.
    by
        Name of the measure.
    weighting
        What counts alike: see :func:`weigh`.
    resampling
        Seeds and numbers of draws.

    Returns
    -------
        One row a pair. ``reason`` is empty, or says why the numbers beside D are NaN.
    """
    compare = measure(by)
    units = _Units.of(counts, codes, models, weighting)
    sizes = units.sizes(len(groups))
    rows = []
    for a, b in itertools.combinations(range(len(groups)), 2):
        # In a fixed order: the streams must not see which group is listed first.
        first, second = sorted((a, b), key=lambda group: groups[group])
        pair = _Pair.of(units, first, second)
        found = _distances(pair, (axis, groups[first], groups[second]), compare, weights, width, resampling)
        beside = {
            f"{column}_{side}": size[g]
            for column, size in sizes.items()
            for side, g in zip("ab", (a, b), strict=True)
        }
        rows.append({"group_a": groups[a], "group_b": groups[b]} | found | {"measure": by} | beside)
    return _frame(rows)


@dataclass(frozen=True, slots=True)
class _Units:
    """Records with filters: weighted counts laid flat, group, model, and a rank by content."""

    values: F64
    codes: Ints
    models: Ints
    ranks: Ints
    filters: Ints

    @classmethod
    def of(cls, counts: NDArray[Any], codes: Ints, models: NDArray[Any], weighting: Weighting) -> _Units:
        filters = counts[:, 0].sum(axis=-1, dtype=np.int64)
        used = (filters > 0) & (codes >= 0)
        weighted = weigh(counts, models, weighting)[used]
        values = np.ascontiguousarray(weighted.reshape(len(weighted), -1))
        digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in values]
        ranks = {digest: rank for rank, digest in enumerate(sorted(set(digests)))}
        return cls(
            values,
            codes[used],
            np.unique(models[used], return_inverse=True)[1],
            np.array([ranks[digest] for digest in digests], np.int64),
            filters[used],
        )

    def sizes(self, groups: int) -> dict[str, Ints]:
        """Count what each group holds."""
        filters = np.zeros(groups, np.int64)
        np.add.at(filters, self.codes, self.filters)
        held = np.unique(np.stack([self.codes, self.models]), axis=1)[0]
        layers, models = (np.bincount(codes, minlength=groups) for codes in (self.codes, held))
        return {"filters": filters, "layers": layers, "models": models}


@dataclass(frozen=True, slots=True)
class _Pair:
    """The records of two groups, sorted by model, in an order that depends on their content alone.

    Parameters
    ----------
    values
        Records x (components x bins).
    in_first
        The record lies in the first group.
    begin
        The first record of each model.
    first, second
        Models x (components x bins): the sums over each model's records in either group.
    n
        Models that have records in the first and second group, and in both.
    """

    values: F64
    in_first: NDArray[np.bool_]
    begin: Ints
    first: F64
    second: F64
    n: tuple[int, int, int]

    @classmethod
    def of(cls, units: _Units, first: int, second: int) -> _Pair:
        rows = _by_content(units, np.flatnonzero((units.codes == first) | (units.codes == second)), first)
        values, in_first, models = units.values[rows], units.codes[rows] == first, units.models[rows]
        begin = np.flatnonzero(np.diff(models, prepend=-1))
        model = np.cumsum(np.diff(models, prepend=-1) != 0) - 1
        sums = np.zeros((2, len(begin), values.shape[1]))
        parts = np.flatnonzero(np.diff(2 * model + in_first, prepend=-1))
        sums[(~in_first[parts]).astype(np.int64), model[parts]] = np.add.reduceat(values, parts, axis=0)
        has = np.asarray(sums.any(axis=2))
        n = (int(has[0].sum()), int(has[1].sum()), int(has.all(axis=0).sum()))
        return cls(values, in_first, begin, sums[0], sums[1], n)

    def too_few(self, first: str, second: str) -> str:
        """Say why nothing can be said about the pair; empty where something can."""
        found = [f"{n} models in {name!r}" for n, name in zip(self.n, (first, second), strict=False)]
        few = [text for text, n in zip(found, self.n, strict=False) if n < FEWEST_MODELS]
        if not few and 0 < self.n[2] < FEWEST_MODELS:
            few = [f"{self.n[2]} models with records in both groups"]
        return f"only {' and '.join(few)}, {FEWEST_MODELS} needed" if few else ""


def _by_content(units: _Units, rows: NDArray[np.intp], first: int) -> NDArray[np.intp]:
    """Sort records by model, group and content, and the models by the content of their records."""
    label = units.codes[rows] == first
    rows = rows[np.lexsort((units.ranks[rows], label, units.models[rows]))]
    if not len(rows):
        return rows
    content = np.stack([units.codes[rows] == first, units.ranks[rows]], axis=1)
    cuts = np.flatnonzero(np.diff(units.models[rows])) + 1
    keys = [part.ravel().tolist() for part in np.split(content, cuts)]
    models = np.split(rows, cuts)
    return np.concatenate([models[i] for i in sorted(range(len(keys)), key=keys.__getitem__)])


def _distances(
    pair: _Pair, names: tuple[str, str, str], compare: Measure, weights: F64, width: float, how: Resampling
) -> dict[str, Any]:
    def distance(p: F64, q: F64) -> F64:
        shape = (-1, len(weights), p.shape[-1] // len(weights))
        return compare(p.reshape(shape), q.reshape(shape), weights=weights, width=width)

    observed = float(distance(pair.first.sum(axis=0), pair.second.sum(axis=0))[0])
    row = dict.fromkeys(_NUMBERS, np.nan) | {"D": observed, "reason": pair.too_few(*names[1:])}
    if row["reason"]:
        return row
    null = np.concatenate([distance(p, q) for p, q in _permuted(pair, _stream(how, *names, "null"), how)])
    drawn = np.concatenate([distance(p, q) for p, q in _resampled(pair, _stream(how, *names, "draw"), how)])
    mean, tail = float(null.mean()), (1 - how.level) / 2
    p = (1 + int((null >= observed * (1 - _TIE)).sum())) / (1 + len(null))
    # A draw of models may leave a group empty where few of many models have records in it.
    wide = _widened(tail, min(pair.n[:2]))
    short, far = np.nanquantile(drawn, [wide, 1 - wide])
    least = 2 * observed - far if p <= tail else 0.0
    most = max(2 * observed - short, far if compare.kinked else 0.0)
    row |= {"null_mean": mean, "excess": observed - mean, "p": p}
    return row | {"low": max(0.0, float(least)), "high": float(most)}


def _widened(tail: float, models: int) -> float:
    """Return the tail of the normal distribution beyond Student's quantile for so many models."""
    return float(ndtr(-stdtrit(models - 1, 1 - tail)))


def _stream(how: Resampling, *key: str) -> np.random.Generator:
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
    return np.random.default_rng(np.random.SeedSequence([how.seed, int.from_bytes(digest, "little")]))


def _chunks(total: int, each: int, memory: int) -> Iterator[int]:
    """Divide draws into chunks that fit, given the bytes that each takes."""
    step = max(1, memory // each)
    yield from (min(step, total - start) for start in range(0, total, step))


def _permuted(pair: _Pair, rng: np.random.Generator, how: Resampling) -> Iterator[tuple[F64, F64]]:
    """Yield the sums of both groups under permuted labels."""
    if pair.n[2]:
        size = np.diff(pair.begin, append=len(pair.values))
        need = np.add.reduceat(pair.in_first.astype(np.int64), pair.begin)
        mixed = (need > 0) & (need < size)
        items, size, need = pair.values[np.repeat(mixed, size)], size[mixed], need[mixed]
        fixed = pair.first[~mixed].sum(axis=0)
    else:
        items, fixed = pair.first + pair.second, np.zeros(pair.first.shape[1])
        size, need = np.array([len(items)]), np.array([pair.n[0]])
    total = pair.first.sum(axis=0) + pair.second.sum(axis=0)
    falling = np.argsort(-size, kind="stable")
    begin, size, need = (np.cumsum(size) - size)[falling], size[falling], need[falling]
    items = items[np.concatenate([begin[size > step] + step for step in range(size[0])])]
    each = 8 * (3 * len(items) + 10 * len(total))
    for rows in _chunks(how.permutations, each, how.memory):
        p = _choose(rng, rows, size, need) @ items + fixed
        yield p, total - p


def _choose(rng: np.random.Generator, rows: int, size: Ints, need: Ints) -> F64:
    """Choose ``need`` of the ``size`` items of each stratum, independently in each row; 1 where chosen.

    Sizes fall. Columns are the first item of every stratum, then the second of those that have one, etc.
    Selection sampling: an item is taken with the odds of those still needed among those still to come. One
    uniform number an item makes the draws of a row independent of how rows are divided into chunks.
    """
    chosen = rng.random((rows, int(size.sum()))).T.copy()
    missing = np.repeat(need[:, None], rows, axis=1)
    begin = 0
    for step in range(int(size[0])):
        live = int((size > step).sum())
        item = chosen[begin : begin + live]
        item *= (size[:live] - step)[:, None]
        np.less(item, missing[:live], out=item)
        missing[:live] -= item.astype(np.int64)
        begin += live
    return chosen.T


def _resampled(pair: _Pair, rng: np.random.Generator, how: Resampling) -> Iterator[tuple[F64, F64]]:
    """Yield the sums of both groups over models that are drawn with replacement.

    One model fewer is drawn than there are: so the variance of a draw is that of the estimate, not
    (n - 1) / n of it, which matters where models are few.
    """
    joint = pair.n[2] > 0
    first, second = pair.first, pair.second
    if not joint:
        first, second = first[first.any(axis=1)], second[second.any(axis=1)]
    each = 8 * (3 * (len(first) + len(second)) + 10 * first.shape[1])
    sizes = (len(first),) if joint else (len(first), len(second))
    for rows in _chunks(how.draws, each, how.memory):
        uniform = rng.random((rows, sum(sizes) - len(sizes)))
        times = [
            _times(part, n) for part, n in zip(np.split(uniform, [sizes[0] - 1], axis=1), sizes, strict=False)
        ]
        yield times[0] @ first, times[-1] @ second


def _times(uniform: F64, n: int) -> F64:
    """Turn uniform numbers, one row a draw, into how often each of ``n`` models is drawn."""
    drawn = (uniform * n).astype(np.int64) + n * np.arange(len(uniform))[:, None]
    return np.bincount(drawn.ravel(), minlength=n * len(uniform)).reshape(-1, n).astype(np.float64)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    types = (
        dict.fromkeys(COLUMNS, "str") | dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(_COUNTS, "int64")
    )
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["p_holm"] = holm(frame["p"].to_numpy(np.float64))
    return frame.astype(types)
