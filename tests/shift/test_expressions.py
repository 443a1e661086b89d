from __future__ import annotations

import ast
import math
import operator
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.errors import ColumnError, UnseenValueWarning, UsageError
from filterdb.schema import INDEX
from filterdb.shift import evaluate, expressions

# Tables of a few records lack most values that are asked for.
pytestmark = pytest.mark.filterwarnings("ignore::filterdb.errors.UnseenValueWarning")

NAN = float("nan")


def frame() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "Task": pd.Series(["Detection", "Classification", None, "Detection"], dtype="str"),
            "Visual Category": pd.Series(["face", "it`s", "natural", None], dtype="str"),
            "Training-Dataset": pd.Series(["a", "b", "c", "d"], dtype="str"),
            "(3, 3) filters": [10, 20, 30, 40],
            "sparsity": [0.1, NAN, 0.3, 0.4],
            "op_set": [11, 12, 13, 11],
            "depthwise": [True, False, False, True],
            "class": [1, 2, 3, 4],
            "nothing": pd.Series([None] * 4, dtype=object),
        }
    )
    index = [(0, 0, 0.0, 0), (0, 1, 1.0, 1), (1, 0, 0.0, 0), (1, 3, 1.0, 1)]
    table.index = pd.MultiIndex.from_tuples(index, names=INDEX)
    return table


def listed(text: str, table: pd.DataFrame | None = None) -> list[Any]:
    result = evaluate(text, frame() if table is None else table)
    return [None if pd.isna(value) else value for value in result]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("op_set == 11", [True, False, False, True]),
        ("11 < op_set <= 13", [False, True, True, False]),
        ("op_set in (11, 13)", [True, False, True, True]),
        ("op_set not in [11]", [False, True, True, False]),
        ("op_set in (-11, 12,)", [False, True, False, False]),
        ("op_set in ()", [False] * 4),
        ("depthwise", [True, False, False, True]),
        ("not depthwise", [False, True, True, False]),
        ("~depthwise | (op_set == 11)", [True, True, True, True]),
        ("depthwise == 1", [True, False, False, True]),
        ("depthwise in (True,)", [True, False, False, True]),
        ("depthwise + 1", [2, 1, 1, 2]),
        ("-op_set + 2 * 3 ** 2", [7, 6, 5, 7]),
        ("op_set // 2 - op_set % 2", [4, 6, 5, 4]),
        ("op_set / 2", [5.5, 6, 6.5, 5.5]),
        ("model_id == 1 and conv_depth > 0", [False, False, False, True]),
        ("conv_depth_norm + layer_id", [0, 2, 0, 2]),
        ("`(3, 3) filters` >= 30", [False, False, True, True]),
        ("`Training-Dataset` < 'c'", [True, True, False, False]),
        ("`class` == 2", [False, True, False, False]),
        ("`class`==2or`class`==3", [False, True, True, False]),
        ("Task", ["Detection", "Classification", None, "Detection"]),
        ("op_set ==\n  11", [True, False, False, True]),
        ("\u00a0op_set == 11\t", [True, False, False, True]),
    ],
)
def test_an_expression_means_what_it_says(text: str, expected: list[Any]) -> None:
    assert listed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sparsity > 0.2", [False, None, True, True]),
        ("sparsity != sparsity", [False, None, False, False]),
        ("not sparsity > 0.2", [True, None, False, False]),
        ("sparsity > 0.2 and op_set == 13", [False, False, True, False]),
        ("sparsity > 0.2 or op_set == 12", [False, True, True, True]),
        ("sparsity > 0.2 or op_set == 13", [False, None, True, True]),
        ("0 < sparsity < 0.35", [True, None, True, False]),
        ("Task == 'Detection'", [True, False, None, True]),
        ("Task != 'Detection'", [False, True, None, False]),
        ("Task in ('Detection', 'x')", [True, False, None, True]),
        ("Task not in ('Detection', 'x')", [False, True, None, False]),
        ("sparsity * 10 > 2", [False, None, True, True]),
        ("1 / model_id", [None, None, 1, 1]),
        ("model_id % 0 == 0", [None] * 4),
        ("nothing == 'a'", [None] * 4),
    ],
)
def test_a_comparison_with_what_is_missing_is_missing(text: str, expected: list[Any]) -> None:
    assert listed(text) == expected


