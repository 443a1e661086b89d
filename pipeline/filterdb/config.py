"""The configuration of a run: YAML with one section a stage, checked before anything starts."""

from __future__ import annotations

import re
import reprlib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from filterdb.errors import ConfigError, nearest
from filterdb.types import Kernel

DEMO = "package:demo"
"""Stands for the zoo that ships with the package, wherever it is installed."""

LOCAL_SCHEDULERS = ("local", "threads", "processes")
"""Schedulers without a Dask cluster."""

SCHEDULERS = (*LOCAL_SCHEDULERS, "cluster")
"""All schedulers that have a name; others have an address."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_kernel(value: object) -> object:
    if isinstance(value, str):
        return Kernel.parse(value)
    if not isinstance(value, Kernel):
        raise ValueError("a kernel is written like 3x3")  # noqa: TRY004 - what pydantic expects
    return value


def _as_bytes(value: object) -> object:
    return parse_size(value) if isinstance(value, str) and value != "auto" else value


def _checked_name(name: str) -> str:
    if name.startswith(".") or not name.isprintable() or len(name) > 100 or set(name) & set("/\\"):
        raise ValueError("the name of a folder, without slashes")
    return name


def _checked_scheduler(name: str) -> str:
    if name in SCHEDULERS or re.fullmatch(r"[a-z]+://\S+", name):
        return name
    close = nearest(name, SCHEDULERS)
    meant = f"; did you mean {close!r}?" if close else ""
    raise ValueError(f"{', '.join(SCHEDULERS)}, or an address such as tcp://10.0.0.1:8786{meant}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ExtractConfig(_Section):
    """How filters are extracted."""

    kernel: Annotated[Kernel, BeforeValidator(_as_kernel)] = Kernel(3, 3)
    compression: Literal["none", "gzip"] = "none"
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    memory: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(_as_bytes)] = "auto"


class RelabelRule(_Section):
    """Which labels of a column count as another one.

    Parameters
    ----------
    column
        A column of text.
    contains, equals
        A part of the labels, or all of it; one of the two. Capital letters matter.
    to
        What they become.
    """

    column: Annotated[str, Field(min_length=1)]
    contains: Annotated[str, Field(min_length=1)] | None = None
    equals: str | None = None
    to: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _looks_for_one(self) -> Self:
        if (self.contains is None) == (self.equals is None):
            raise ValueError("either contains or equals")
        return self


class LabelsConfig(_Section):
    """Where the labels of layers begin; ``docs/metrics.md`` has the rules.

    Parameters
    ----------
    low_entropy
        A layer of a lower variance entropy has low diversity.
    random_margin
        How far below T_H a layer already counts as degenerate.
    sparse
        The sparsity from which a layer of low diversity is degenerate.
    """

    low_entropy: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    random_margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02
    sparse: Annotated[float, Field(ge=0, le=1)] = 0.14


class AnalyzeConfig(_Section):
    """What is computed from a data set.

    Parameters
    ----------
    relabel
        Labels that count as others, for everything that is computed.
    by
        Axes: columns, ``depth_decile`` or expressions.
    combine_with
        A second axis that every one of them is combined with.
    where
        An expression; records for which it is not true belong to no group.
    policy
        ``paper``: the bins divide the range of all coefficients, and a component weighs what it explains.
        ``fixed``: they divide -3 to 3, and all components weigh the same. That of a given basis, else
        ``paper``, where not said.
    basis
        ``all``: fitted to all records. ``subset``: to those that ``where`` selects, whose range counts.
        Else a ``basis.json``, whose coordinates, bins and weights are used as they are.
    bins
        Bins a component; those of a given basis, else 70, where not said.
    measure
        How two groups are compared.
    weighting
        What counts alike in a group.
    seed, permutations, draws
        Of the uncertainty.
    labels
        Where the labels of layers begin.
    """

    relabel: tuple[RelabelRule, ...] = ()
    by: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ("Task", "Visual Category", "depth_decile")
    combine_with: str | None = None
    where: str | None = None
    policy: Literal["paper", "fixed"] | None = None
    basis: Annotated[str, Field(min_length=1)] = "all"
    bins: Annotated[int, Field(ge=2, le=10_000)] | None = None
    measure: Literal["paper", "jensen_shannon", "wasserstein"] = "paper"
    weighting: Literal["filters", "layers", "models"] = "filters"
    seed: Annotated[int, Field(ge=0)] = 0
    permutations: Annotated[int, Field(ge=1, le=1_000_000)] = 999
    draws: Annotated[int, Field(ge=1, le=1_000_000)] = 999
    labels: LabelsConfig = LabelsConfig()


class FiguresConfig(_Section):
    """How figures are drawn.

    Parameters
    ----------
    width
        Of the page that they are for: one ``column``, or ``double``.
    ridges
        ``bins``: from the cube. ``exact``: from every filter. ``auto``: exact up to ten million filters.
    groups
        How many groups a figure shows at most.
    models
        Models whose filters are shown; those with the largest and the smallest share of degenerate layers
        where none is named.
    dpi
        Pixels an inch, of the PNG.
    """

    width: Literal["column", "double"] = "double"
    ridges: Literal["auto", "bins", "exact"] = "auto"
    groups: Annotated[int, Field(ge=2, le=60)] = 20
    models: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    dpi: Annotated[int, Field(ge=50, le=1200)] = 300


class RunConfig(_Section):
    """Everything a run needs to know; one YAML file.

    Parameters
    ----------
    name
        Names the folder of the outputs, ``build/<name>``; the file's stem where not given.
    zoo
        Folders of models, or single models; :data:`DEMO` is the zoo that ships with the package.
    metadata
        The CSV or Parquet file that describes the models.
    workers
        Processes or threads; ``auto`` is one a core. A running Dask cluster has its own.
    scheduler
        ``local``, ``threads``, ``processes``, ``cluster``, or the address of a running Dask scheduler, such
        as ``tcp://10.0.0.1:8786``; ``docs/cluster.md`` says what each is.
    dashboard
        Say where the dashboard of the Dask cluster is.
    performance_report
        The HTML file that Dask's report of an analysis on a cluster goes to.
    strict
        Stop with an error where a model fails, instead of listing it.
    """

    name: Annotated[str, AfterValidator(_checked_name)] = ""
    zoo: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    metadata: str | None = None
    workers: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    scheduler: Annotated[str, AfterValidator(_checked_scheduler)] = "local"
    dashboard: bool = False
    performance_report: str | None = None
    strict: bool = False
    extract: ExtractConfig = ExtractConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()
    figures: FiguresConfig = FiguresConfig()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a configuration file.

        Raises
        ------
        ConfigError
            If the file cannot be read, or a key or value is unknown.
        """
        data = _read_yaml(path)
        data.setdefault("name", path.stem)
        return cls.parse(data, where=path)

    @classmethod
    def parse(cls, data: dict[str, Any], *, where: object) -> Self:
        """Check plain containers and make them a configuration."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _explain(cls, error, where) from None

    def with_values(self, **values: Any) -> Self:
        """Return the configuration with top-level values that are not ``None`` replaced."""
        given = {name: value for name, value in values.items() if value is not None}
        return type(self).parse({**dict(self), **given}, where="command line")

    def with_extract(self, **values: Any) -> Self:
        """Return the configuration with values of the section ``extract`` replaced."""
        given = {name: value for name, value in values.items() if value is not None}
        return self.with_values(extract={**dict(self.extract), **given})

    def with_analyze(self, **values: Any) -> Self:
        """Return the configuration with values of the section ``analyze`` replaced."""
        given = {name: value for name, value in values.items() if value is not None}
        return self.with_values(analyze={**dict(self.analyze), **given})

    def with_figures(self, **values: Any) -> Self:
        """Return the configuration with values of the section ``figures`` replaced."""
        given = {name: value for name, value in values.items() if value is not None}
        return self.with_values(figures={**dict(self.figures), **given})


_MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """Refuses a key that appears twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            raise yaml.YAMLError(f"the key {twice!r} appears twice")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ConfigError("the file is too large", where=path, expected=f"{_MAX_BYTES:,} bytes at most")
        # The loader is one of SafeLoader's kind: it makes plain containers and nothing else.
        data = yaml.load(text.decode("utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(
            "no such configuration file", where=path, hint="configs/demo.yaml is an example"
        ) from None
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=path) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"the file is no YAML: {error}", where=path) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError("the file holds no mapping", where=path, expected="lines such as 'zoo: models/'")
    return data


