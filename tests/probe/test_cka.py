"""`probe cka`: the formula, batch by batch, and what no number can be given for."""

from __future__ import annotations

import math
from pathlib import Path

import formulas
import numpy as np
import pytest
from models import LAYERS, activations, classifier, images, write
from onnx import helper

from filterdb.errors import UsageError
from filterdb.probe import cka
from filterdb.probe.grams import gram_of, u_centred
from filterdb.testing import graph_of, model_of, random_weight, tensor


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write(tmp_path / "a.onnx", classifier()),
        write(tmp_path / "b.onnx", classifier(seed=50)),
    )


def test_every_pair_of_layers_has_the_value_of_the_formula(pair: tuple[Path, Path]) -> None:
    data = images(45)
    found = cka(*pair, data=data, batch=16, shuffle=False)
    assert (found.rows, found.batches, found.dropped) == (32, 2, 13)
    values = [activations(path, {"x": data}) for path in pair]
    for i, name_a in enumerate(found.a.layers):
        for j, name_b in enumerate(found.b.layers):
            parts = [
                [v[LAYERS[name]][s : s + 16] for s in (0, 16)]
                for v, name in zip(values, (name_a, name_b), strict=True)
            ]
            assert found.values[i, j] == pytest.approx(formulas.minibatch_cka(*parts), abs=1e-6)
    assert found.a.layers == found.b.layers == tuple(LAYERS)


def test_a_model_with_itself_has_ones_on_the_diagonal_and_is_symmetric(pair: tuple[Path, Path]) -> None:
    found = cka(pair[0], data=images(64), batch=16)
    assert found.values.diagonal() == pytest.approx(1, abs=1e-12)
    assert found.values == pytest.approx(found.values.T, abs=1e-12)
    twice = cka(pair[0], pair[0], data=images(64), data_b=images(64), batch=16)
    assert twice.values == pytest.approx(found.values, abs=1e-12)


def product(a: np.ndarray, b: np.ndarray) -> float:
    return float((u_centred(gram_of(a)[0]) * u_centred(gram_of(b)[0])).sum())


def test_a_matrix_has_the_layers_in_the_order_of_execution(pair: tuple[Path, Path]) -> None:
    found = cka(*pair, data=images(40), layers=["*"], layers_b=["head", "body.*"])
    matrix = found.matrix()
    assert matrix.index.tolist() == list(found.a.layers) != sorted(found.a.layers)
    assert matrix.columns.tolist() == list(found.b.layers) == ["body.0", "body.1", "head"]
    assert (matrix.index.name, matrix.columns.name) == ("layer_a", "layer_b")
    for row in found.to_frame().itertuples():
        np.testing.assert_equal(matrix.loc[row.layer_a, row.layer_b], row.cka)
    matrix.iloc[0, 0] = 5
    assert found.values[0, 0] != 5


def test_rotation_scale_and_offset_change_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 9)), rng.normal(size=(20, 5))
    rotation = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    plain = product(a, b) / math.sqrt(product(a, a) * product(b, b))
    for other in (a @ rotation, 7 * a, a + 1e4, a[:, ::-1]):
        changed = product(other, b) / math.sqrt(product(other, other) * product(b, b))
        assert changed == pytest.approx(plain, abs=1e-9)


def test_hsic_as_an_inner_product_is_hsic_as_it_is_written() -> None:
    rng = np.random.default_rng(1)
    for n in (4, 5, 17):
        a, b = rng.normal(size=(n, 6)), rng.normal(size=(n, 3))
        assert product(a, b) / (n * (n - 3)) == pytest.approx(
            formulas.hsic(formulas.gram(a), formulas.gram(b)), rel=1e-9
        )


def test_wide_features_are_summed_in_parts() -> None:
    wide = np.random.default_rng(2).normal(size=(5, 250_000)).astype("f4")
    centred = wide.astype("f8") - wide.astype("f8").mean(axis=0)
    assert gram_of(wide)[0] == pytest.approx(centred @ centred.T, rel=1e-9, abs=1e-6)


