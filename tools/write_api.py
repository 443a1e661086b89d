"""The reference of the Python interface, `docs/api.md`, from the docstrings of every public name.

`make docs` writes it; a test compares it, and runs its examples.
"""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filterdb
import write_docs
from filterdb import errors, measure, probe
from filterdb.config import demo_folder
from filterdb.figures import Drawing
from filterdb.probe.options import Setup

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
MODEL = "cls-cells-invres-fit.onnx"

_HEADER = """# The Python interface

Written by `make docs` from the docstrings; do not edit. [tour.md](tour.md) shows how it is used. Everything
here is typed; what is not named here may change.

The examples run on the zoo that ships with the package, after `make extract analyze`; `model.onnx` is one of
its models:

```pycon
>>> import filterdb
>>> db = filterdb.open("build/demo/dataset.h5")
```
"""
_FIRST = (
    *("open", "FilterDB", "open_results", "Results", "measure_shift", "Shifts", "Figures"),
    *("open_probes", "Probes"),
    "measure_quality",
)
_LAST = ("FilterDBError", "__version__")
_RETURNED = {
    "What measure_quality returns": (
        "Dictionaries of metrics, which know a little more.",
        (measure.ModelQuality, measure.LayerQuality),
    ),
    "What Figures holds": (
        "Each figure with its numbers. The functions of `filterdb.figures`, which take frames and arrays, "
        "return the same.",
        (Drawing,),
    ),
}
_SECTION = re.compile(r"^(Parameters|Returns|Raises|Examples)\n-+\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\S[^\n]*)\n((?:    [^\n]*\n?|\n)*)", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def page(folder: Path) -> str:
    """Return the page, with what its examples print.

    Parameters
    ----------
    folder
        Where `make extract analyze` has run.
    """
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "build").symlink_to(folder / "build")
        shutil.copy(demo_folder() / "zoo" / MODEL, Path(place) / "model.onnx")
        return write_docs.readme(reference(), Path(place))


def reference() -> str:
    """Return the page as the docstrings have it."""
    sections = [_HEADER]
    others = [name for name in filterdb.__all__ if name not in (*_FIRST, *_LAST)]
    for name in (*_FIRST, *others):
        sections += _described(f"filterdb.{name}", getattr(filterdb, name))
    for title, (said, kinds) in _RETURNED.items():
        sections.append(f"## {title}\n\n{said}\n")
        for kind in kinds:
            sections += _described(kind.__name__, kind, level=3)
    sections += _probes()
    sections += [_errors(), "## filterdb.\\_\\_version\\_\\_\n\nThe version, as text.\n"]
    return "\n".join(sections)


def _probes() -> Iterator[str]:
    yield "## filterdb.probe\n\nWhat models do with data; [probes.md](probes.md) says how it is computed.\n"
    for name in sorted(probe.__all__, key=lambda name: not name.islower()):
        yield from _described(f"probe.{name}", getattr(probe, name), level=3)
    yield "### Setup: the options that all probes take\n"
    yield _text(inspect.getdoc(Setup) or "")


def _described(name: str, thing: Any, level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} {name}\n"
    if not inspect.isclass(thing) or level == 2:
        yield _signature(name, thing)
    yield _text(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        for member, value in _members(thing):
            yield f"{'#' * (level + 1)} {thing.__name__}.{member}\n"
            if inspect.isfunction(value):
                yield _signature(f"{thing.__name__}.{member}", value)
            yield _text(inspect.getdoc(value) or "")


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield public methods and properties, in the order of the source; fields are in the docstring."""
    for name, value in vars(kind).items():
        value = getattr(kind, name) if isinstance(value, classmethod) else value
        if name.startswith("_") or not (isinstance(value, property) or inspect.isfunction(value)):
            continue
        yield name, value


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    kept = [one for one in signature.parameters.values() if one.name != "self"]
    one_line = f"{name}{_plain(signature.replace(parameters=kept))}"
    if len(one_line) <= 100:
        return f"```python\n{one_line}\n```\n"
    parts, keyword = [], False
    for one in kept:
        if one.kind is one.KEYWORD_ONLY and not keyword:
            parts.append("*")
            keyword = True
        parts.append(_plain(one))
    returned = _plain(inspect.Signature(return_annotation=signature.return_annotation))[2:]
    lines = [f"{name}(", *(f"    {part}," for part in parts), f"){returned}"]
    return "```python\n" + "\n".join(lines) + "\n```\n"


def _plain(shown: inspect.Signature | inspect.Parameter) -> str:
    """Return annotations as they are written, without the quotes that postponed ones have."""
    text = str(shown)
    return re.sub(r"(: |-> )'([^']*(?:'[^']*)*?)'(?=[,)]|$| =)", r"\1\2", text)


def _text(docstring: str) -> str:
    """Turn a docstring into Markdown."""
    parts = _SECTION.split(_ROLE.sub(r"`\1`", docstring).replace("``", "`"))
    lines = [parts[0].strip(), ""]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        if title == "Examples":
            lines += ["```pycon", body.strip(), "```", ""]
        elif title == "Returns":
            lines += [inspect.cleandoc(body), ""]
        else:
            entries = [
                f"- `{names.strip()}`: {_one_line(said)}" for names, said in _ENTRY.findall(body + "\n")
            ]
            lines += [f"{title}:", "", *entries, ""]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _errors() -> str:
    """Return the tree of errors, as its module shows it."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("::\n\n")[1]
    lines = []
    for line in tree.splitlines():
        if not line.startswith("    ") and line:
            break
        lines.append(line[4:])
    return (
        "## filterdb.FilterDBError\n\nEverything that filterdb raises on purpose is one of these, from "
        "`filterdb.errors`. A message\nsays what was found, where, what was expected and what to do.\n\n"
        "```text\n" + "\n".join(lines).strip() + "\n```\n"
    )
