"""Draws are what they say, and fast sums and distances are those of plain loops over the same draws."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import WEIGHTS, WIDTH, between, uneven, within
from scipy.stats import chisquare, norm, t

from filterdb.errors import UsageError
from filterdb.shift.resampling import Resampling, choose, draw_times
from filterdb.shift.uncertainty import uncertainty
from filterdb.shift.units import WEIGHTINGS, Pair, Units, weigh

FLOOR = float(np.finfo(np.float32).eps)
DRAWS = 60
HOW = Resampling(seed=3, permutations=DRAWS, draws=DRAWS)
NAMES = "abc"


def plain_distance(p: np.ndarray, q: np.ndarray) -> float:
    """The paper's distance, one bin at a time."""
    total = 0.0
    for weight, *sides in zip(WEIGHTS.tolist(), p.tolist(), q.tolist(), strict=True):
        shares = []
        for side in sides:
            density = [count / sum(side) / WIDTH or FLOOR for count in side]
            shares.append([value / sum(density) for value in density])
        for a, b in zip(*shares, strict=True):
            total += weight * (a * math.log(a / b) + b * math.log(b / a))
    return total


def plain_sum(rows: list[np.ndarray]) -> np.ndarray:
    total = np.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total


class Plain:
    """One pair of groups of one data set, as lists of records."""

    def __init__(self, data: dict[str, Any], first: int, second: int, weighting: Any) -> None:
        weighted = weigh(data["counts"], data["models"], weighting)
        units = Units.of(data["counts"], data["codes"], data["models"], weighting)
        self.pair = Pair.of(units, first, second)
        self.parts: dict[int, list[list[np.ndarray]]] = {}
        for row, code, model in zip(weighted, data["codes"], data["models"], strict=True):
            if code in (first, second):
                self.parts.setdefault(model, [[], []])[int(code == second)].append(row)
        # Which draw moves which model is all that is taken from the fast code.
        known = np.unique(data["models"])
        cells = self.pair.cells
        self.models = known[units.models[cells.max(axis=1)]].tolist()
        self.joint = any(all(part) for part in self.parts.values())

    def null(self, stream: np.random.Generator) -> list[float]:
        """Relabel items of strata: all models, or the records of each model that is in both groups."""
        strata = self.pair.strata()
        chosen = choose(stream, DRAWS, strata.sizes, strata.needs)
        items = strata.items.reshape(len(strata.items), *WEIGHTS.shape, -1)
        moved = [part for part in self.parts.values() if all(part) or not self.joint]
        rest = [part for part in self.parts.values() if self.joint and not all(part)]
        everything = plain_sum([row for part in moved for side in part for row in side])
        assert np.allclose(everything, items.sum(axis=0), rtol=0, atol=1e-9)
        distances = []
        for labels in chosen.tolist():
            groups = [[row for part in rest for row in part[side]] for side in (0, 1)]
            for item, label in zip(items, labels, strict=True):
                groups[0 if label else 1].append(item)
            distances.append(plain_distance(*map(plain_sum, groups)))
        return distances

    def bootstrap(self, stream: np.random.Generator) -> list[float]:
        """Draw one model fewer than there are, from each group, or from both at once."""
        sides = [[model for model in self.models if self.parts[model][side]] for side in (0, 1)]
        pools = [self.models] if self.joint else sides
        distances = []
        for uniform in stream.random((DRAWS, sum(len(pool) - 1 for pool in pools))).tolist():
            numbers = iter(uniform)
            drawn = [[pool[int(next(numbers) * len(pool))] for _ in pool[1:]] for pool in pools]
            groups = [
                [row for model in models for row in self.parts[model][side]]
                for side, models in enumerate(drawn * 2 if self.joint else drawn)
            ]
            distances.append(plain_distance(*map(plain_sum, groups)))
        return distances

    def observed(self) -> float:
        sides = [[row for part in self.parts.values() for row in part[side]] for side in (0, 1)]
        return plain_distance(*map(plain_sum, sides))


