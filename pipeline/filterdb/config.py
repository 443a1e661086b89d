"""The configuration of a run: YAML with one section a stage, checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from filterdb.errors import ConfigError, nearest
from filterdb.types import Kernel

DEMO = "package:demo"
"""Stands for the zoo that ships with the package, wherever it is installed."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_kernel(value: object) -> object:
    if isinstance(value, str):
        return Kernel.parse(value)
    return value


def _as_bytes(value: object) -> object:
    return parse_size(value) if isinstance(value, str) and value != "auto" else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ExtractConfig(_Section):
    """How filters are extracted."""

    kernel: Annotated[Kernel, BeforeValidator(_as_kernel)] = Kernel(3, 3)
    compression: Literal["none", "gzip"] = "none"
    timeout: Annotated[float, Field(gt=0)] = 600.0
    memory: Annotated[int | Literal["auto"], BeforeValidator(_as_bytes)] = "auto"


class AnalyzeConfig(_Section):
    """What is computed from a data set."""

    by: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ("Task", "Visual Category", "depth_decile")
    bins: Annotated[int, Field(ge=2, le=10_000)] = 70


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
        Processes; ``auto`` is one a core.
    scheduler
        ``local``, or the address of a running Dask scheduler, such as ``tcp://10.0.0.1:8786``.
    strict
        Stop with an error where a model fails, instead of listing it.
    """

    name: str = ""
    zoo: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    metadata: str | None = None
    workers: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    scheduler: str = "local"
    strict: bool = False
    extract: ExtractConfig = ExtractConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()

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


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "no such configuration file", where=path, hint="configs/demo.yaml is an example"
        ) from None
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file is no YAML: {error}", where=path) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError("the file holds no mapping", where=path, expected="lines such as 'zoo: models/'")
    return data


def _explain(model: type[BaseModel], error: ValidationError, where: object) -> ConfigError:
    """Turn pydantic's first complaint into a message that names the key and the nearest known one."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"] if isinstance(part, str)]
    key = ".".join(location) or "?"
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        return ConfigError(f"{key} = {first['input']!r} cannot be used", where=where, expected=message)
    section = model
    for part in location[:-1]:
        annotation = section.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    known = list(section.model_fields)
    close = nearest(location[-1], known)
    return ConfigError(
        f"unknown key {key!r}",
        where=where,
        expected=f"one of {', '.join(known)}",
        hint=f"did you mean {close!r}?" if close else None,
    )


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str) -> int:
    """Read a size in bytes such as ``"4 GiB"``.

    Parameters
    ----------
    text
        A number with a unit.
    """
    digits = text.strip().rstrip("BKMGIbkmgi ")
    unit = text.strip()[len(digits) :].strip().upper()
    try:
        return int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError):
        raise ValueError(f"a size is written like 4GiB or 500MB, got {text!r}") from None


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