def _explain(model: type[BaseModel], error: ValidationError, where: object) -> ConfigError:
    """Turn pydantic's first complaint into a message that names the key and the nearest known one."""
    first, *others = error.errors(include_url=False)
    section, path, unknown = _locate(model, first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(section.model_fields)
        close = nearest(unknown, known)
        return ConfigError(
            f"unknown key {'.'.join([*path, unknown])!r}",
            where=where,
            expected=f"one of {', '.join(known)}",
            hint=f"did you mean {close!r}?" if close else None,
        )
    # A key that may be of several kinds has a complaint for each.
    same = [first, *(other for other in others if _locate(model, other["loc"])[1] == path)]
    messages = dict.fromkeys(entry["msg"].removeprefix("Value error, ") for entry in same)
    # The input may be nested without end, and repeated without bound.
    value = reprlib.repr(first["input"])[:100]
    return ConfigError(
        f"{'.'.join(path) or 'the file'} = {value} cannot be used",
        where=where,
        expected=", or ".join(messages),
    )


def _locate(
    model: type[BaseModel], location: tuple[str | int, ...]
) -> tuple[type[BaseModel], list[str], str]:
    """Return the section that a complaint is about, the keys down to it, and what follows them."""
    section, path = model, list[str]()
    for part in location:
        if isinstance(part, int) and path:
            path[-1] += f"[{part}]"
            continue
        if not isinstance(part, str) or part not in section.model_fields:
            return section, path, str(part)
        path.append(part)
        inner = _section_of(section.model_fields[part].annotation)
        if inner is None:
            break
        section = inner
    return section, path, ""


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a key holds, or holds a list of."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read a size in bytes such as ``"4 GiB"`` or ``"500MB"``.

    Parameters
    ----------
    text
        A number with a unit; bytes where there is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]) or len(match[1]) > 24:
        raise ValueError(f"a size is written like 4GiB or 500MB, got {text!r}")
    base = 1024 if match[3] else 1000
    return int(Fraction(match[1]) * base ** " KMGT".index(match[2].upper() or " "))


def demo_folder() -> Path:
    """Return the folder of the zoo that ships with the package."""
    return Path(__file__).parent / "demo"


def resolve_zoo(entry: str) -> Path:
    """Return the folder or file that an entry of ``zoo`` stands for."""
    return demo_folder() / "zoo" if entry == DEMO else Path(entry).expanduser()


def resolve_metadata(entry: str | None) -> Path | None:
    """Return the file that ``metadata`` stands for."""
    if entry is None:
        return None
    return demo_folder() / "models.csv" if entry == DEMO else Path(entry).expanduser()
