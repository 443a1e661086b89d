from __future__ import annotations

import json
import pickle  # noqa: TID251 - tasks cross process borders as pickles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.types import ConvLayer, Kernel, ModelRecord, RowRange, SkippedLayer

LAYER = ConvLayer(
    name="stem",
    op_type="Conv",
    conv_depth=0,
    conv_depth_norm=0.0,
    out_channels=4,
    in_channels=3,
    group=1,
    depthwise=False,
    strides=(1, 1),
    dilations=(1, 1),
    weight_dtype="float32",
    weight_source="initializer",
    bn_follows=True,
    nonfinite=0,
    weights_sha256="00",
)
RECORD = ModelRecord(
    sha256="ab",
    size=3,
    producer="pytorch 2",
    ir_version=8,
    op_set=17,
    depth=5,
    layers=(LAYER,),
    skipped=(SkippedLayer("head", "Conv", "1x1", "another size"),),
    ops={"Conv": 2},
    other_ops={"x::Y": 1},
    kernels={"(1, 1)": 4, "(3, 3)": 12, "(5, 5)": 2},
    notes=("é",),
)


@given(start=st.integers(0, 10**12), length=st.integers(1, 10**9))
def test_a_range_survives_the_published_form(start: int, length: int) -> None:
    rows = RowRange(start, start + length)
    assert rows.published == f"{start}:{start + length - 1}"
    assert RowRange.from_published(rows.published) == rows
    assert len(rows) == length
    assert rows.slice == slice(start, start + length)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (4, 3)])
def test_a_range_without_rows_or_below_zero_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="0 <= start < stop"):
        RowRange(start, stop)


@pytest.mark.parametrize("text", ["", "3", "3:", "-1:2", "1:2:3", "a:b", " 1:2", "5:3", "1:2\n"])
def test_text_that_is_no_published_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        RowRange.from_published(text)


@given(height=st.integers(1, 1024), width=st.integers(1, 1024))
def test_a_kernel_survives_its_text(height: int, width: int) -> None:
    kernel = Kernel(height, width)
    assert Kernel.parse(str(kernel)) == kernel
    assert kernel.size == height * width
    assert kernel.shape == (height, width)


@pytest.mark.parametrize("text", ["", "3", "3x", "x3", "3x3x3", "0x3", "3x1025", "-3x3", "3 x 3", "axb"])
def test_text_that_is_no_kernel_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a kernel is"):
        Kernel.parse(text)


def test_a_kernel_may_be_written_in_capitals_and_with_space_around() -> None:
    assert Kernel.parse(" 3X5 ") == Kernel(3, 5)


@pytest.mark.parametrize("channels", [{"out_channels": 0}, {"in_channels": 0}, {"in_channels": -1}])
def test_a_layer_without_filters_is_refused(channels: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one filter"):
        ConvLayer(**{**{n: getattr(LAYER, n) for n in ConvLayer.__dataclass_fields__}, **channels})


def test_a_record_survives_json_and_pickle() -> None:
    assert ModelRecord.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD
    assert pickle.loads(pickle.dumps(RECORD)) == RECORD


def test_totals_leave_one_by_one_kernels_out() -> None:
    assert RECORD.total_filters == 14
    assert RECORD.n_filters == LAYER.n_filters == 12


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        LAYER.name = "other"  # type: ignore[misc]
