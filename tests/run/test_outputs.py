"""Places that cannot be written to, disks that are full, and two runs on one output."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from zoos import command, run, varied_zoo

from filterdb.errors import OutputError
from filterdb.run import files
from seldom import seldom


def start_limited(zoo: Path, out: Path, *, file_size: int) -> subprocess.CompletedProcess[str]:
    """Run the command in a world where no file may grow beyond a size."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    return subprocess.run(command(zoo, out), capture_output=True, text=True, timeout=200, preexec_fn=limit)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small disk needs rights that this user has not")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount_again(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A zoo of twelve models, and the data set that becomes of it."""
    folder = tmp_path_factory.mktemp("twelve")
    zoo = varied_zoo(folder / "zoo", 12)
    run(zoo, folder / "whole.h5")
    return zoo, (folder / "whole.h5").read_bytes()


@pytest.mark.parametrize(
    "size",
    [2_000, seldom(100_000), seldom(700_000)],
)
def test_a_file_that_may_not_grow_is_a_message_and_the_run_can_be_resumed(
    size: int, twelve: tuple[Path, bytes], tmp_path: Path
) -> None:
    (zoo, whole), out = twelve, tmp_path / "d.h5"
    done = start_limited(zoo, out, file_size=size)
    assert done.returncode == 1
    assert done.stderr.startswith("filterdb: ")
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr
    assert not out.exists()
    assert not list(tmp_path.rglob("*.tmp"))
    assert run(zoo, out).action == "extracted"
    assert out.read_bytes() == whole


@pytest.mark.parametrize("share", [*(seldom(share) for share in (0.02, 0.2, 0.95)), 0.6])
def test_a_full_disk_is_a_message_and_the_run_can_be_resumed(
    share: float, twelve: tuple[Path, bytes], tmp_path: Path
) -> None:
    zoo, whole = twelve
    size = max(16_384, int(len(whole) * share))
    with mounted(tmp_path / "disk", f"size={size}") as disk:
        out = disk / "d.h5"
        done = subprocess.run(command(zoo, out), capture_output=True, text=True, timeout=200)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "free some space" in done.stderr
        assert len(done.stderr.splitlines()) == 3, done.stderr
        # Of the two files that a run writes, the small one may be what the disk has no room for.
        assert not out.exists() or out.read_bytes() == whole
        assert [path for path in disk.rglob("*.tmp") if path.stat().st_blocks] == []
        mount_again(disk, "size=64m")
        assert run(zoo, out).action == "extracted"
        assert out.read_bytes() == whole


def test_an_old_file_survives_a_full_disk(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 8)
    with mounted(tmp_path / "disk", "size=64m") as disk:
        out = disk / "d.h5"
        run(zoo, out)
        before = out.read_bytes()
        varied_zoo(zoo, 24)
        used = sum(path.stat().st_size for path in disk.iterdir())
        mount_again(disk, f"size={used + 300_000}")
        with pytest.raises(OutputError, match="free"):
            run(zoo, out)
        assert out.read_bytes() == before


def test_a_read_only_disk_is_a_message(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 2)
    with mounted(tmp_path / "disk", "size=1m,ro") as disk, pytest.raises(OutputError, match="Read-only"):
        run(zoo, disk / "d.h5")


def test_a_path_below_a_file_is_a_message(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 2)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "d.h5", tmp_path / "file" / "deeper" / "d.h5"):
        with pytest.raises(OutputError, match="cannot write here"):
            run(zoo, out)


def test_an_output_that_is_a_folder_is_a_message(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 2)
    with pytest.raises(OutputError, match="this is a folder"):
        run(zoo, tmp_path)
    assert not tmp_path.with_name(f"{tmp_path.name}.staging").exists()


def test_a_folder_that_this_user_may_not_write_to_is_a_message(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("permission bits do not bind root")
    zoo, folder = varied_zoo(tmp_path / "zoo", 2), tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot write here"):
        run(zoo, folder / "d.h5")


def test_a_second_run_on_one_output_fails_at_once_and_disturbs_nobody(tmp_path: Path) -> None:
    zoo, out = varied_zoo(tmp_path / "zoo", 8, large=8), tmp_path / "d.h5"
    run(zoo, tmp_path / "whole.h5")
    first = subprocess.Popen(command(zoo, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "d.h5.staging" / "known.json").exists():
        assert first.poll() is None
    second = subprocess.run(command(zoo, out), capture_output=True, text=True, timeout=100)
    held = first.poll() is None
    _, stderr = first.communicate(timeout=200)
    assert (first.returncode, stderr) == (0, "")
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    if held:
        assert second.returncode == 1
        assert f"another run is writing {out}" in second.stderr


def test_a_held_folder_is_refused_and_a_released_one_is_not(tmp_path: Path) -> None:
    with (
        files.exclusive_folder(tmp_path / "s", purpose="the file"),
        pytest.raises(OutputError, match="another run is writing the file"),
        files.exclusive_folder(tmp_path / "s", purpose="the file"),
    ):
        pass
    with files.exclusive_folder(tmp_path / "s", purpose="d.h5") as folder:
        files.discard(folder)
    assert not (tmp_path / "s").exists()


def test_a_working_folder_that_holds_something_of_somebody_else_is_refused(tmp_path: Path) -> None:
    zoo, staging = varied_zoo(tmp_path / "zoo", 2), tmp_path / "d.h5.staging"
    staging.mkdir()
    (staging / "thesis.txt").write_text("the only copy")
    with pytest.raises(OutputError, match=r"holds what filterdb has not written: 'thesis\.txt'"):
        run(zoo, tmp_path / "d.h5")
    assert (staging / "thesis.txt").read_text() == "the only copy"
    assert not (tmp_path / "d.h5").exists()


def test_a_run_that_ends_early_leaves_a_folder_only_where_there_is_something_in_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.exclusive_folder(tmp_path / "s", purpose="d.h5"):
        raise KeyboardInterrupt
    assert not (tmp_path / "s").exists()
    with files.exclusive_folder(tmp_path / "s", purpose="d.h5") as folder:
        (folder / "work").write_text("mine")
    assert (tmp_path / "s" / "work").read_text() == "mine"


def test_a_folder_that_another_run_has_made_since_is_left_to_it(tmp_path: Path) -> None:
    with files.exclusive_folder(tmp_path / "s", purpose="d.h5") as folder:
        files.discard(folder)
        folder.mkdir()
        (folder / files.LOCK).write_text("")
    assert (tmp_path / "s" / files.LOCK).exists()


def test_runs_that_hand_a_folder_over_never_hold_it_together(tmp_path: Path) -> None:
    holders, most, errors = [0], [0], []

    def work() -> None:
        for _ in range(100):
            try:
                with files.exclusive_folder(tmp_path / "s", purpose="d.h5") as folder:
                    holders[0] += 1
                    most[0] = max(most[0], holders[0])
                    (folder / "work").write_text("mine")
                    assert (folder / "work").read_text() == "mine"
                    holders[0] -= 1
                    files.discard(folder)
            except OutputError as error:
                if "another run" not in error.what:
                    errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, errors) == ([1], [])


def test_a_file_system_without_locks_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OutputError, match="cannot lock"), files.exclusive_folder(tmp_path, purpose="d.h5"):
        pass


def test_space_is_checked_before_the_file_is_written(tmp_path: Path) -> None:
    files.require_space(tmp_path / "file", 1)
    with pytest.raises(OutputError, match="are needed"):
        files.require_space(tmp_path / "file", 1 << 60)


def test_what_hdf5_says_of_a_full_disk_is_understood_and_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), files.writing(tmp_path):
        raise RuntimeError(
            "Can't decrement id ref count (file write failed: errno = 28, error message = ...)"
        )
    with pytest.raises(RuntimeError, match="a bug"), files.writing(tmp_path):
        raise RuntimeError("a bug")


def test_json_is_written_in_one_step_and_read_with_distrust(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1})
    assert files.read_json(path) == {"b": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    path.write_text("[1]")
    assert files.read_json(path) == files.read_json(tmp_path / "none") == {}
    assert sys.getfilesystemencoding() == "utf-8"


def test_a_file_appears_when_it_is_complete_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("old")
    with contextlib.suppress(KeyError), files.appearing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("lock", "old")]
    with files.appearing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("lock", "new")]


def test_what_a_killed_writer_left_is_in_nobody_s_way_and_two_writers_are(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    left = tmp_path / ".page.html.staging"
    left.mkdir()
    (left / "new.html").write_text("half of an older page, and longer than the new one")
    with files.appearing(path) as temporary:
        with pytest.raises(OutputError, match="another run"), files.appearing(path):
            pass
        temporary.write_text("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("page.html", "new")]
