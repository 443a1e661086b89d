from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.config import (
    DEMO,
    RunConfig,
    demo_folder,
    parse_size,
    resolve_metadata,
    resolve_zoo,
)
from filterdb.errors import ConfigError
from filterdb.types import Kernel

ROOT = Path(__file__).parent.parent


def load(text: str | bytes, folder: Path) -> RunConfig:
    path = folder / "given.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return RunConfig.load(path)


def complaint(text: str | bytes, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, folder)
    assert str(folder / "given.yaml") in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path: Path) -> None:
    assert RunConfig.load(path).name


def test_an_empty_file_is_the_defaults_under_the_name_of_the_file(tmp_path: Path) -> None:
    assert load("", tmp_path) == RunConfig(name="given")
    assert load("# only a comment\n", tmp_path) == RunConfig(name="given")


def test_a_full_configuration_is_read(tmp_path: Path) -> None:
    config = load(
        "name: run\nzoo: [a, b]\nmetadata: m.csv\nworkers: 2\nscheduler: tcp://host:8786\nstrict: true\n"
        "extract: {kernel: 5x5, compression: gzip, timeout: 30, memory: 4GiB}\n"
        "analyze: {by: Task, bins: 10}\n",
        tmp_path,
    )
    assert (config.zoo, config.workers, config.strict) == (("a", "b"), 2, True)
    assert (config.extract.kernel, config.extract.memory) == (Kernel(5, 5), 4 << 30)
    assert (config.analyze.by, config.analyze.bins) == (("Task",), 10)


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("zoos: a", "zoos", "zoo"),
        ("extract:\n  kernl: 3x3", "extract.kernl", "kernel"),
        ("extract: {Memory: 3}", "extract.Memory", "memory"),
        ("analyze:\n  bin: 3", "analyze.bin", "bins"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(text: str, key: str, near: str, tmp_path: Path) -> None:
    message = complaint(text, tmp_path)
    assert f"unknown key {key!r}" in message
    assert f"did you mean {near!r}?" in message


def test_an_unknown_key_that_is_near_to_none_lists_all(tmp_path: Path) -> None:
    message = complaint("xyzzy: 1", tmp_path)
    assert "one of name, zoo, metadata, workers" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("workers: many", "workers = 'many'"),
        ("workers: 0", "workers = 0"),
        ("workers: 1.5", "workers = 1.5"),
        ("strict: maybe", "strict = 'maybe'"),
        ("zoo: {a: 1}", "zoo = {'a': 1}"),
        ("zoo: [a, 3]", "zoo = 3"),
        ("metadata: [a]", "metadata = ['a']"),
        ("extract: 3", "extract = 3"),
        ("extract:", "extract = None"),
        ("extract: {kernel: 3}", "extract.kernel = 3"),
        ("extract: {kernel: 3x}", "extract.kernel = '3x'"),
        ("extract: {kernel: 0x0x0}", "extract.kernel = '0x0x0'"),
        ("extract: {compression: lzf}", "extract.compression = 'lzf'"),
        ("extract: {timeout: 0}", "extract.timeout = 0"),
        ("extract: {timeout: .inf}", "extract.timeout = inf"),
        ("extract: {timeout: .nan}", "extract.timeout = nan"),
        ("extract: {memory: lots}", "extract.memory = 'lots'"),
        ("extract: {memory: -1}", "extract.memory = -1"),
        ("extract: {memory: 0}", "extract.memory = 0"),
        ("analyze: {bins: 1}", "analyze.bins = 1"),
        ("analyze: {policy: free}", "analyze.policy = 'free'"),
        ("analyze: {basis: ''}", "analyze.basis = ''"),
        ("name: 3", "name = 3"),
        ("name: ../up", "name = '../up'"),
        ("name: a/b", "name = 'a/b'"),
        ("scheduler: somewhere", "scheduler = 'somewhere'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_key(text: str, what: str, tmp_path: Path) -> None:
    message = complaint(text, tmp_path)
    assert f"{what} cannot be used" in message
    assert "expected:" in message


def test_a_key_of_two_kinds_says_both(tmp_path: Path) -> None:
    message = complaint("workers: 0", tmp_path)
    assert "greater than or equal to 1, or Input should be 'auto'" in message


@pytest.mark.parametrize("text", ["- a\n- b", "just text", "3", "1: 2", "true: 1"])
def test_what_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    assert "holds no mapping" in complaint(text, tmp_path)


@pytest.mark.parametrize(
    "text", ["a: b: c", "a: [", "\t- x", b"\xff\xfe\x00", "!!python/object/apply:os.getcwd []", "[" * 5_000]
)
def test_what_is_no_yaml_is_refused(text: str | bytes, tmp_path: Path) -> None:
    assert "no YAML" in complaint(text, tmp_path)


def test_a_key_that_appears_twice_is_refused(tmp_path: Path) -> None:
    assert "the key 'zoo' appears twice" in complaint("zoo: a\nzoo: b", tmp_path)


def test_a_bomb_of_anchors_stays_small(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for here, before in zip("bcdefghijklmnopqrst", "abcdefghijklmnopqrs", strict=True):
        lines.append(f"{here}: &{here} [{', '.join([f'*{before}'] * 9)}]")
    start = time.monotonic()
    message = complaint("\n".join([*lines, "zoo: *t"]), tmp_path)
    assert len(message) < 10_000
    assert time.monotonic() - start < 20


def test_mappings_that_are_merged_twice_at_every_level_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))]
    start = time.monotonic()
    assert "more than 10,000 keys are merged" in complaint("\n".join(lines), tmp_path)
    assert time.monotonic() - start < 20


