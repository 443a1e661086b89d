"""The text of an expression: from what a person wrote to a syntax tree that is small enough, and back.

Nothing is executed here, nor decided what a tree may hold.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from filterdb.errors import UsageError
from filterdb.shift.columns import is_odd, shortened

MAX_LENGTH: Final = 10_000
MAX_NODES: Final = 3_000
MAX_DEPTH: Final = 64

ALLOWED: Final = (
    "columns (`odd names` in backticks), numbers, text, True and False, "
    "< <= == != >= > and chains of them, in and not in a list of constants, and or not & | ~, + - * / // % **"
)

# String literals come first, so that a backtick within one is text. Triple quotes would need a real
# tokenizer and serve nobody here.
_PIECE: Final = re.compile(
    r"""(?P<refused>'''|\"{3}|[\#\\]|`(?![^`]+`))
      | (?P<literal>'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*")
      | `(?P<name>[^`]+)`
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression that Python's parser has understood.

    Parameters
    ----------
    body
        Its syntax tree.
    source
        The text that was parsed.
    names
        The columns that identifiers of the source stand for, where these had backticks.
    where
        Where the expression was written, for messages.
    """

    body: ast.expr
    source: str
    names: Mapping[str, str]
    where: object

    def piece(self, node: ast.AST) -> str:
        """Return the part of the expression that a node stands for, as it was written."""
        return shortened(_restored(ast.get_source_segment(self.source, node) or "", self.names))

    def error(self, what: str, expected: str | None = None, hint: str | None = None) -> UsageError:
        """Return an error that says where the expression was written."""
        return UsageError(what, where=self.where, expected=expected, hint=hint)


def parse(text: str, columns: Sequence[str], *, where: object) -> Parsed:
    """Parse an expression.

    Parameters
    ----------
    text
        The expression.
    columns
        Names of columns, for messages.
    where
        Where the expression was written, for messages.

    Raises
    ------
    UsageError
        If it is no expression, or too long.
    """
    source, names = _rewrite(text, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = error.msg if isinstance(error, SyntaxError) else "it cannot be parsed"
        odd = [name for name in columns if is_odd(name) and name in source]
        raise UsageError(
            f"{shortened(_restored(source, names))!r} is not an expression: {problem}",
            where=where,
            expected=ALLOWED,
            hint=f"write `{max(odd, key=len)}` in backticks" if odd else None,
        ) from None
    for count, depth in enumerate(_depths(body), start=1):
        if count > MAX_NODES or depth > MAX_DEPTH:
            found = "long" if count > MAX_NODES else "deeply nested"
            limit = f"{MAX_NODES:,} parts and {MAX_DEPTH} levels at most"
            raise UsageError(f"the expression is too {found}", where=where, expected=limit)
    return Parsed(body, source, names, where)


def _rewrite(text: str, where: object) -> tuple[str, dict[str, str]]:
    """Put identifiers in the place of backticked names."""
    if len(text) > MAX_LENGTH:
        raise UsageError(
            f"the expression has {len(text):,} characters", where=where, expected=f"{MAX_LENGTH:,} at most"
        )
    # The parser normalizes identifiers, so that what clashes may look different in the text.
    taken = re.findall("column_+", unicodedata.normalize("NFKC", text))
    stem = max((*taken, "column"), key=len) + "_"
    parts: list[str] = []
    names: dict[str, str] = {}
    for piece in _PIECE.finditer(text):
        if refused := piece["refused"]:
            raise UsageError(
                f"{refused} in {shortened(text)!r} is not allowed", where=where, expected=ALLOWED
            )
        if piece["name"]:
            key = f"{stem}{len(names)}_"
            names[key] = piece["name"]
            parts.append(f" {key} ")
        else:
            parts.append(" " if piece["space"] else piece[0])
    return "".join(parts).strip(), names


def _restored(source: str, names: Mapping[str, str]) -> str:
    for key, name in names.items():
        source = source.replace(key, f"`{name}`")
    return source


def _depths(root: ast.AST) -> Iterator[int]:
    todo = [(root, 0)]
    while todo:
        node, depth = todo.pop()
        yield depth
        todo.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