def test_a_backtick_within_text_is_text() -> None:
    assert listed("`Visual Category` == 'it`s'") == [False, True, False, None]
    assert listed("`Visual Category` in ('`Visual Category`', \"it`s\")") == [False, True, False, None]
    assert listed(r"`Visual Category` != 'it\'`s`'") == [True, True, True, None]


def test_a_name_like_the_parsers_own_does_not_clash() -> None:
    table = pd.DataFrame({"column_0_": [1, 2], "column__0_": [3, 4], "odd one": [5, 6], "column_1_": [7, 8]})
    assert listed("column_0_ + column__0_ + `odd one` + `column_1_`", table) == [16, 20]
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in "column_0_")
    assert listed(f"{wide} + `odd one`", table) == [6, 8]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="Float64"),
        pd.Series([1, None, 3], dtype=object),
        pd.Series([1, None, 3.0], dtype="category"),
        pd.Series([1, math.inf, 3]),
        pd.Series([1, None, 3], dtype="float32"),
    ],
)
def test_numbers_of_every_dtype_are_numbers(values: pd.Series[Any]) -> None:
    assert listed("x >= 2", pd.DataFrame({"x": values})) == [False, None, True]


@pytest.mark.parametrize("dtype", ["boolean", object])
def test_truth_values_of_every_dtype_are_truth_values(dtype: Any) -> None:
    table = pd.DataFrame({"x": pd.Series([True, None, False], dtype=dtype)})
    assert listed("not x", table) == [False, None, True]


def test_the_result_has_the_index_of_the_frame_and_leaves_the_frame_alone() -> None:
    table = frame()
    before = table.copy(deep=True)
    for text, dtype in (("op_set > 11", "boolean"), ("sparsity", "float64"), ("Task", "str")):
        result = evaluate(text, table)
        assert result.index.equals(table.index)
        assert str(result.dtype) == dtype
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparsty > 1", "did you mean 'sparsity'"),
        ("Training-Dataset == 'a'", "backticks: `Training-Dataset`"),
        ("Visual Category == 'a'", "write `Visual Category` in backticks"),
        ("Task < 3", "Task is text, and 3 is a number"),
        ("`Visual Category` == 3", "`Visual Category` is text, and 3 is a number"),
        ("op_set in (11, '12')", "op_set is a number, and '12' is text"),
        ("Task + 1", "Task is text, but Task + 1 needs a number"),
        ("'a' * 3 == Task", "'a' is text"),
        ("op_set and depthwise", "op_set is a number"),
        ("op_set > 11 & op_set < 13", "parentheses"),
        ("Task == None", "form no group anyway"),
        ("len(Task)", "a call is not allowed: len(Task)"),
        ("`Visual Category`.str", "an attribute is not allowed"),
    ],
)
def test_a_message_names_the_piece_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(text, frame(), where="--where")
    assert message in str(caught.value)
    assert "in: --where" in str(caught.value)


def test_a_column_of_dates_or_one_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ColumnError, match="datetime64"):
        evaluate("x == 1", pd.DataFrame({"x": pd.to_datetime(["2020-01-01"])}))
    with pytest.raises(ColumnError, match="2 columns 'x'"):
        evaluate("x == 1", pd.DataFrame([[1, 2]], columns=["x", "x"]))


