"""Read a configuration file, and say what is wrong with it."""

from __future__ import annotations

import reprlib
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from filterdb.errors import ConfigError, nearest

_MAX_BYTES = 1 << 20
_MAX_KEYS = 10_000
_MAX_DIGITS = 1_000
_SHOWN, _LINES = 100, 1_000
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Refuses a key that appears twice, of which YAML would keep the last, and what takes hours to make."""

    merged = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = next((key for key, count in counts.items() if count > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"the key {twice[:_SHOWN]!r} appears twice")
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Each mapping that is merged into another one may have been merged of many itself.
        for key, value in node.value:
            if key.tag == _MERGE:
                for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(other, yaml.MappingNode):
                        self.flatten_mapping(other)
                        self.merged += len(other.value)
                    if self.merged > _MAX_KEYS:
                        raise yaml.YAMLError(f"more than {_MAX_KEYS:,} keys are merged into mappings")
        super().flatten_mapping(node)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        if len(node.value) > _MAX_DIGITS:
            raise yaml.YAMLError(f"a number has {len(node.value):,} characters")
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a configuration file holds, as plain containers.

    Raises
    ------
    ConfigError
        If it cannot be read, or holds no mapping.
    """
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
        raise ConfigError(f"the file is no YAML: {str(error)[:_LINES]}", where=path) from error
    except (AttributeError, LookupError, OverflowError, TypeError) as error:
        # What the loader says of a tag whose value is none of its kind, such as "!!bool x".
        raise ConfigError("the file is no YAML: a value does not fit its tag", where=path) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError("the file holds no mapping", where=path, expected="lines such as 'zoo: models/'")
    return data


def explain(model: type[BaseModel], error: ValidationError, where: object) -> ConfigError:
    """Turn pydantic's first complaint into a message that names the key and the nearest known one."""
    first, *others = error.errors(include_url=False)
    section, path, unknown = _locate(model, first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(section.model_fields)
        close = nearest(unknown, known)
        return ConfigError(
            f"unknown key {'.'.join([*path, unknown[:_SHOWN]])!r}",
            where=where,
            expected=f"one of {', '.join(known)}",
            hint=f"did you mean {close!r}?" if close else None,
        )
    # A key that may be of several kinds has a complaint for each.
    same = [first, *(other for other in others if _locate(model, other["loc"])[1] == path)]
    messages = dict.fromkeys(entry["msg"].removeprefix("Value error, ") for entry in same)
    # The input may be nested without end, and repeated without bound.
    value = reprlib.repr(first["input"])[:_SHOWN]
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
