"""What a probe found in every model of a zoo, as researchers hold it: tables that join a data set's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from filterdb.api import html
from filterdb.errors import ColumnError, nearest, printable

if TYPE_CHECKING:
    from filterdb.figures import Drawing

_OF_MODELS: Final = ("saturation", "tail", "alpha", "alpha_last", "cka", "neighbours", "best")
_KEY: Final = "model_sha256"


class Probes:
    """What ``filterdb probe ... ZOO`` has found; neither the zoo nor its data set need be there.

    Parameters
    ----------
    path
        The folder that it has written.

    Raises
    ------
    NotADatasetError
        If it is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from filterdb.run.probing.folder import load

        self.path = Path(path)
        self._found = load(self.path)

    def __repr__(self) -> str:
        return printable(f"<Probes {self.what}: {self._size}>")

    def _repr_html_(self) -> str:
        settings = {name: str(value) for name, value in self.settings.items() if value not in (None, [], "")}
        return html.card(f"Probes {self.what}: {self._size}", settings)

    @property
    def _size(self) -> str:
        good = self.models[self.models["status"] == "ok"]
        failed = len(self.models) - len(good)
        said = f"{int(good['layers'].sum()) if len(good) else 0:,} layers of {len(good):,} models"
        return f"{said}, {failed:,} failed" if failed else said

    @property
    def what(self) -> str:
        """The probe: ``cka``, ``saturation`` or ``sparsity``."""
        return self._found.what

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the probe was told."""
        return dict(self._found.manifest["settings"])

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What it was made from, and how."""
        return self._found.manifest

    @property
    def models(self) -> pd.DataFrame:
        """One row a model file, those that could not be probed too, with the reason."""
        return self._found.models

    @property
    def layers(self) -> pd.DataFrame:
        """One row a layer of every model, in the order of execution; for CKA, one row a pair of layers."""
        return self._found.layers

    @property
    def skipped(self) -> pd.DataFrame:
        """Chosen layers that could not be looked at, with the reason."""
        return self._found.skipped

    def figure(self) -> Drawing:
        """Draw a strip a model: its layers from the first to the last, coloured by what was found."""
        from filterdb.run.probing.zoo import draw

        return draw(self._found)

    def against(self, layers: pd.DataFrame, metric: str = "variance_entropy_norm") -> Drawing:
        """Draw what was found in each layer against a metric of its filters.

        Parameters
        ----------
        layers
            ``db.layers``, which has the metrics of a data set's layers.
        metric
            A column of it.

        Raises
        ------
        ColumnError
            If there is no such column.
        """
        from filterdb.figures.probed_zoo import layers_against

        _require(layers, metric, "a metric of db.layers")
        both = self.with_layers(layers).reset_index()
        titles = f"{metric.replace('_', ' ')} of its filters", self._found.column
        return layers_against(both, x=metric, y=self._found.column, titles=titles)

    def with_models(self, models: pd.DataFrame) -> pd.DataFrame:
        """Return the models of a data set with what the probe found in each.

        Parameters
        ----------
        models
            ``db.models``, or any table with the column ``sha256``.

        Raises
        ------
        ColumnError
            If the table has no such column, as that of a published data set.
        """
        _require(models, "sha256", "db.models")
        found = self.models[self.models["status"] == "ok"].drop_duplicates("sha256").set_index("sha256")
        found = found[["layers", *(name for name in _OF_MODELS if name in found)]]
        found = found.rename(columns={"layers": "probed_layers"})
        return _beside(models, found, models["sha256"])

    def with_layers(self, layers: pd.DataFrame) -> pd.DataFrame:
        """Return the layers of a data set with what the probe found in each.

        Parameters
        ----------
        layers
            ``db.layers`` or ``db.meta``, or any table with the columns ``model_sha256`` and ``layer_name``.

        Raises
        ------
        ColumnError
            If the table has no such columns, as that of a published data set.
        """
        for name in (_KEY, "layer_name"):
            _require(layers, name, "db.layers")
        from filterdb.run.probing.zoo_tables import by_layer

        found = by_layer(self._found).rename(columns={"value": self._found.column, "layer": "layer_name"})
        found = found.drop_duplicates([_KEY, "layer_name"]).set_index([_KEY, "layer_name"])
        keys = pd.MultiIndex.from_frame(layers[[_KEY, "layer_name"]])
        return _beside(layers, found.drop(columns=["model", "kind"], errors="ignore"), keys)


def _beside(table: pd.DataFrame, found: pd.DataFrame, keys: pd.Series | pd.MultiIndex) -> pd.DataFrame:
    """Put columns beside a table, row by row; where a name is taken, the probe's says that it is its own."""
    taken = {name: f"probe_{name}" for name in found.columns if name in table}
    added = found.rename(columns=taken).reindex(keys)
    return pd.concat([table, added.set_axis(table.index)], axis="columns")


def _require(table: pd.DataFrame, name: str, expected: str) -> None:
    if name not in table:
        close = nearest(name, map(str, table.columns))
        raise ColumnError(
            f"the table has no column {name!r}",
            expected=f"{expected}, of a data set that filterdb extract has written",
            hint=None if close is None else f"{close!r}",
        )