HOSTILE = [
    "__import__('os').system('touch {marker}')",
    "@__import__('os').system('touch {marker}')",
    "@pd.io.common.os.system('touch {marker}')",
    "@open('{marker}', 'w')",
    "open('{marker}', 'w')",
    "op_set == open('{marker}', 'w')",
    "op_set in open('{marker}', 'w')",
    "op_set in (open('{marker}', 'w'), 1)",
    "op_set in [open('{marker}', 'w')]",
    'eval(\'open("{marker}", "w")\')',
    'exec(\'open("{marker}", "w")\')',
    "(lambda: open('{marker}', 'w'))()",
    "[open('{marker}', 'w') for x in (1,)]",
    "{{open('{marker}', 'w') for x in (1,)}}",
    "{{1: open('{marker}', 'w')}}",
    "(open('{marker}', 'w') for x in (1,))",
    'f\'{{open("{marker}", "w")}}\' == Task',
    "f'`Task`' == Task",
    "(x := open('{marker}', 'w'))",
    "(op_set := 3) == 3",
    "op_set[open('{marker}', 'w')]",
    "op_set if open('{marker}', 'w') else 1",
    "op_set; open('{marker}', 'w')",
    "op_set\nopen('{marker}', 'w')",
    "op_set) or (open('{marker}', 'w')",
    "import os",
    "op_set = 1",
    "op_set.__class__",
    "().__class__.__bases__[0].__subclasses__()",
    "__class__ == 1",
    "__builtins__",
    "Task.str.len()",
    "Task[0]",
    "op_set @ op_set",
    "op_set ^ 1",
    "op_set << 60",
    "op_set >> 1",
    "op_set is 1",
    "op_set is not 1",
    "+op_set",
    "*op_set",
    "op_set in (*Task,)",
    "op_set in {{11, 12}}",
    "op_set in Task",
    "Task in 'Detection'",
    "op_set in (1, (2, 3))",
    "op_set in (model_id,)",
    "op_set in (1, 1 + 1)",
    "op_set in (1, not 1)",
    "op_set in (11, 12) < 3",
    "op_set in (11, 12) in (3, 4)",
    "(11, 12) == op_set",
    "[11] < op_set",
    "b'a' == Task",
    "... == op_set",
    "None",
    "1j < op_set",
    "op_set < 1e999",
    "op_set < 99999999999999999999",
    "op_set < 0x" + "f" * 9_000,
    "op_set < " + "9" * 9_000,
    "10 ** 10 ** 10 > op_set",
    "op_set ** 10 ** 10",
    "op_set ** op_set",
    "op_set ** 65",
    "(9 ** 64) ** 64 > op_set",
    "1 / 0 > op_set",
    "'a' * 1000000000 == Task",
    "Task * 3",
    "-Task",
    "~op_set",
    "not op_set",
    "1 < 2",
    "1",
    "'a'",
    "True",
    "",
    " ",
    "\x00",
    "op_set\x00 == 1",
    "\ud800",
    "op_set == '\ud800' + 1",
    "# comment",
    "op_set # `comment",
    "op_set == \\\n 11",
    "'''`Task`''' == Task",
    'Task == """a"""',
    "`Task",
    "``",
    "`Task` `Task`",
    "`__class__`",
    "x`Task`",
    "`Task`('a')",
    "yield op_set",
    "(yield)",
    "await op_set",
    "lambda: 1",
    "(" * 300 + "op_set" + ")" * 300,
    "(" * 150 + "op_set" + ") + 1" * 150,
    "-" * 5_000 + "op_set",
    "not " * 2_400 + "depthwise",
    "op_set" + " + 1" * 2_000,
    "op_set == 1" + " or op_set == 1" * 650,
    "op_set in (" + "1," * 3_100 + ")",
    "op_set ==" + " " * 10_000 + "1",
]


