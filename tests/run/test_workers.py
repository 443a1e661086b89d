from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import deadly
import psutil
import pytest
from zoos import run, varied_zoo

from filterdb.errors import FilterDBError, ModelError, OutputError
from filterdb.run.extraction import staging
from filterdb.run.workforce.supervised import Child
from filterdb.run.workforce.workers import Done, Limits, memory_per_worker, run_supervised, worker_count
from filterdb.testing import conv_model, write_model
from seldom import seldom

LIMITS = Limits(60, 4 << 30)


def outcomes(items: list[str], *, workers: int = 2, limits: Limits = LIMITS) -> dict[str, Done[str, str]]:
    return {d.item: d for d in run_supervised(deadly.behave, items, workers=workers, limits=limits)}


def test_every_input_is_answered_once_whatever_the_number_of_workers() -> None:
    for workers in (1, 3):
        dones = list(run_supervised(deadly.double, range(200), workers=workers, limits=LIMITS))
        assert sorted((d.item, d.result) for d in dones) == [(i, 2 * i) for i in range(200)]


def test_no_input_needs_no_process() -> None:
    assert list(run_supervised(deadly.double, [], workers=2, limits=LIMITS)) == []


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("exit", "exit code 3"),
        ("kill", "signal SIGKILL"),
        ("segfault", "signal SIGSEGV"),
        ("memory", "more memory than a worker may use"),
        ("raise", "KeyError: 'surprise'"),
        ("unpicklable", "exit code 1"),
    ],
)
def test_an_input_that_kills_its_process_costs_only_itself(what: str, reason: str) -> None:
    found = outcomes(["a", what, "b", "c", "d"])
    assert {name: done.result for name, done in found.items() if name != what} == {n: n for n in "abcd"}
    error = found[what].error
    assert error is not None
    assert reason in error.reason


@pytest.mark.parametrize("what", ["hang", "hang with the GIL", seldom("stop")])
def test_an_input_that_hangs_is_ended_and_costs_only_itself(what: str) -> None:
    found = outcomes([what, "a", "b", "c"], limits=Limits(2, 4 << 30))
    assert [found[name].result for name in "abc"] == ["a", "b", "c"]
    assert "more than 2 s" in str(found[what].error)


def test_what_a_library_prints_is_no_result() -> None:
    assert outcomes(["print", "a"])["print"].result == "print"


def test_an_error_that_concerns_the_whole_run_ends_it_and_its_processes() -> None:
    with pytest.raises(OutputError, match="disk is full"):
        outcomes(["a", "disk", *"bcdefg"])
    assert children() == []


def test_a_model_error_that_nobody_caught_ends_the_run_rather_than_vanish() -> None:
    with pytest.raises(ModelError):
        outcomes(["model"])


def test_a_process_that_was_killed_for_no_fault_of_its_input_is_tried_again(tmp_path: Path) -> None:
    flags = [tmp_path / name for name in "abc"]
    dones = list(run_supervised(deadly.exit_once, flags, workers=2, limits=LIMITS))
    assert [d.result for d in dones] == ["survived"] * 3


def test_an_idle_process_that_is_killed_is_replaced() -> None:
    child = Child(deadly.behave, LIMITS)
    assert child.run("a").result == "a"
    os.kill(child.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(child.pid)] if psutil.pid_exists(child.pid) else [], timeout=10)
    while child.usable:
        time.sleep(0.01)
    assert child.run("b").died
    child.stop()


def test_processes_that_cannot_start_are_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vanishing.py").write_text("def function(item):\n    return item\n")
    monkeypatch.syspath_prepend(tmp_path)
    import vanishing

    (tmp_path / "vanishing.py").unlink()
    with pytest.raises(FilterDBError, match="No module named 'vanishing'"):
        list(run_supervised(vanishing.function, [1], workers=1, limits=LIMITS))


def test_processes_use_one_thread_each_and_are_deaf_to_the_terminal() -> None:
    child = Child(deadly.environment, LIMITS)
    assert child.run("OPENBLAS_NUM_THREADS").result == "1"
    assert os.getpgid(child.pid) != os.getpgid(0)
    child.stop()
    assert not psutil.pid_exists(child.pid)


