"""The card of an exported data set: a README.md that a person reads first, and a hub reads too."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pandas as pd
import yaml

from filterdb import schema
from filterdb.store.tables import Tables
from filterdb.types import Kernel

MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "filter_id": "number of the filter in the whole data set",
        "model_id": "number of the model: joins all tables; of the filters, it is the name of the folder",
        "conv_depth": "index, from 0, of the layer's depth among the model's depths that hold a convolution",
        "conv_depth_norm": "the same from 0 to 1",
        "layer_id": "number of the record within its model; with model_id it joins filters to meta",
        "filter_ids": "first:last filter of the record, last included",
        "model": "name of the model",
        "producer": "program that wrote the ONNX file",
        "op_set": "version of the default operator set",
        "depth": "nodes on the model's longest path",
        "Name": "name of the model in the metadata table",
        "Datatype": "kind of images: the older name of Visual Category",
        "Visual Category": "kind of images that the model was trained on",
        "total_filters": "filters of the model of all kernel sizes but 1x1",
        "3x3_filter_share": "share of 3x3 filters in total_filters",
        "filter_start": "first filter of the record",
        "filter_end": "one past the last filter of the record",
        "layer_name": "name of the weight, or else of the node",
        "op_type": "operator of the convolution",
        "in_channels": "input channels of one group",
        "out_channels": "output channels",
        "group": "groups of the convolution",
        "depthwise": "one filter an output channel, and as many groups as input channels",
        "strides": "strides of the convolution",
        "dilations": "dilations of the convolution",
        "weight_dtype": "type of the weight before it became float32",
        "weight_source": "how the weight reaches the convolution in the graph",
        "weights_sha256": "SHA-256 of the record's filters, little-endian float32, row-major",
        "duplicate_of": "an earlier record (row of meta), or model (name), with the same bytes",
        "bn_follows": "a batch normalization is the only consumer",
        "nonfinite": "values of the record that are NaN or infinite",
        "model_sha256": "SHA-256 of the ONNX file",
        "name": "name of the model, unique",
        "path": "where the file was within its zoo",
        "status": "ok, no_filters, failed or crashed",
        "reason": "why there is nothing: of a model, or of a layer",
        "sha256": "SHA-256 of the ONNX file with its external data",
        "size": "bytes of the file",
        "has_metadata": "the metadata table had a row for the model",
        "ir_version": "version of the ONNX format",
        "n_records": "records of the model in meta",
        "n_filters": "filters of the model here",
        "n_skipped": "convolutions of the model without a record",
        "kernels": "JSON: filters by kernel shape",
        "ops": "JSON: nodes by operator of the standard domain",
        "other_ops": "JSON: nodes by operator of other domains",
        "notes": "JSON: what a careful reader should know",
        "kernel": "kernel shape",
    }
)
"""What the columns mean; those that are not here come from the metadata table."""

_GROUPS: Final = 12
_PAPERS: Final = 30
_CELL: Final = 80
_POWERS: Final = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")


@dataclass(frozen=True, slots=True)
class Card:
    """What a card says.

    Parameters
    ----------
    title
        Name of the data set.
    license
        Licence of the weights, by the name that a hub knows it under.
    tables
        The tables of the data set.
    kernel
        Size of the filters.
    n_filters, content_hash
        Of the data set.
    layers
        Columns of ``layers.parquet``, where there is one.
    """

    title: str
    license: str
    tables: Tables
    kernel: Kernel
    n_filters: int
    content_hash: str
    layers: tuple[str, ...] = ()


def render(card: Card) -> str:
    """Return the card as Markdown with a front matter in YAML."""
    sections = (
        _front(card),
        _opening(card),
        _contents(card),
        _queries(card),
        _licence(card),
        _columns(card),
        _citation(card),
    )
    return "\n".join(line for section in sections for line in (*section, "")).rstrip("\n") + "\n"


def _front(card: Card) -> list[str]:
    front: dict[str, Any] = {"license": card.license}
    if card.license == "other":
        front["license_name"] = "licences-of-the-models"
    files = {
        "meta": "meta.parquet",
        "models": "models.parquet",
        **({"skipped": "skipped.parquet"} if len(card.tables.skipped) else {}),
        **({"layers": "layers.parquet"} if card.layers else {}),
        "filters": "filters/*/*.parquet",
    }
    front |= {
        "pretty_name": card.title,
        "tags": ["convolutional-filters", "model-weights", "onnx", "filterdb"],
        "size_categories": [_size_category(card.n_filters)],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == "meta" else {}),
                "data_files": [{"split": "train", "path": path}],
            }
            for name, path in files.items()
        ],
    }
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    return ["---", *text.splitlines(), "---"]


def _size_category(rows: int) -> str:
    """Return the order of magnitude as hubs write it."""
    place = len(str(rows)) - len("1000")
    if place < 0:
        return f"n<{_POWERS[0]}"
    return f"n>{_POWERS[-1]}" if place >= len(_POWERS) - 1 else f"{_POWERS[place]}<n<{_POWERS[place + 1]}"


def _opening(card: Card) -> list[str]:
    tables = card.tables
    ok = int((tables.models["n_records"] > 0).sum())
    return [
        f"# {_text(card.title)}",
        "",
        f"{card.n_filters:,} convolution filters of {card.kernel} from {len(tables.meta):,} layers of "
        f"{ok:,} trained models, each with what is known of its layer and model.",
        f"Written by [filterdb](https://github.com/filterdb/filterdb). Content hash: `{card.content_hash}`.",
    ]


def _contents(card: Card) -> list[str]:
    tables = card.tables
    rows = [
        ("`meta.parquet`", len(tables.meta), "a layer"),
        ("`models.parquet`", len(tables.models), "a model file, failed ones too"),
        ("`skipped.parquet`", len(tables.skipped), "a convolution without filters here, and why"),
    ]
    if card.layers:
        rows.append(("`layers.parquet`", len(tables.meta), "a layer: its quality metrics and labels"))
    rows.append(("`filters/model_id=*/part-0.parquet`", card.n_filters, "a filter: f0, f1, ... row by row"))
    lines = ["## What is inside", "", "| file | rows | one row is |", "|---|---:|---|"]
    lines += [f"| {name} | {count:,} | {what} |" for name, count, what in rows]
    for name in ("Task", "Visual Category"):
        lines += _groups(tables.meta, name)
    return lines


def _groups(meta: pd.DataFrame, name: str) -> Iterator[str]:
    """Count models, layers and filters by a column, the largest first."""
    counts = pd.DataFrame(
        {
            "group": meta[name].fillna("(missing)").to_numpy(),
            "model": meta["model"].to_numpy(),
            "filters": (meta["filter_end"] - meta["filter_start"]).to_numpy(),
        }
    ).groupby("group")
    found = counts.agg(models=("model", "nunique"), layers=("model", "size"), filters=("filters", "sum"))
    found = found.sort_values("filters", ascending=False, kind="stable")
    yield from ("", f"| {name} | models | layers | filters |", "|---|---:|---:|---:|")
    for group, row in found.head(_GROUPS).iterrows():
        yield f"| {_text(str(group))} | {row['models']:,} | {row['layers']:,} | {row['filters']:,} |"
    if (rest := found.iloc[_GROUPS:]).size:
        yield f"| {len(rest):,} more | | {rest['layers'].sum():,} | {rest['filters'].sum():,} |"


def _queries(card: Card) -> list[str]:
    shape = f"{card.kernel.height}, {card.kernel.width}"
    return [
        "## Queries",
        "",
        "The mean absolute centre weight by task, without holding the filters in memory:",
        "",
        "```python",
        "import duckdb",
        "",
        'duckdb.sql("""',
        f"    SELECT Task, count(*) AS filters, avg(abs(f{card.kernel.size // 2})) AS centre",
        "    FROM read_parquet('filters/*/*.parquet', hive_partitioning = true)",
        "    JOIN 'meta.parquet' USING (model_id, layer_id)",
        "    GROUP BY Task ORDER BY Task",
        '""").show()',
        "```",
        "",
        "The same with Polars:",
        "",
        "```python",
        "import polars as pl",
        "",
        'filters = pl.scan_parquet("filters/*/*.parquet", hive_partitioning=True)',
        'meta = pl.scan_parquet("meta.parquet")',
        'joined = filters.join(meta, on=["model_id", "layer_id"])',
        f'centre = pl.col("f{card.kernel.size // 2}").abs().mean()',
        'print(joined.group_by("Task").agg(pl.len(), centre).collect())',
        "```",
        "",
        "The kernels of one layer with pandas:",
        "",
        "```python",
        "import pandas as pd",
        "",
        'meta = pd.read_parquet("meta.parquet")',
        "model_id, _, _, layer_id = meta.index[0]",
        'part = pd.read_parquet(f"filters/model_id={model_id}/part-0.parquet")',
        'layer = part[part["layer_id"] == layer_id].filter(regex=r"^f\\d+$")',
        f"kernels = layer.to_numpy().reshape(-1, {shape})",
        "```",
        "",
        "As the data set file that it was: `filterdb import FOLDER --out dataset.h5`.",
    ]