@pytest.mark.parametrize("template", HOSTILE, ids=lambda text: text[:30].encode("unicode_escape").decode())
def test_a_hostile_expression_is_refused_and_not_run(template: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = template.replace("{marker}", str(marker)).replace("{{", "{").replace("}}", "}")
    before = time.perf_counter()
    with pytest.raises(UsageError) as caught:
        evaluate(text, frame(), where="--by")
    assert not marker.exists()
    assert len(str(caught.value)) < 1_500
    assert time.perf_counter() - before < 5


def test_nested_chains_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    column = expressions.column
    monkeypatch.setattr(
        expressions, "column", lambda table, name, **rest: seen.append(name) or column(table, name, **rest)
    )
    text = "op_set"
    for _ in range(25):
        text = f"(0 <= {text} <= 99)"
    assert listed(text) == [True] * 4
    assert seen == ["op_set"]


def test_a_list_of_hundreds_of_names_is_no_attack() -> None:
    names = ", ".join(repr(f"model {i}") for i in range(600))
    assert listed(f"Task in ({names}, 'Detection')") == [True, False, None, True]


# The same expressions, one record at a time in plain Python, with None for what is missing.

BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.GtE: operator.ge, ast.Gt: operator.gt,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip


def kleene(values: list[bool | None], every: bool) -> bool | None:
    if (not every) in values:
        return not every
    return None if None in values else every


def applied(operation: ast.AST, a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    try:
        return BINARY[type(operation)](a, b)
    except ZeroDivisionError:
        return None


def by_hand(node: ast.AST, row: dict[str, Any]) -> Any:
    match node:
        case ast.Name():
            return row[node.id]
        case ast.Constant():
            return node.value
        case ast.Tuple():
            return tuple(by_hand(entry, row) for entry in node.elts)
        case ast.BoolOp():
            return kleene([by_hand(value, row) for value in node.values], isinstance(node.op, ast.And))
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            sides = [by_hand(node.left, row), by_hand(node.right, row)]
            return kleene(sides, isinstance(node.op, ast.BitAnd))
        case ast.BinOp():
            return applied(node.op, by_hand(node.left, row), by_hand(node.right, row))
        case ast.UnaryOp():
            value = by_hand(node.operand, row)
            if value is None:
                return None
            return -value if isinstance(node.op, ast.USub) else not value
        case ast.Compare():
            sides = [by_hand(side, row) for side in (node.left, *node.comparators)]
            links = [applied(op, a, b) for op, a, b in zip(node.ops, sides, sides[1:], strict=False)]
            return kleene(links, True)
    raise AssertionError(node)


QUARTERS = st.integers(-12, 12).map(lambda n: n / 4)
TEXTS = st.sampled_from(["a", "b", "B", "", "ä", "a b"])


def numbers() -> st.SearchStrategy[str]:
    signs = st.sampled_from(["+", "-", "*", "/", "//", "%"])
    leaf = (
        st.sampled_from(["x", "y", "n"])
        | st.integers(0, 5).map(str)
        | QUARTERS.filter(lambda q: q >= 0).map(str)
    )
    return st.recursive(
        leaf,
        lambda inner: st.builds("({} {} {})".format, inner, signs, inner)
        | st.builds("(-{})".format, inner),
        max_leaves=3,
    )  # fmt: skip


def truths() -> st.SearchStrategy[str]:
    compare = st.sampled_from(["<", "<=", "==", "!=", ">=", ">"])
    text = st.just("t") | st.just("u") | TEXTS.map(repr)
    leaf = (
        st.just("f")
        | st.builds("({} {} {})".format, numbers(), compare, numbers())
        | st.builds("({} {} {} {} {})".format, numbers(), compare, numbers(), compare, numbers())
        | st.builds("({} {} {})".format, text, compare, text)
        | st.builds(
            "(t {} {})".format, st.sampled_from(["in", "not in"]), st.lists(TEXTS).map(tuple).map(repr)
        )
        | st.builds(
            "(x {} {})".format, st.sampled_from(["in", "not in"]), st.lists(QUARTERS).map(tuple).map(repr)
        )
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "&", "|"]), inner)
            | st.builds("({} {})".format, st.sampled_from(["not", "~"]), inner)
        ),
        max_leaves=5,
    )


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.none() | QUARTERS,
            "y": st.none() | QUARTERS,
            "n": st.integers(-5, 5),
            "t": st.none() | TEXTS,
            "u": TEXTS,
            "f": st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(rows=ROWS, text=truths() | numbers())