@pytest.mark.parametrize("what", ["hang", "hang with the GIL"])
def test_no_process_outlives_its_parent_whatever_it_is_doing(what: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    # No main guard: a script of a researcher has none either.
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import deadly\n"
        "from filterdb.run.workforce.workers import Limits, run_supervised\n"
        "list(run_supervised(deadly.behave, [sys.argv[2]] * 2, workers=2, limits=Limits(600, 4 << 30)))\n"
    )
    parent = subprocess.Popen([sys.executable, script, str(Path(deadly.__file__).parent), what])
    found = wait_for_children(parent.pid, 2)
    time.sleep(1.5)
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(found, timeout=10)[1] == []


def wait_for_children(pid: int, count: int) -> list[psutil.Process]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = psutil.Process(pid).children(recursive=True)
        if len(found) == count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{count} child processes were expected")


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "child.py" in " ".join(p.cmdline())]


def test_models_that_kill_hang_or_raise_are_rows_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "EXTRACT", deadly.extract_deadly)
    zoo = varied_zoo(tmp_path / "zoo", 4)
    for seed, name in enumerate(("kill", "hang", "memory", "raise", "segfault")):
        write_model(zoo / f"{name}.onnx", conv_model((4, 4, 3, 3), seed=100 + seed))
    report = run(zoo, tmp_path / "d.h5", extract={"timeout": 3})
    models = report.tables.models.set_index("name")
    assert report.statuses == {"ok": 3, "no_filters": 1, "crashed": 5}
    assert "SIGKILL" in models["reason"]["kill"]
    assert "more than 3 s" in models["reason"]["hang"]
    assert "memory" in models["reason"]["memory"]
    assert "KeyError" in models["reason"]["raise"]
    # Their identity is known all the same, so that the next run sees whether they have changed.
    assert models["sha256"].str.len().tolist() == [64] * 9


def test_crashed_models_are_tried_again_when_there_is_other_work_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo, out = varied_zoo(tmp_path / "zoo", 3), tmp_path / "d.h5"
    monkeypatch.setattr(staging, "EXTRACT", deadly.extract_deadly)
    write_model(zoo / "kill.onnx", conv_model((4, 4, 3, 3), seed=100))
    assert run(zoo, out).statuses["crashed"] == 1
    monkeypatch.undo()
    fresh = run(zoo, out)
    assert (fresh.action, fresh.statuses["crashed"]) == ("fresh", 1)
    next(zoo.rglob("model001.onnx")).unlink()
    later = run(zoo, out)
    assert (later.action, later.statuses["crashed"]) == ("extracted", 0)


def test_a_model_that_cannot_even_be_identified_is_tried_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo, out = varied_zoo(tmp_path / "zoo", 2), tmp_path / "d.h5"
    write_model(zoo / "kill.onnx", conv_model((4, 4, 3, 3), seed=100))
    monkeypatch.setattr(staging, "EXTRACT", deadly.open_dead)
    assert run(zoo, out).statuses["crashed"] == 1
    assert run(zoo, out).action == "fresh"
    monkeypatch.undo()
    assert run(zoo, out).statuses["crashed"] == 0


def test_a_worker_that_is_killed_once_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 12)
    run(zoo, tmp_path / "whole.h5")
    monkeypatch.setattr(staging, "EXTRACT", deadly.extract_slowly)
    killed: list[int] = []

    def kill_some() -> None:
        end = time.monotonic() + 60
        while len(killed) < 3 and time.monotonic() < end:
            # A child may end by itself between any two of these lines.
            with contextlib.suppress(psutil.Error):
                fresh = [p for p in children() if p.pid not in killed]
                time.sleep(0.3)
                for process in fresh[:1]:
                    process.kill()
                    killed.append(process.pid)

    killer = threading.Thread(target=kill_some)
    killer.start()
    report = run(zoo, tmp_path / "d.h5")
    killer.join()
    assert killed
    assert report.statuses["crashed"] == 0
    assert (tmp_path / "d.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_workers_are_bounded_by_the_work_and_share_the_memory() -> None:
    assert worker_count("auto", 1) == 1
    assert worker_count(8, 3) == 3
    assert memory_per_worker(123, 2) == 123
    assert 0 < memory_per_worker("auto", 4) * 4 < psutil.virtual_memory().total
