"""Expressions over the columns of a table of records, such as ``sparsity > 0.2 and Task == 'Detection'``.

They come from command lines and from configurations that people pass on, so nothing in them is executed:
they are parsed, and the few kinds of nodes that are listed here are computed with numpy; all others are
refused. A value that is missing, or that is no finite number, makes a comparison missing too: it is not
False. ``and``, ``or`` and ``not`` follow Kleene's logic, where ``missing and False`` is False.

A text that no record has is compared all the same, and warned of: it is most often misspelt.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import ColumnError, UnseenValueWarning, UsageError, nearest, printable
from filterdb.shift.columns import Values, column, column_names, plain_values, shortened
from filterdb.shift.parsing import ALLOWED, Parsed, parse

MAX_EXPONENT: Final = 64
MAX_INTEGER: Final = 1 << 53
"""Numbers are computed in float64, which holds every integer up to here."""

_OPERATORS: Final[Mapping[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.Pow: np.power,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.GtE: np.greater_equal,
    ast.Gt: np.greater,
}
_KINDS: Final = {"b": "a truth value", "f": "a number", "O": "text"}
_DTYPES: Final = {"b": "boolean", "f": "float64", "O": "str"}

_NAMES: Final[Mapping[type[ast.AST], str]] = {
    ast.Call: "a call",
    ast.Attribute: "an attribute",
    ast.Subscript: "a subscript",
    ast.MatMult: "the operator @",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
    ast.Tuple: "a list that does not follow in",
    ast.List: "a list that does not follow in",
}


def evaluate(text: str, frame: pd.DataFrame, *, where: object = None) -> pd.Series[Any]:
    """Compute an expression for every record.

    Parameters
    ----------
    text
        The expression. Columns are called by their names, or by their names in backticks where these are
        no identifiers.
    frame
        The records; the levels of its index count as columns.
    where
        Where the expression was written, for messages.

    Returns
    -------
    pd.Series
        Of dtype ``boolean``, ``float64`` or ``str``, with the index of ``frame``.

    Raises
    ------
    UsageError
        If it is no expression, or one that is not allowed.
    ColumnError
        If it names a column that does not exist or that cannot be used so.
    """
    parsed = parse(text, column_names(frame), where=where)
    reader = _Reader(parsed, frame)
    result = reader.value(parsed.body)
    if not result.data.ndim:
        raise parsed.error(f"{parsed.piece(parsed.body)} names no column", "a column of /meta")
    data = result.data.astype(object) if result.kind != "f" else result.data.copy()
    data[result.missing] = np.nan if result.kind == "f" else None
    return pd.Series(data, index=frame.index, dtype=_DTYPES[result.kind], name=text)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Computes the nodes of one expression."""

    parsed: Parsed
    frame: pd.DataFrame

    def piece(self, node: ast.AST) -> str:
        return self.parsed.piece(node)

    def error(self, what: str, expected: str | None = None, hint: str | None = None) -> UsageError:
        return self.parsed.error(what, expected, hint)

    def misfit(self, what: str, expected: str | None = None, hint: str | None = None) -> ColumnError:
        return ColumnError(what, where=self.parsed.where, expected=expected, hint=hint)

    def refused(self, node: ast.AST, operator: ast.AST | None = None) -> UsageError:
        kind = type(operator or node)
        name = _NAMES.get(kind, f"{kind.__name__} (in Python's grammar)")
        return self.error(f"{name} is not allowed: {self.piece(node)}", f"only {ALLOWED}")

    def value(self, node: ast.expr) -> Values:
        match node:
            case ast.Name():
                return self.column(node)
            case ast.Constant():
                return self.constant(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.BoolOp():
                return self.connected(node, isinstance(node.op, ast.And), node.values)
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                return self.connected(node, isinstance(node.op, ast.BitAnd), [node.left, node.right])
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.UnaryOp(op=ast.Not() | ast.Invert()):
                operand = self.truth(node.operand, node)
                return Values(np.asarray(~operand.data), operand.missing)
            case ast.UnaryOp(op=ast.USub()):
                operand = self.number(node.operand, node)
                return _number(-operand.data, operand.missing)
        raise self.refused(node)

    def column(self, node: ast.Name) -> Values:
        name = self.parsed.names.get(node.id, node.id)
        if node.id.startswith("__"):
            raise self.error(
                f"{shortened(name)} is not allowed: it begins with underscores", f"only {ALLOWED}"
            )
        return plain_values(column(self.frame, name, where=self.parsed.where), where=self.parsed.where)

    def constant(self, node: ast.Constant) -> Values:
        value = node.value
        if isinstance(value, str):
            return Values(np.asarray(value, dtype=object), np.asarray(False))
        if isinstance(value, bool):
            return Values(np.asarray(value), np.asarray(False))
        if not isinstance(value, int | float):
            hint = "records without a value form no group anyway" if value is None else None
            what = f"a constant of this kind is not allowed: {self.piece(node)}"
            raise self.error(what, "numbers, text, True and False", hint)
        # 1e999 is read as infinity.
        if abs(value) > MAX_INTEGER and (isinstance(value, int) or math.isinf(value)):
            limit = f"integers up to {MAX_INTEGER:,}, and finite numbers"
            raise self.error(f"the number {self.piece(node)} is too large", limit)
        return Values(np.asarray(float(value)), np.asarray(False))

    def truth(self, node: ast.expr, parent: ast.expr) -> Values:
        result = self.value(node)
        if result.kind != "b":
            raise self.misfit(
                f"{self.piece(node)} is {_KINDS[result.kind]}, but {self.piece(parent)} needs a truth value",
                "comparisons or columns of True and False",
                "put each comparison in parentheses: (a > 1) & (b > 2)",
            )
        return result

    def number(self, node: ast.expr, parent: ast.expr) -> Values:
        result = self.value(node)
        if result.kind == "O":
            raise self.misfit(f"{self.piece(node)} is text, but {self.piece(parent)} needs a number")
        return Values(result.data.astype(np.float64), result.missing)

    def connected(self, node: ast.expr, every: bool, operands: list[ast.expr]) -> Values:
        first, *others = (self.truth(operand, node) for operand in operands)
        for other in others:
            first = _both(first, other, deciding=not every)
        return first

    def arithmetic(self, node: ast.BinOp) -> Values:
        if type(node.op) not in _OPERATORS:
            raise self.refused(node, node.op)
        left, right = self.number(node.left, node), self.number(node.right, node)
        if isinstance(node.op, ast.Pow) and (right.data.ndim or abs(right.data) > MAX_EXPONENT):
            limit = f"a constant from -{MAX_EXPONENT} to {MAX_EXPONENT}"
            raise self.error(f"the exponent of {self.piece(node)} is not allowed", limit)
        with np.errstate(all="ignore"):
            data = _OPERATORS[type(node.op)](left.data, right.data)
        result = _number(data, left.missing | right.missing)
        if not result.data.ndim and result.missing:
            raise self.error(f"{self.piece(node)} is not a finite number")
        return result

    def comparison(self, node: ast.Compare) -> Values:
        result = Values(np.asarray(True), np.asarray(False))
        left, a = node.left, self.value(node.left)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(left, ast.Tuple | ast.List):
                raise self.refused(left)
            if isinstance(operator, ast.In | ast.NotIn):
                b, data = a, self.membership(left, a, right) != isinstance(operator, ast.NotIn)
            elif type(operator) in _OPERATORS:
                b = self.value(right)
                self.check_alike(left, a, right, b)
                if isinstance(operator, ast.Eq | ast.NotEq):
                    self.check_seen(left, a, b)
                    self.check_seen(right, b, a)
                data = np.asarray(_OPERATORS[type(operator)](a.data, b.data), dtype=bool)
            else:
                raise self.refused(node, operator)
            result = _both(result, Values(data, np.asarray(a.missing | b.missing)), deciding=False)
            left, a = right, b
        return result

    def membership(self, left: ast.expr, a: Values, right: ast.expr) -> NDArray[np.bool_]:
        if not isinstance(right, ast.Tuple | ast.List):
            raise self.error(f"{self.piece(right)} after in is not allowed", "constants: ('a', 'b')")
        choices: set[Any] = set()
        for entry in right.elts:
            if not isinstance(entry.operand if isinstance(entry, ast.UnaryOp) else entry, ast.Constant):
                raise self.error(f"{self.piece(entry)} in a list is not allowed", "constants")
            choice = self.value(entry)
            self.check_alike(left, a, entry, choice)
            self.check_seen(left, a, choice)
            choices.add(choice.data.item())
        return np.asarray(np.vectorize(choices.__contains__, otypes=[bool])(a.data))

    def check_seen(self, node: ast.expr, values: Values, choice: Values) -> None:
        """Warn of a text that is not among those of a column."""
        if choice.kind != "O" or choice.data.ndim or not values.data.ndim:
            return
        text, seen = choice.data.item(), set(values.data[~values.missing].tolist())
        if seen and text not in seen:
            close = nearest(text, seen) if len(text) <= 200 else None
            hint = f"; did you mean {close!r}?" if close else ""
            what = f"no record has {shortened(text)!r} in {self.piece(node)}{hint}"
            warnings.warn(printable(what), UnseenValueWarning, stacklevel=2)

    def check_alike(self, left: ast.expr, a: Values, right: ast.expr, b: Values) -> None:
        if (a.kind == "O") != (b.kind == "O"):
            raise self.misfit(
                f"{self.piece(left)} is {_KINDS[a.kind]}, and {self.piece(right)} is {_KINDS[b.kind]}: "
                "they cannot be compared",
                "two numbers or two texts",
            )


def _number(data: Any, missing: Any) -> Values:
    data = np.asarray(data, dtype=np.float64)
    return Values(data, np.asarray(missing | ~np.isfinite(data)))


def _both(a: Values, b: Values, *, deciding: bool) -> Values:
    """Connect truth values; one that is ``deciding`` settles the matter, whatever the other is."""
    settled = (~a.missing & (a.data == deciding)) | (~b.missing & (b.data == deciding))
    return Values(np.asarray(settled == deciding), np.asarray((a.missing | b.missing) & ~settled))