def _licence(card: Card) -> list[str]:
    lines = ["## Licence", ""]
    if card.license == "other":
        return [
            *lines,
            "No licence has been stated for this data set. The filters are the weights of models that others "
            "have trained, and each model's own terms hold for them: see the columns `Name`, `Paper` and "
            "`Dataset URL` of `models.parquet`. Whoever publishes this folder must make sure that they may.",
        ]
    return [
        *lines,
        f"{_code(card.license)}, as stated by whoever exported the data set. filterdb has not checked it "
        "against the terms of the models whose weights these are.",
    ]


def _columns(card: Card) -> list[str]:
    lines = ["## Columns", ""]
    for name, frame in card.tables.by_name().items():
        levels = [str(level) for level in frame.index.names if level is not None]
        types = {str(column): str(kind) for column, kind in frame.reset_index().dtypes.items()}
        lines += [f"### {name}.parquet", "", "| column | type | meaning |", "|---|---|---|"]
        lines += _described([*levels, *map(str, frame.columns)], types, card.tables.models)
        lines.append("")
    if card.layers:
        shown = ", ".join(_code(name) for name in card.layers)
        lines += ["### layers.parquet", "", f"The first four columns of meta, and: {shown}.", ""]
    return [
        *lines,
        "### filters",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
        f"| `filter_id` | int64 | {MEANINGS['filter_id']} |",
        f"| `layer_id` | int64 | {MEANINGS['layer_id']} |",
        f"| `f0` to `f{card.kernel.size - 1}` | float32 | the values of the kernel, row by row |",
        f"| `model_id` | | {MEANINGS['model_id']} |",
    ]