def plain_row(plain: Plain, names: tuple[str, str]) -> dict[str, float]:
    observed = plain.observed()
    null = plain.null(HOW.stream("axis", *names, "null"))
    drawn = plain.bootstrap(HOW.stream("axis", *names, "draw"))
    p = (1 + sum(value >= observed * (1 - 1e-9) for value in null)) / (1 + DRAWS)
    wide = norm.sf(t.ppf(0.975, min(plain.pair.held[:2]) - 1))
    short, far = np.quantile(drawn, [wide, 1 - wide])
    low = max(0.0, 2 * observed - far) if p <= 0.025 else 0.0
    mean = math.fsum(null) / DRAWS
    return {
        "D": observed,
        "null_mean": mean,
        "excess": observed - mean,
        "low": low,
        "high": 2 * observed - short,
        "p": p,
    }


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("make", [between, within, uneven])
def test_a_pair_is_what_plain_loops_over_the_same_draws_make_of_it(make: Any, weighting: Any) -> None:
    data = make()
    options = {"weights": WEIGHTS, "width": WIDTH, "weighting": weighting, "resampling": HOW}
    found = uncertainty("axis", NAMES, data["counts"], data["codes"], data["models"], **options)
    for row, (a, b) in zip(found.to_dict("records"), itertools.combinations(range(3), 2), strict=True):
        expected = plain_row(Plain(data, a, b, weighting), (NAMES[a], NAMES[b]))
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-12, abs=1e-13)


strata = st.lists(
    st.integers(1, 9).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size))),
    min_size=1,
    max_size=6,
).map(lambda pairs: np.array(sorted(pairs, reverse=True)).T)


def positions(sizes: np.ndarray) -> list[list[int]]:
    """The columns of each stratum: first items come first."""
    columns: list[list[int]] = [[] for _ in sizes]
    steps = [(step, i) for step in range(max(sizes)) for i, size in enumerate(sizes) if step < size]
    for column, (_, i) in enumerate(steps):
        columns[i].append(column)
    return columns


@given(strata=strata, seed=st.integers(0, 1000))
def test_choosing_takes_what_is_needed_of_every_stratum(strata: np.ndarray, seed: int) -> None:
    sizes, needs = strata
    chosen = choose(np.random.default_rng(seed), 7, sizes, needs)
    assert np.isin(chosen, (0, 1)).all()
    for columns, need in zip(positions(sizes), needs, strict=True):
        assert (chosen[:, columns].sum(axis=1) == need).all()


def test_every_choice_is_equally_likely_and_strata_are_independent() -> None:
    sizes, needs = np.array([4, 3]), np.array([2, 1])
    chosen = choose(np.random.default_rng(0), 18_000, sizes, needs)
    _, seen = np.unique(chosen, axis=0, return_counts=True)
    assert len(seen) == math.comb(4, 2) * math.comb(3, 1)
    assert chisquare(seen).pvalue > 0.01


def test_draws_do_not_depend_on_how_they_are_divided() -> None:
    sizes, needs = np.array([5, 3, 1]), np.array([2, 2, 0])
    whole = choose(np.random.default_rng(0), 10, sizes, needs)
    rng = np.random.default_rng(0)
    parts = [choose(rng, rows, sizes, needs) for rows in (1, 6, 3)]
    assert np.array_equal(np.concatenate(parts), whole)


@given(n=st.integers(2, 9), seed=st.integers(0, 1000))
def test_models_are_drawn_with_replacement(n: int, seed: int) -> None:
    uniform = np.random.default_rng(seed).random((5, n - 1))
    times = draw_times(uniform, n)
    assert times.shape == (5, n)
    for row, numbers in zip(times.tolist(), uniform.tolist(), strict=True):
        assert row == [sum(int(number * n) == model for number in numbers) for model in range(n)]


def test_streams_differ_by_seed_and_by_every_part_of_the_key() -> None:
    keys = [
        (0, ("a", "b", "c")),
        (1, ("a", "b", "c")),
        (0, ("a", "c", "b")),
        (0, ("ab", "c")),
        (0, ("a b", "c")),
    ]
    firsts = {Resampling(seed=seed).stream(*key).random() for seed, key in keys}
    assert len(firsts) == len(keys)
    assert Resampling().stream("a", "b", "c").random() in firsts


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"permutations": 0}, {"draws": 0}, {"level": 1.0}, {"memory": 0}, {"threads": 0}],
    ids=str,
)
def test_impossible_draws_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="resampling") as caught:
        Resampling(**wrong)
    assert "threads >= 1" in str(caught.value)