def test_small_batches_come_near_the_value_of_all_data_at_once(pair: tuple[Path, Path]) -> None:
    data = images(480)
    full = cka(*pair, data=data, batch=480).values
    errors = [np.abs(cka(*pair, data=data, batch=size).values - full).max() for size in (8, 60, 240)]
    assert errors[2] < errors[0]
    assert errors[2] < 0.03


def test_the_order_of_rows_is_drawn_by_the_seed_and_nothing_else(pair: tuple[Path, Path]) -> None:
    data = images(64)
    one, two, other = (cka(*pair, data=data, batch=16, seed=seed).values for seed in (3, 3, 4))
    assert (one == two).all()
    assert (one != other).any()
    assert (cka(*pair, data=data, batch=16, threads=1).values == cka(*pair, data=data, batch=16).values).all()


def dead_model() -> object:
    weights = {
        "alive.weight": random_weight((4, 1, 3, 3)),
        "dead.weight": np.zeros((4, 1, 3, 3), "f4"),
        "nan.weight": np.full((4, 1, 3, 3), np.nan, "f4"),
    }
    nodes = [helper.make_node("Conv", ["x", name], [name[:3]], name=name[:3]) for name in weights]
    nodes.append(helper.make_node("Conv", ["x", "dead.weight", "b"], ["biased"], name="biased"))
    nodes.append(helper.make_node("Sum", ["ali", "dea", "nan", "biased"], ["y"]))
    stored = [tensor(name, weight) for name, weight in weights.items()]
    return model_of(graph_of(nodes, weights=[*stored, tensor("b", np.full(4, 0.3, "f4"))]))


def test_layers_without_a_value_have_nan_and_a_reason_and_are_still_there(tmp_path: Path) -> None:
    path = write(tmp_path / "dead.onnx", dead_model())  # type: ignore[arg-type]
    found = cka(path, data=images(12), batch=4)
    reasons = dict(zip(found.a.layers, found.a.reasons, strict=True))
    assert reasons == {
        "alive": "",
        "dead": "all its activations are zero",
        "nan": "its activations hold NaN or infinity",
        "dead#2": "its activations do not vary",
    }
    table = found.to_frame()
    assert len(table) == 16
    known = table["cka"].notna()
    assert known.sum() == 1
    assert (table["reason"] == "").equals(known)
    assert table.loc[known, "cka"].item() == pytest.approx(1)


def test_layers_that_do_not_fit_at_once_give_the_same_bits(pair: tuple[Path, Path]) -> None:
    data = images(32)
    whole = cka(*pair, data=data, batch=16)
    parts = cka(*pair, data=data, batch=16, memory=1)
    assert (whole.values == parts.values).all()


def test_two_data_sets_are_compared_row_for_row(pair: tuple[Path, Path]) -> None:
    data = images(32)
    other = data + images(32, seed=9)
    same = cka(pair[0], data=data, batch=16).values
    found = cka(pair[0], data=data, data_b=other, batch=16).values
    assert (found.diagonal() < same.diagonal()).all()


def test_unequal_data_sets_are_refused_with_both_lengths(pair: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="the two data sets have 16 and 17 rows"):
        cka(*pair, data=images(16), data_b=images(17))


@pytest.mark.parametrize(("rows", "batch"), [(3, 64), (16, 3)])
def test_fewer_than_four_rows_at_once_are_refused(pair: tuple[Path, Path], rows: int, batch: int) -> None:
    with pytest.raises(UsageError) as caught:
        cka(*pair, data=images(rows), batch=batch)
    assert caught.value.expected == "at least 4 for CKA"


def test_four_rows_are_enough(pair: tuple[Path, Path]) -> None:
    assert cka(*pair, data=images(4)).batches == 1
