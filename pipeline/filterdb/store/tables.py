"""Model records to the tables of a data set file, and back.

The way back matters as much: a record that is read from an old file need not be extracted again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.text import clean_text
from filterdb.types import ConvLayer, ModelRecord, SkippedLayer


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One file of a zoo and what became of it.

    Parameters
    ----------
    name, relpath
        As for :class:`filterdb.types.ModelSource`.
    record
        What the file holds; ``None`` where it could not be read.
    reason
        Why it could not be read.
    has_metadata
        The metadata table has a row for it.
    sha256, size
        Of the file; as far as they are known where there is no record.
    crashed
        The process that read it died, hung or ran out of memory.
    """

    name: str
    relpath: str
    record: ModelRecord | None
    reason: str = ""
    has_metadata: bool = False
    sha256: str = ""
    size: int = 0
    crashed: bool = False

    @property
    def status(self) -> str:
        """One of :data:`filterdb.schema.STATUSES`."""
        if self.record is None:
            return "crashed" if self.crashed else "failed"
        return "ok" if self.record.layers else "no_filters"


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a data set file: ``/meta``, ``/models`` and ``/skipped``."""

    meta: pd.DataFrame
    models: pd.DataFrame
    skipped: pd.DataFrame

    @property
    def n_filters(self) -> int:
        """Rows that ``/filter`` has."""
        return int(self.meta["filter_end"].iloc[-1]) if len(self.meta) else 0

    def by_name(self) -> dict[str, pd.DataFrame]:
        """Return the frames under the names they have in the file."""
        return {"meta": self.meta, "models": self.models, "skipped": self.skipped}


def build_tables(entries: Sequence[ZooEntry], metadata: pd.DataFrame) -> Tables:
    """Lay out the tables of a zoo.

    Parameters
    ----------
    entries
        Every file of the zoo in order of name; the position is the ``model_id``.
    metadata
        One row an entry, in the same order: the columns that describe models, already typed.

    Raises
    ------
    MetadataError
        If a metadata column is called like an operator that one of the models uses.
    """
    if len(entries) != len(metadata):
        raise ValueError(f"{len(entries)} entries but {len(metadata)} rows of metadata")
    entries = [_bounded(entry) for entry in entries]
    operators = {op for entry in entries if entry.record is not None for op in entry.record.ops}
    schema.check_operator_columns(metadata.columns, operators, where="the metadata")
    return Tables(meta=_meta(entries, metadata), models=_models(entries, metadata), skipped=_skipped(entries))


def _bounded(entry: ZooEntry) -> ZooEntry:
    """Give up a model whose texts are wider than a cell, because every row would be as wide."""
    if entry.record is None:
        return replace(entry, reason=entry.reason[: schema.MAX_CELL_BYTES // 8])
    for what, text in _texts(entry.record):
        # UTF-8 and the escapes of JSON take up to twelve bytes a character.
        if len(text) * 12 > schema.MAX_CELL_BYTES and len(clean_text(text).encode()) > schema.MAX_CELL_BYTES:
            reason = (
                f"{what} takes {len(text):,} characters; expected {schema.MAX_CELL_BYTES:,} bytes at most"
            )
            record = entry.record
            return replace(entry, record=None, reason=reason, sha256=record.sha256, size=record.size)
    return entry


def _texts(record: ModelRecord) -> Iterator[tuple[str, str]]:
    yield "the producer", record.producer
    for name in _JSON:
        yield f"the list of {name}", _json(getattr(record, name))
    for layer in record.layers:
        yield from (("the name of a layer", layer.name), ("the source of a weight", layer.weight_source))
    for skipped in record.skipped:
        yield from (("the name of a layer", skipped.name), ("the reason of a layer", skipped.reason))


_JSON = ("kernels", "ops", "other_ops", "notes")


def _json(value: Mapping[str, int] | Sequence[str]) -> str:
    plain = dict(sorted(value.items())) if isinstance(value, Mapping) else list(value)
    return json.dumps(plain)


def _meta(entries: Sequence[ZooEntry], metadata: pd.DataFrame) -> pd.DataFrame:
    pairs = [
        (model_id, entry, layer_id, layer)
        for model_id, entry in enumerate(entries)
        if entry.record is not None
        for layer_id, layer in enumerate(entry.record.layers)
    ]
    ids = np.array([model_id for model_id, *_ in pairs], dtype=np.int64)
    layers = [layer for *_, layer in pairs]
    records = [entry.record for entry in entries]
    parts = [
        _leading(pairs),
        metadata.iloc[ids].reset_index(drop=True),
        _totals(records, ids),
        _counts(records, ids, taken=metadata.columns),
        _record_columns(pairs, layers),
    ]
    meta = pd.concat(parts, axis="columns")
    meta.index = pd.MultiIndex.from_arrays(
        [
            ids,
            np.array([layer.conv_depth for layer in layers], dtype=np.int64),
            np.array([layer.conv_depth_norm for layer in layers], dtype=np.float64),
            np.array([layer_id for _, _, layer_id, _ in pairs], dtype=np.int64),
        ],
        names=schema.INDEX,
    )
    return meta


Pair: TypeAlias = tuple[int, ZooEntry, int, ConvLayer]


def _leading(pairs: Sequence[Pair]) -> pd.DataFrame:
    rows = [
        (
            "",
            clean_text(entry.name),
            clean_text(entry.record.producer),
            entry.record.op_set,
            entry.record.depth,
        )
        for _, entry, _, _ in pairs
        if entry.record is not None
    ]
    frame = schema.typed(pd.DataFrame(rows, columns=list(schema.LEADING)), schema.LEADING)
    start, end = _ranges([layer for *_, layer in pairs])
    frame["filter_ids"] = [f"{a}:{b - 1}" for a, b in zip(start, end, strict=True)]
    return frame.astype({"filter_ids": "str"})


def _ranges(layers: Sequence[ConvLayer]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([layer.n_filters for layer in layers], dtype=np.int64)
    end = np.cumsum(counts)
    return end - counts, end


def _totals(records: Sequence[ModelRecord | None], ids: np.ndarray) -> pd.DataFrame:
    totals = np.array([r.total_filters if r else 0 for r in records], dtype=np.int64)
    threes = np.array([r.kernels.get("(3, 3)", 0) if r else 0 for r in records], dtype=np.int64)
    share = np.divide(threes, totals, out=np.zeros(len(totals)), where=totals > 0)
    return pd.DataFrame({"total_filters": totals[ids], "3x3_filter_share": share[ids]})


def _counts(records: Sequence[ModelRecord | None], ids: np.ndarray, taken: Iterable[str]) -> pd.DataFrame:
    """Count filters by kernel shape and nodes by operator, a column each, as far as columns last."""
    known = [record for record in records if record is not None]
    shapes = sorted({shape for record in known for shape in record.kernels}, key=_shape_key)
    users = Counter(op for record in known for op in record.ops if schema.is_operator_column(op))
    operators = sorted(users, key=lambda op: (-users[op], op))
    # The counts are complete in /models; a column for each is a convenience, and (3, 3) comes first.
    wanted = [schema.kernel_column(s) for s in sorted(shapes, key=lambda s: s != "(3, 3)")]
    wanted = [*wanted[:1], *operators, *wanted[1:]]
    kept = set(_that_fit(wanted, taken))
    columns = {
        schema.kernel_column(shape): [r.kernels.get(shape, 0) if r else 0 for r in records]
        for shape in shapes
        if schema.kernel_column(shape) in kept
    }
    columns |= {op: [r.ops.get(op, 0) if r else 0 for r in records] for op in sorted(kept & set(operators))}
    return pd.DataFrame(
        {name: np.array(counts, dtype=np.int64)[ids] for name, counts in columns.items()},
        index=range(len(ids)),
    )


def _that_fit(wanted: Iterable[str], taken: Iterable[str]) -> Iterator[str]:
    """Yield names until the table has no room for another column, or its description for another name."""
    fixed = [*schema.INDEX, *schema.LEADING, *schema.TOTALS, *schema.RECORD, *taken]
    room, space = schema.MAX_COLUMNS - len(fixed), schema.MAX_NAMES_BYTES - schema.names_bytes(fixed)
    for name in wanted:
        room, space = room - 1, space - schema.names_bytes([name])
        if room < 0 or space < 0:
            return
        yield name


def _shape_key(shape: str) -> tuple[int, ...]:
    return tuple(int(part) for part in shape.strip("()").split(","))


def _record_columns(pairs: Sequence[Pair], layers: Sequence[ConvLayer]) -> pd.DataFrame:
    start, end = _ranges(layers)
    first: dict[str, int] = {}
    # A record repeats an earlier one if the bytes of its filters do; the first of them is -1.
    duplicate = [
        -1 if (seen := first.setdefault(layer.weights_sha256, row)) == row else seen
        for row, layer in enumerate(layers)
    ]
    data: dict[str, Any] = {"filter_start": start, "filter_end": end}
    data["layer_name"] = [clean_text(layer.name) for layer in layers]
    data["op_type"] = [clean_text(layer.op_type) for layer in layers]
    for name in ("in_channels", "out_channels", "group", "depthwise"):
        data[name] = [getattr(layer, name) for layer in layers]
    data["strides"] = ["x".join(map(str, layer.strides)) for layer in layers]
    data["dilations"] = ["x".join(map(str, layer.dilations)) for layer in layers]
    for name in ("weight_dtype", "weight_source", "weights_sha256"):
        data[name] = [clean_text(getattr(layer, name)) for layer in layers]
    data["duplicate_of"] = duplicate
    data["bn_follows"] = [layer.bn_follows for layer in layers]
    data["nonfinite"] = [layer.nonfinite for layer in layers]
    data["model_sha256"] = [entry.record.sha256 if entry.record else "" for _, entry, _, _ in pairs]
    return schema.typed(pd.DataFrame(data), schema.RECORD)


def _models(entries: Sequence[ZooEntry], metadata: pd.DataFrame) -> pd.DataFrame:
    first: dict[str, str] = {}
    rows = [_model_row(entry, first) for entry in entries]
    models = schema.typed(pd.DataFrame(rows, columns=list(schema.MODELS)), schema.MODELS)
    return pd.concat([models, metadata.reset_index(drop=True)], axis="columns").rename_axis("model_id")


def _model_row(entry: ZooEntry, first: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": clean_text(entry.name),
        "path": clean_text(entry.relpath),
        "status": entry.status,
        "reason": clean_text(entry.reason) or None,
        "has_metadata": entry.has_metadata,
    }
    record = entry.record or ModelRecord(entry.sha256, entry.size, "", 0, 0, 0)
    original = first.setdefault(record.sha256, row["name"]) if record.sha256 else row["name"]
    row["duplicate_of"] = None if original == row["name"] else original
    for name in ("sha256", "size", "ir_version", "op_set", "depth", "n_filters", "total_filters"):
        row[name] = getattr(record, name)
    row |= {
        "producer": clean_text(record.producer),
        "n_records": len(record.layers),
        "n_skipped": len(record.skipped),
    }
    return row | {name: _json(getattr(record, name)) for name in _JSON}


def _skipped(entries: Sequence[ZooEntry]) -> pd.DataFrame:
    rows = [
        (model_id, *map(clean_text, (layer.name, layer.op_type, layer.kernel, layer.reason)))
        for model_id, entry in enumerate(entries)
        if entry.record is not None
        for layer in entry.record.skipped
    ]
    return schema.typed(pd.DataFrame(rows, columns=list(schema.SKIPPED)), schema.SKIPPED)


def read_records(tables: Tables) -> Iterable[tuple[str, ModelRecord, tuple[int, ...]]]:
    """Rebuild the records of every readable model of a data set.

    Yields
    ------
    name, record, rows
        The model's name, its record, and the rows of ``/meta`` that hold its layers.
    """
    rows_of = tables.meta.groupby(level="model_id", sort=False).indices if len(tables.meta) else {}
    skipped_of = tables.skipped.groupby("model_id", sort=False).indices if len(tables.skipped) else {}
    skipped = tables.skipped.to_dict("records")
    index = tables.meta.index.to_frame(index=False)[["conv_depth", "conv_depth_norm"]]
    layers = pd.concat([index, tables.meta[list(schema.RECORD)].reset_index(drop=True)], axis="columns")
    columns = {name: layers[name].tolist() for name in layers.columns}
    for model_id, model in enumerate(tables.models.to_dict("records")):
        if model["status"] in ("failed", "crashed"):
            continue
        rows = tuple(int(row) for row in rows_of.get(model_id, ()))
        record = ModelRecord(
            **{name: model[name] for name in ("sha256", "size", "producer", "ir_version", "op_set", "depth")},
            **{name: json.loads(model[name]) for name in ("kernels", "ops", "other_ops")},
            notes=tuple(json.loads(model["notes"])),
            layers=tuple(_layer({name: columns[name][row] for name in columns}) for row in rows),
            skipped=tuple(_skipped_layer(skipped[row]) for row in skipped_of.get(model_id, ())),
        )
        yield model["name"], record, rows


def _layer(row: dict[str, Any]) -> ConvLayer:
    names = [name for name in ConvLayer.__dataclass_fields__ if name not in ("name", "strides", "dilations")]
    return ConvLayer(
        name=row["layer_name"],
        strides=_numbers(row["strides"]),
        dilations=_numbers(row["dilations"]),
        **{name: row[name] for name in names},
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x") if part)


def _skipped_layer(row: Mapping[Any, Any]) -> SkippedLayer:
    return SkippedLayer(row["layer_name"], row["op_type"], row["kernel"], row["reason"])
