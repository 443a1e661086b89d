"""Pickled arrays of objects, as every pandas and Python left them, and as somebody hostile would."""

from __future__ import annotations

import contextlib
import pickle  # noqa: TID251 - to make what the reader must read, and what it must refuse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from filterdb.errors import CorruptDataError, StoreError, UnsafeFileError
from filterdb.store.published.objects import read_object_array

INTEGERS = st.integers(-(2**63), 2**64 - 1)
CELLS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.text(max_size=6)
ARRAYS = arrays.arrays(object, arrays.array_shapes(min_dims=1, max_dims=2, max_side=5), elements=CELLS)


def read(data: bytes) -> np.ndarray:
    return read_object_array(data, where="the file")


def old_names(data: bytes) -> bytes:
    """The same pickle as numpy before 2.0 wrote it: its parts had other names, of another length."""
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    # A short text has its length before it.
    return data.replace(bytes([len(new)]) + new, bytes([len(old)]) + old).replace(new, old)


@given(array=ARRAYS, protocol=st.integers(0, 3), fortran=st.booleans(), old=st.booleans())
def test_arrays_come_back_from_every_numpy_and_protocol(
    array: np.ndarray, protocol: int, fortran: bool, old: bool
) -> None:
    given = np.asfortranarray(array) if fortran else array
    data = pickle.dumps(given, protocol)
    found = read(old_names(data) if old else data)
    assert found.shape == array.shape
    assert found.ravel().tolist() == array.ravel().tolist()
    assert [type(cell) for cell in found.flat] == [type(cell) for cell in array.flat]


@pytest.mark.parametrize("protocol", [4, 5])
def test_arrays_come_back_from_the_protocols_with_frames(protocol: int) -> None:
    array = np.asfortranarray(np.array([["a", 1.5], ["größer", None], ["a", True]], object))
    assert read(pickle.dumps(array, protocol)).tolist() == array.tolist()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "cell", [np.float64(1.25), np.int64(-7), np.bool_(True), np.str_("größer"), np.float32(0.5)]
)
def test_a_numpy_number_in_a_cell_becomes_a_plain_one(cell: Any, protocol: int) -> None:
    found = read(pickle.dumps(np.array([cell, "x"], object), protocol))
    assert found.tolist() == [cell.item(), "x"]
    assert type(found[0]) is type(cell.item())


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<i4", "?", "<U3"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_numbers_comes_back_from_either_order_of_bytes(dtype: str, order: str) -> None:
    array = np.array([[1, 0, 2], [3, 0, 1]]).astype(dtype, order=order)
    assert np.array_equal(read(pickle.dumps(array, 2)), array)


def test_an_array_that_python_2_pickled_comes_back() -> None:
    """What cPickle and numpy 1.9 write there for an array of a str, a unicode and a NaN."""
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K\x03\x85cnumpy\ndtype\nq\x04U\x02O8K\x00K\x01\x87Rq\x05"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]q\x06"
        b"(U\x01aq\x07X\x08\x00\x00\x00gr\xc3\xb6\xc3\x9ferq\x08G\x7f\xf8\x00\x00\x00\x00\x00\x00etb."
    )
    found = read(data).tolist()
    assert found[:2] == ["a", "größer"]
    assert found[2] != found[2]


def test_numbers_that_python_2_pickled_as_text_come_back() -> None:
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x04\x01\x00\xff\xfftb."
    )
    assert read(data).tolist() == [1, -1]


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "bomb",
    [
        Call(exec, "1"),
        Call(np.fromfile, "/etc/hostname"),
        Call(np.load, "x.npy"),
        Path("x"),
        Call(getattr, "x", "upper"),
        np.ma.masked_array([1]),
        np.array([Call(print, "x")], object),
        np.array([b"x".__class__, 1], object),
        len,
    ],
    ids=lambda bomb: type(bomb).__name__,
)
def test_whatever_else_a_pickle_asks_for_is_refused(bomb: object, protocol: int) -> None:
    with pytest.raises(UnsafeFileError, match="asks for"):
        read(pickle.dumps(np.array(["a", bomb, 1], object) if protocol % 2 else bomb, protocol))


DTYPE = b"cnumpy\ndtype\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
O8 = DTYPE + b"(S'O8'\nI0\nI1\ntR"
STATE = b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"


