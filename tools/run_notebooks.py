"""Run the notebooks and write their outputs into them: `make notebooks`. The tests run them too.

The kernel is the interpreter that runs this script, whatever kernels a machine has installed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS = 240
"""What one cell may take."""

_KERNEL = "filterdb"
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(notebook: Path, folder: Path) -> Any:
    """Run every cell of a notebook, in a folder, and return the notebook with its outputs.

    Parameters
    ----------
    notebook
        The file.
    folder
        Where its kernel runs.
    """
    document = nbformat.read(notebook, as_version=4)
    with _kernel():
        NotebookClient(
            document,
            kernel_name=_KERNEL,
            timeout=SECONDS,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
        ).execute()
    # Versions of Python and of a kernel are no part of a notebook.
    document.metadata = nbformat.from_dict(_METADATA)
    return document


@contextlib.contextmanager
def _kernel() -> Iterator[None]:
    """Offer this interpreter as a kernel, without the user's own settings."""
    with tempfile.TemporaryDirectory() as folder:
        write_kernel_spec(Path(folder) / "data" / "kernels" / _KERNEL)
        given = {"JUPYTER_PATH": f"{folder}/data", "IPYTHONDIR": f"{folder}/ipython"}
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def main() -> None:
    """Run the named notebooks, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", type=Path, nargs="*", default=sorted(FOLDER.glob("*.ipynb")))
    for notebook in parser.parse_args().notebooks:
        nbformat.write(run(notebook, notebook.parent), notebook)
        print(notebook)


if __name__ == "__main__":
    main()
