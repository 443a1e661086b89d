"""Files that anybody may have made are opened without waiting, or refused with one of two kinds of errors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from damaged_arrays import HEADERS, npy
from filterdb.opening import map_array, open_regular


def test_a_file_and_a_link_to_one_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"text"


def test_pipes_folders_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/dev/fd").iterdir()))
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(path)
        with pytest.raises(OSError, match="no regular file"):
            map_array(path)
    assert len(list(Path("/dev/fd").iterdir())) == before
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")


def test_an_array_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    array = map_array(tmp_path / "a.npy")
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert isinstance(array.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_what_numpy_raises_on_a_header_is_a_value_error(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(header))
    with pytest.raises(ValueError):
        map_array(tmp_path / "a.npy")


def test_an_archive_is_no_array(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(ValueError, match="magic"):
        map_array(tmp_path / "a.npy")