@pytest.mark.parametrize(
    "program",
    [
        # A state that takes from the type of objects what says that it holds pointers, over plain bytes.
        ARRAY + b"(I1\n(I1\nt" + O8 + b"(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'AAAAAAAA'\ntb.",
        ARRAY + b"(I1\n(I1\nt" + DTYPE + b"(S'V8'\nI0\nI1\ntRI00\nS'AAAAAAAA'\ntb.",
        ARRAY + b"(I1\n(I1\nt" + DTYPE + b"((lp0\n(S'a'\nS'O8'\ntatR" + b"I00\nS'AAAAAAAA'\ntb.",
        ARRAY + b"(I1\n(I99999999999\nt" + O8 + STATE + b"I00\n(lp0\ntb.",
        ARRAY + b"(I1\n(I-1\nt" + O8 + STATE + b"I00\n(lp0\ntb.",
        ARRAY + b"(I1\n(I3\nt" + O8 + STATE + b"I00\n(lp0\nNatb.",
        ARRAY + b"(I1\n(I1\nt" + O8 + STATE + b"I00\n(lp0\n(lp1\natb.",
        ARRAY + b"(I1\n(I1\nt" + O8 + STATE + b"I00\nI8\ntb.",
        ARRAY + b"(I1\n(I8\nt" + DTYPE + b"(S'u1'\nI0\nI1\ntRI00\nI8\ntb.",
        ARRAY + b".",
        b"cnumpy.core.multiarray\n_reconstruct\n(S'x'\n(I0\ntS'b'\ntR.",
        b"cnumpy\nndarray\n(I99999999999\ntR.",
        b"cnumpy\nndarray\n.",
        b"cnumpy\nndarray\n)\x81.",
        # A function that would be changed for whoever calls it next.
        b"cnumpy\ndtype\n(N(dS'__defaults__'\n(I1\ntstb.",
        b"cnumpy.core.multiarray\nscalar\n}S'_function'\nNsb.",
        b"cnumpy.core.multiarray\nscalar\n(" + O8 + b"S'AAAAAAAA'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(" + DTYPE + b"(S'f8'\nI0\nI1\ntRI1000000000000\ntR.",
        b"c_codecs\nencode\n(S'eJw='\nS'zip'\ntR.",
        b"c_codecs\nencode\n(S'a'\nS'idna'\ntR.",
        b"(lp0\nS'no array'\na.",
        b"N.",
    ],
)
def test_an_array_that_numpy_must_not_see_is_refused(program: bytes) -> None:
    with pytest.raises(StoreError) as caught:
        read(program)
    assert caught.value.where == "the file"
    assert read(pickle.dumps(np.array(["a"], object), 2)).tolist() == ["a"]


@pytest.mark.parametrize(
    "program",
    [
        b"(" + b"}" * 20_000_000 + b"t.",
        # One text, kept, and encoded again and again for six bytes each.
        b"X" + (200_000).to_bytes(4, "little") + b"a" * 200_000 + b"q\x000"
        b"c_codecs\nencode\nq\x010(" + b"h\x01h\x00\x85R" * 100_000 + b"t.",
    ],
    ids=["containers", "copies"],
)
def test_a_pickle_that_asks_for_far_more_memory_than_it_has_is_refused(
    program: bytes, tmp_path: Path
) -> None:
    (tmp_path / "pickle").write_bytes(program)
    code = """
import resource, sys
from pathlib import Path
from filterdb.errors import UnsafeFileError
from filterdb.store.published.objects import read_object_array
resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))
try:
    read_object_array(Path(sys.argv[1]).read_bytes(), where="x")
except UnsafeFileError as error:
    print(error.what)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "pickle")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "makes" in done.stdout, done.stderr


def test_a_pickle_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterdb.store.published.objects.MAX_BYTES", 100)
    with pytest.raises(UnsafeFileError, match="a pickle of"):
        read(pickle.dumps(np.array(["a" * 100], object), 2))


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_pickle_gives_an_array_or_an_error_of_ours(data: st.DataObject) -> None:
    good = bytearray(pickle.dumps(np.array(["a", 1.5, None, "bb"], object), data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptDataError, UnsafeFileError):
        assert isinstance(read(bytes(good)), np.ndarray)
