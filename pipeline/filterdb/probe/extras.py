"""What comes with the extra ``filterdb[probe]``, and what to say where it is not there."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from filterdb.errors import MissingPackageError

_PACKAGES: Final = {"onnxruntime": "onnxruntime", "PIL": "Pillow", "sklearn": "scikit-learn"}


def require(module: str) -> Any:
    """Return a module of an optional package.

    Parameters
    ----------
    module
        Its name, such as ``sklearn.datasets``.

    Raises
    ------
    MissingPackageError
        If the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = _PACKAGES[module.partition(".")[0]]
        raise MissingPackageError(
            f"probes need {package}, which cannot be loaded: {error}",
            expected="the optional packages of filterdb",
            hint="pip install 'filterdb[probe]'",
        ) from error