def _described(columns: Iterable[str], types: Mapping[str, str], models: pd.DataFrame) -> Iterator[str]:
    """Describe columns one by one, but for counts: there may be hundreds of those."""
    shapes = operators = 0
    for name in columns:
        if schema.is_kernel_column(name):
            shapes += 1
        elif name in MEANINGS or name in models.columns:
            meaning = MEANINGS.get(name, "from the metadata table")
            yield f"| {_code(name)} | {types[name]} | {meaning} |"
        else:
            operators += 1
    if shapes:
        yield f"| `(X, Y) filters` | int64 | {shapes:,} columns: filters of the model by kernel shape |"
    if operators:
        yield f"| operators | int64 | {operators:,} columns: nodes of the model by operator |"


def _citation(card: Card) -> list[str]:
    papers = card.tables.models["Paper"].dropna().drop_duplicates().tolist()
    lines = [
        "## Citation",
        "",
        "The questions that such a data set answers, and the first of its kind:",
        "",
        "```bibtex",
        "@inproceedings{gavrikov2022cnnfilterdb,",
        "  title     = {{CNN} Filter {DB}: An Empirical Investigation of Trained Convolutional Filters},",
        "  author    = {Gavrikov, Paul and Keuper, Janis},",
        "  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},",
        "  year      = {2022}",
        "}",
        "```",
    ]
    if papers:
        more = len(papers) - _PAPERS
        lines += ["", "The models come from:", "", *(f"- {_text(paper)}" for paper in papers[:_PAPERS])]
        lines += [f"- and {more:,} more, in the column `Paper` of `models.parquet`"] if more > 0 else []
    return lines


def _code(text: str) -> str:
    """Return text as code that no table and no Markdown can take for its own."""
    return f"`{_short(text).replace('`', chr(39)).replace('|', '¦')}`"


def _text(text: str) -> str:
    """Return text that a file may have chosen with nothing in it for Markdown or HTML to obey."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", html.escape(_short(text), quote=False))


def _short(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= _CELL else f"{line[: _CELL - 3]}..."
