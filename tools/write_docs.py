"""Write what documentation can be generated: both references, and the outputs in `README.md` and the tour.

Run as `make docs`. The tests compare all with what this script would write, so none can drift.
"""

from __future__ import annotations

import argparse
import code
import contextlib
import io
import re
import sys
from pathlib import Path

from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "cli-reference.md"
README = ROOT / "README.md"
TOUR = ROOT / "docs" / "tour.md"

_HEADER = """# The command line

Written by `make docs` from the commands' own `--help`; do not edit.
"""
_CONSOLE = re.compile(r"(?<=```pycon\n).*?(?=```)", re.DOTALL)


def cli_reference() -> str:
    """Return the reference of every command, as its `--help` prints it."""
    from filterdb.cli import app

    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    for group in app.registered_groups:
        inner = group.typer_instance
        names += [
            inner.info.name,
            *(f"{inner.info.name} {c.callback.__name__}" for c in inner.registered_commands),
        ]
    sections = [_HEADER, _help([])]
    sections += [f"## filterdb {name}\n\n{_help(name.split())}" for name in sorted(names)]
    return "\n".join(sections)


def _help(command: list[str]) -> str:
    from filterdb.cli import app

    result = CliRunner().invoke(
        app, [*command, "--help"], prog_name="filterdb", terminal_width=100, color=False
    )
    lines = [line.rstrip() for line in result.stdout.strip().splitlines()]
    return "\n".join(["```text", *lines, "```", ""])


def readme(text: str, folder: Path) -> str:
    """Return a text whose Python sessions have been run in a folder, with what they print put in place.

    Parameters
    ----------
    text
        The text, with sessions in blocks marked ``pycon``.
    folder
        Where to run them.
    """
    namespace: dict[str, object] = {}
    with contextlib.chdir(folder):
        return _CONSOLE.sub(lambda match: _session(match[0], namespace), text)


def _session(block: str, namespace: dict[str, object]) -> str:
    """Run one session; an error in it ends the script, for it would show readers a traceback."""
    console = _Console(namespace)
    shown = []
    for line in block.splitlines():
        if line.startswith((">>> ", "... ")) or line in (">>>", "..."):
            shown.append(line)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                console.push(line[4:])
            shown += printed.getvalue().splitlines()
    return "\n".join(shown) + "\n"


class _Console(code.InteractiveConsole):
    def showtraceback(self) -> None:
        raise RuntimeError("a session of the README fails") from sys.exc_info()[1]

    def showsyntaxerror(self, filename: str | None = None, **_: object) -> None:
        raise RuntimeError(f"a session of the README is no Python ({filename})") from sys.exc_info()[1]


def main() -> None:
    """Write all pages."""
    import write_api

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT, help="where `make extract analyze` has run")
    options = parser.parse_args()
    REFERENCE.write_text(cli_reference(), "utf-8")
    folder = options.folder.resolve()
    write_api.PAGE.write_text(write_api.page(folder), "utf-8")
    for page in (README, TOUR):
        page.write_text(readme(page.read_text("utf-8"), folder), "utf-8")


if __name__ == "__main__":
    main()
