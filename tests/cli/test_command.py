from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import filterdb as package
from filterdb import cli
from filterdb.testing import conv_net, write_model
from in_process import call


def filterdb(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    if not environment:
        return call(*arguments, cwd=cwd)
    command = [sys.executable, "-m", "filterdb", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def commands() -> list[str]:
    done = filterdb("--help", cwd=Path.cwd())
    return re.findall(r"^  ([a-z]+) ", done.stdout.partition("Commands:")[2], re.MULTILINE)


def test_extract_analyze_info_and_verify_work_from_the_shell(small_zoo: Path, tmp_path: Path) -> None:
    metadata = small_zoo / "models.csv"
    made = filterdb("extract", small_zoo, "--metadata", metadata, "--out", "d.h5", "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["filters"] == 456
    analyzed = filterdb("analyze", "d.h5", "--out", "results", "--by", "Task", cwd=tmp_path)
    assert analyzed.returncode == 0, analyzed.stderr
    assert "Classification - Segmentation" in analyzed.stdout
    assert "456" in filterdb("info", "d.h5", cwd=tmp_path).stdout
    assert "every hash and invariant holds" in filterdb("verify", "d.h5", cwd=tmp_path).stdout


def test_the_module_and_the_script_are_one_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("filterdb")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == filterdb("--version", cwd=tmp_path).stdout == f"{package.__version__}\n"
    old = subprocess.run([sys.executable, "-m", "filterdb.cli", "--version"], capture_output=True, timeout=60)
    assert old.returncode == 0


def test_the_help_of_every_command_shows_an_example(tmp_path: Path) -> None:
    assert "Example: filterdb" in filterdb("--help", cwd=tmp_path).stdout
    found = commands()
    assert {"extract", "analyze", "info", "verify"} <= set(found)
    for command in found:
        shown = filterdb(command, "--help", cwd=tmp_path)
        assert shown.returncode == 0
        assert f"Example: filterdb {command}" in " ".join(shown.stdout.split()), command


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", "--nonsense"],
        ["nonsense"],
        ["extract", ".", "--out", "d.h5", "--workers", "0"],
        ["extract", ".", "--out", "d.h5", "--workers", "many"],
        ["extract", ".", "--out", "d.h5", "--kernel", "3 by 3"],
        ["extract", ".", "--out", "d.h5", "--compression", "zip"],
        ["extract", "."],
        ["extract", "--out", "d.h5"],
        ["extract", "nowhere", "--out", "d.h5"],
        ["extract", ".", "--out", "d.h5", "--metadata", "nowhere.csv"],
        ["extract", "--config", "nowhere.yaml"],
        ["extract", ".", "--out", "d.h5"],
        ["info"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_and_a_message(arguments: list[str], tmp_path: Path) -> None:
    done = filterdb(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["info", "d.h5"], ["verify", "d.h5"], ["analyze", "d.h5"]])
def test_a_file_that_cannot_be_used_is_exit_code_1_and_named(arguments: list[str], tmp_path: Path) -> None:
    options = ["--out", "results"] if arguments[0] == "analyze" else []
    for content in (None, b"no HDF5", b"\x89HDF\r\n\x1a\n"):
        if content is not None:
            (tmp_path / "d.h5").write_bytes(content)
        done = filterdb(*arguments, *options, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "d.h5" in done.stderr
        assert "Traceback" not in done.stderr


def test_nothing_usable_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    result = filterdb("extract", ".", "--out", "d.h5", cwd=tmp_path)
    assert result.returncode == 1
    assert "nothing was written" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.onnx"]


def test_a_failed_model_is_listed_and_only_fatal_when_strict(small_zoo: Path, tmp_path: Path) -> None:
    (small_zoo / "broken.onnx").write_bytes(b"not a model")
    done = filterdb("extract", small_zoo, "--out", "d.h5", cwd=tmp_path)
    assert done.returncode == 0
    assert "failed: broken.onnx: " in done.stdout
    (tmp_path / "d.h5").unlink()
    strict = filterdb("extract", small_zoo, "--out", "d.h5", "--strict", cwd=tmp_path)
    assert strict.returncode == 1
    assert (tmp_path / "d.h5").exists()
    assert filterdb("extract", small_zoo, "--out", "d.h5", "--strict", cwd=tmp_path).returncode == 1
    assert filterdb("extract", small_zoo, "--out", "d.h5", cwd=tmp_path).stdout.startswith("d.h5 is fresh")


def test_a_reader_who_stops_early_hears_no_complaint(small_zoo: Path, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "filterdb", "extract", str(small_zoo), "--out", str(tmp_path / "d.h5")]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "d.h5").exists()


def test_names_beyond_the_terminal_s_alphabet_are_shown_escaped(tmp_path: Path) -> None:
    write_model(tmp_path / "zoo" / "été.onnx", conv_net([(2, 2, 3, 3)]))
    (tmp_path / "zoo" / "été.csv").write_text("Name\nété\nabsent-é\n", "utf-8")
    arguments = ("extract", "zoo", "--metadata", "zoo/été.csv", "--out", "d.h5")
    done = filterdb(*arguments, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert r"absent-\xe9" in done.stdout


def test_a_module_of_the_current_folder_shadows_nothing_in_workers(small_zoo: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("filterdb")
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    done = subprocess.run(
        [script, "extract", str(small_zoo), "--out", "d.h5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_many_failures_are_shown_as_far_as_a_person_reads(small_zoo: Path, tmp_path: Path) -> None:
    for place in range(30):
        (small_zoo / f"broken{place:02d}.onnx").write_bytes(b"")
    done = filterdb("extract", small_zoo, "--out", "d.h5", cwd=tmp_path)
    assert done.stdout.count("  failed: broken") == 20
    assert "  failed: and 10 more" in done.stdout


def test_what_a_terminal_would_obey_is_shown_and_not_sent(tmp_path: Path) -> None:
    write_model(tmp_path / "zoo" / "red\x1b[31m\nname.onnx", conv_net([(2, 2, 3, 3)]))
    (tmp_path / "zoo" / "models.csv").write_text("Name\nother\n")
    done = filterdb("extract", "zoo", "--metadata", "zoo/models.csv", "--out", "d.h5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert r"red\x1b[31m\nname" in done.stdout
    refused = filterdb("info", "no\x1b[31mfile", cwd=tmp_path)
    assert "\x1b" not in refused.stderr


def test_a_misspelt_text_in_a_condition_is_one_line_on_standard_error(
    small_zoo: Path, tmp_path: Path
) -> None:
    metadata = small_zoo / "models.csv"
    assert (
        filterdb("extract", small_zoo, "--metadata", metadata, "--out", "d.h5", cwd=tmp_path).returncode == 0
    )
    where = "Task in ('Segmentation', 'Clasification')"
    done = filterdb("subset", "d.h5", "--where", where, "--out", "s.h5", cwd=tmp_path, PYTHONWARNINGS="")
    assert done.returncode == 0
    said = "filterdb: warning: no record has 'Clasification' in Task; did you mean 'Classification'?\n"
    assert done.stderr == said


def test_a_lack_of_memory_is_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def take_all(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(cli, "app", take_all)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.gc, "set_threshold", lambda *_: None)
    monkeypatch.setattr(cli.atexit, "register", lambda *_: None)
    monkeypatch.setattr(cli.warnings, "formatwarning", cli.warnings.formatwarning)
    with pytest.raises(SystemExit) as left:
        cli.main([])
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("filterdb: there is not enough memory\n  try: ")