@settings(max_examples=250)
def test_expressions_agree_with_python_one_record_at_a_time(rows: list[dict[str, Any]], text: str) -> None:
    table = pd.DataFrame(rows).astype({"x": "float64", "y": "float64", "t": "str", "u": "str"})
    try:
        result = listed(text, table)
    except UsageError as error:
        # Constants alone are refused, be they whole or a part that is no number.
        assert "names no column" in error.what or "finite number" in error.what  # noqa: PT017
        return
    body = ast.parse(text, mode="eval").body
    expected = [by_hand(body, row) for row in rows]
    assert [value is None for value in result] == [value is None for value in expected]
    for got, value in zip(result, expected, strict=True):
        assert got is None or got == pytest.approx(value, rel=1e-12)


WORDS = (
    "== ** // := -> op_set Task sparsity depthwise model_id and or not in is if else for lambda "
    "None True False ... 1 0 2.5 1e9 1e999 0x1f 1_0 'a' \"b`\" b'x' f'{1}' r'\\' __import__('os') "
    "__class__ ﬁ ä \ud800 1j await yield match"
)
TOKENS = st.sampled_from(
    [*"()[]{}<>=!&|~+-*/%^@.,:;#`'\"\\ \n\0", "`Visual Category`", "'" * 3, *WORDS.split()]
)


@given(
    text=st.lists(TOKENS, max_size=12).map("".join) | st.lists(TOKENS, max_size=12).map(" ".join) | st.text()
)
@settings(max_examples=1000)
def test_random_tokens_give_a_series_or_an_error_of_ours(text: str) -> None:
    try:
        result = evaluate(text, frame())
    except UsageError:
        return
    assert isinstance(result, pd.Series)
    assert len(result) == 4


@pytest.mark.parametrize("module", ["expressions", "parsing", "columns"])
def test_nothing_here_can_run_code(module: str) -> None:
    source = Path(expressions.__file__).with_stem(module).read_text(encoding="utf-8")
    called = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = {func.id if isinstance(func, ast.Name) else getattr(func, "attr", "") for func in called}
    assert names
    assert not names & {"eval", "exec", "query", "getattr", "__import__"}


def test_a_large_frame_is_quick() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.random(100_000), "t": rng.choice(["a", "b"], 100_000)}).astype(
        {"t": "str"}
    )
    before = time.perf_counter()
    result = evaluate("(x > 0.5) & (t == 'a') or t in ('c', 'b')", table)
    assert time.perf_counter() - before < 5
    assert result.sum() == np.count_nonzero((table["x"] > 0.5) | (table["t"] == "b"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Task == 'Detektion'", "no record has 'Detektion' in Task; did you mean 'Detection'?"),
        ("'x' != `Visual Category`", "no record has 'x' in `Visual Category`"),
        ("op_set > 3 and not Task in ('Detection', 'GAN')", "no record has 'GAN' in Task"),
        ("Task == '\x1b[31m'", r"no record has '\x1b[31m' in Task"),
    ],
)
def test_a_text_that_no_record_has_is_warned_of(text: str, said: str) -> None:
    with pytest.warns(UnseenValueWarning) as caught:
        evaluate(text, frame())
    assert [str(warning.message) for warning in caught] == [said]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "text",
    [
        "Task in ('Detection', 'Classification')",
        "Task < 'A'",
        "op_set == 99",
        "nothing == 'x'",
        "Task == Task",
    ],
)
def test_what_is_there_or_no_text_is_not_warned_of(text: str) -> None:
    evaluate(text, frame())