def test_mappings_may_be_merged(tmp_path: Path) -> None:
    text = "extract: &e {timeout: 3}\nprobe: {<<: *e}"
    assert load(text, tmp_path).probe.timeout == 3


@pytest.mark.parametrize(
    "text",
    [
        "zoo: {" + ",".join(map(str, range(60_000))) + "}",
        "name: 1" + ":59" * 340_000,
        "name: 0x" + "f" * 20_000,
        "name: 0." + "1:00" * 200_000,
    ],
    ids=["keys", "sixties", "digits", "fractions"],
)
def test_what_takes_the_square_of_its_length_is_no_configuration(text: str, tmp_path: Path) -> None:
    start = time.monotonic()
    assert len(complaint(text, tmp_path)) < 10_000
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("tag", ["timestamp", "int", "bool", "float", "set", "omap"])
def test_a_value_that_does_not_fit_its_tag_is_refused(tag: str, tmp_path: Path) -> None:
    for value in ("x", "''", "2001-99-99"):
        assert re.search("^name = |no YAML", complaint(f"name: !!{tag} {value}", tmp_path))


def test_an_anchor_that_holds_itself_is_refused(tmp_path: Path) -> None:
    assert "cannot be used" in complaint("zoo: &a [*a]", tmp_path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    assert "too large" in complaint("#" * (1 << 20) + "\n", tmp_path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        RunConfig.load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        RunConfig.load(tmp_path)


def test_given_values_replace_those_of_the_file_and_none_does_not() -> None:
    config = RunConfig(zoo=("a",), workers=3).with_values(workers=None, zoo=["b"]).with_extract(kernel="5x5")
    assert (config.zoo, config.workers, config.extract.kernel) == (("b",), 3, Kernel(5, 5))
    assert config.with_analyze(by=("Task",)).analyze.by == ("Task",)


def test_given_values_are_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"extract.kernel = 'big'") as caught:
        RunConfig().with_extract(kernel="big")
    assert caught.value.where == "command line"


def test_relative_paths_stay_relative_to_where_the_command_runs() -> None:
    assert resolve_zoo("models/") == Path("models")
    assert resolve_zoo("~/models") == Path.home() / "models"
    assert resolve_metadata("models.csv") == Path("models.csv")
    assert resolve_metadata(None) is None


def test_the_demo_stands_for_files_of_the_package() -> None:
    assert resolve_zoo(DEMO) == demo_folder() / "zoo"
    assert resolve_metadata(DEMO) == demo_folder() / "models.csv"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5", 5),
        ("5B", 5),
        ("5 b", 5),
        ("5KB", 5_000),
        ("5kib", 5_120),
        ("4GiB", 4 << 30),
        ("4 GiB", 4 << 30),
        (" 4Gi ", 4 << 30),
        ("4G", 4 * 10**9),
        ("1.5 GB", 1_500_000_000),
        ("1 TB", 10**12),
        ("0.1MB", 100_000),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "GiB",
        "1e9",
        "-1GB",
        "+1",
        "4iB",
        "4 GiBB",
        "4 XB",
        "1,5GB",
        "nan",
        "inf",
        "0x10",
        "4 G B",
        "1_000",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is written like 4GiB or 500MB"):
        parse_size(text)


@given(number=st.integers(0, 10**12), unit=st.sampled_from(["", "KB", "MiB", "GiB", "TiB"]))
def test_sizes_are_exact_and_never_floats(number: int, unit: str) -> None:
    factor = {"": 1, "KB": 1000, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]
    assert parse_size(f"{number}{unit}") == number * factor
