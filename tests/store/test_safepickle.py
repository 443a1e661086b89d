from __future__ import annotations

import contextlib
import pickle  # noqa: TID251 - to make what the reader must refuse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.errors import CorruptDataError, StoreError, UnsafeFileError
from filterdb.store import safepickle

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)


class Call:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@given(value=PLAIN, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back_from_every_protocol(value: object, protocol: int) -> None:
    assert safepickle.loads(pickle.dumps(value, protocol), where="x") == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value", [Call(print, "x"), Path("x"), np.float64(1), np.dtype("f4"), {1}, b"x", len]
)
def test_whatever_looks_up_a_name_is_refused(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    # Newer protocols have instructions of their own for sets and bytes.
    if type(value) is bytes and protocol >= 3:
        assert safepickle.loads(data, where="the place") == value
        return
    reason = "fills a" if type(value) is set and protocol >= 4 else "asks for"
    with pytest.raises(UnsafeFileError, match=reason) as caught:
        safepickle.loads(data, where="the place")
    assert caught.value.where == "the place"


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'touch MARK'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch MARK\x85R.",
        b"(S'touch MARK'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch MARK'\no.",
        b"\x80\x02cbuiltins\ngetattr\n.",
    ],
)
def test_every_way_to_look_up_a_name_is_refused(
    program: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeFileError, match="asks for"):
        safepickle.loads(program, where="x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [b"Ppid\n.", b"Nq\x00Q.", b"\x80\x02\x82\x01.", b"\x80\x05\x97."])
def test_what_refers_outside_the_pickle_is_refused(program: bytes) -> None:
    with pytest.raises(StoreError):
        safepickle.loads(program, where="x")


@pytest.mark.parametrize("program", [b"Nr\xff\xff\xff\x7f.", b"Np2147483647\n.", b"Nr\x00\x00\x00\x10."])
def test_a_few_bytes_that_ask_for_gigabytes_are_refused(program: bytes) -> None:
    with pytest.raises(UnsafeFileError, match="numbers"):
        safepickle.loads(program, where="x")


@pytest.mark.parametrize(
    "program", [b"}%bNs.", b"}(%bNu.", b"(%bNd.", b"\x80\x04\x8f(%b\x90.", b"\x80\x04(%b\x91."]
)
def test_a_key_whose_hash_takes_years_is_refused(program: bytes) -> None:
    with pytest.raises(UnsafeFileError, match="fills a dictionary or a set"):
        safepickle.loads(program % (b")" + b"2\x86" * 100), where="x")


def test_declared_lengths_beyond_the_data_are_refused() -> None:
    for program in (b"\x80\x04\x8d\xff\xff\xff\xff\xff\x00\x00\x00.", b"T\xff\xff\xff\x7f."):
        with pytest.raises(CorruptDataError, match="damaged pickle"):
            safepickle.loads(program, where="x")


def test_a_pickle_that_is_too_large_is_refused() -> None:
    with pytest.raises(UnsafeFileError, match="a pickle of"):
        safepickle.loads(b"N." * (safepickle.MAX_BYTES // 2 + 1), where="x")


@given(st.binary(max_size=60))
def test_random_bytes_give_plain_data_or_an_error_of_ours(data: bytes) -> None:
    with contextlib.suppress(StoreError):
        safepickle.loads(data, where="x")


def test_allowed_names_stand_for_what_the_caller_says() -> None:
    data = pickle.dumps(Path, protocol=0)
    module = Path.__module__
    assert safepickle.loads(data, where="x", allowed={(module, "Path"): "a stand-in"}) == "a stand-in"
