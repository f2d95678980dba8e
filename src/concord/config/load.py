"""From a file, the environment and the command line to a checked config; mistakes in one line."""

from __future__ import annotations

import os
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from concord.config.schema import Config
from concord.errors import ConfigError, MissingDataError, UnknownNameError
from concord.files import parse_json

ENVIRONMENT = "CONCORD_"
"""Variables that begin so override a config: `CONCORD_TRAINING__STEPS=100`, `CONCORD_DATA=...`."""

PLACES = ("data", "output")
"""Keys of the top level that hold a place."""


def read_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read a config.

    In the result `data` is absolute. It is relative to the file as it stands there, and to the current
    folder where it was overridden. Environment comes after file, `overrides` after environment.

    Args:
        path: A .yaml, .yml, .toml or .json file.
        overrides: `KEY.KEY=VALUE`, the value in YAML; an element of a list by its number.
        environment: Where overrides `CONCORD_KEY__KEY` are looked for; `os.environ` unless given.

    Raises:
        MissingDataError: No such file.
        ConfigError: A file that cannot be read, or a value that is not allowed; names file and key.
        UnknownNameError: An unknown key; names its path and the nearest known one.
    """
    path = Path(path)
    values = _read(path)
    values["data"] = data_folder(path.parent, values.get("data"), str(path))
    values["output"] = _place(values.get("output"), "output", str(path)) or f"runs/{path.stem}"
    return overridden(values, overrides, str(path), environment)


def overridden(
    values: dict[str, Any],
    overrides: Sequence[str],
    where: str,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Put overrides into plain data, and check it; see `read_config`."""
    default = values.get("output")
    for name, key, value in _from_environment(os.environ if environment is None else environment):
        _put(values, key, value, name)
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"an override is KEY.KEY=VALUE, found {text!r}")
        parsed = value if name.strip() in PLACES else _parsed(value, f"--set {name}")
        _put(values, name.strip().split("."), parsed, f"--set {name}")
    values["data"] = data_folder(Path.cwd(), values["data"], where)
    values["output"] = _place(values.get("output"), "output", where) or default
    return as_config(values, where)


def as_config(values: Mapping[str, Any], where: str = "the config") -> Config:
    """Check plain data and make a config of it.

    Raises:
        ConfigError: A key that is missing, or a value that is not allowed.
        UnknownNameError: An unknown key; names its path and the nearest known one.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        # An unknown key explains most of what else is wrong, so it comes first.
        found = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        first = found[0]
    place = ".".join(str(part) for part in first["loc"] if not _is_branch(part))
    if first["type"] == "extra_forbidden":
        known = _keys_at(first["loc"][:-1])
        unknown = UnknownNameError.of("key", place, [])
        near = UnknownNameError.of("key", first["loc"][-1], known)
        raise UnknownNameError(f"{where}: {str(unknown).partition(';')[0]}; {str(near).partition('; ')[2]}")
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        reason = "is missing"
    raise ConfigError(f"{where}{f', {place}' if place else ''}: {reason[:1].lower()}{reason[1:]}")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        if path.suffix not in (".yaml", ".yml"):
            raise MissingDataError(f"no config and no output folder at {path}")
        raise MissingDataError(f"no config at {path}; `concord init {path}` writes one to start from")
    try:
        values = plain_data(path)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys, found {type(values).__name__}")
    return values


def plain_data(path: Path) -> Any:
    """What a file holds, by its ending: TOML, JSON, or else YAML.

    Raises:
        ValueError: Another form, or a key that a mapping has twice.
        OSError: It cannot be read.
    """
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":  # not every JSON is YAML 1.1, where tabs are refused and 1e-05 is a text
        return parse_json(text, once=True)
    try:
        return tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _yaml(text: str) -> Any:
    from concord.config.yaml_text import parsed_yaml

    return parsed_yaml(text)


def origin_of(data: str) -> str:
    """What to add to an error about a missing file: that the environment chose the folder of the data."""
    name = f"{ENVIRONMENT}DATA"
    given = os.environ.get(name)
    if not given or data_folder(Path.cwd(), given, name) != data_folder(Path.cwd(), data, name):
        return ""
    return f" (data is {data}, from {name})"


def data_folder(base: Path, given: Any, where: str) -> str:
    """The absolute folder that a key `data` names: relative to `base`, which it is where it is left blank.

    Raises:
        ConfigError: No text; `where` begins the message.
    """
    return os.path.abspath(base / (_place(given, "data", where) or "."))


def _place(given: Any, key: str, where: str) -> str | None:
    """A folder as a config names it, with ~ as the home of its user; None where it is left blank."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise ConfigError(f"{where}, {key}: the name of a folder is needed, found {given!r}")
    return os.path.expanduser(given) or None


def _parsed(text: str, where: str) -> Any:
    try:
        return _yaml(text)
    except ValueError as error:
        raise ConfigError(f"{where}: cannot read the value {text!r}") from error


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, list[str], Any]]:
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT):
            continue
        key = name.removeprefix(ENVIRONMENT).lower().split("__")
        # A single word may belong to anybody; only places are taken from one.
        if len(key) > 1:
            yield name, key, _parsed(value, name)
        elif key[0] in PLACES and value:  # an empty variable is none
            yield name, key, value


def _put(values: dict[str, Any], key: Sequence[str], value: Any, where: str) -> None:
    inner: Any = values
    for i, part in enumerate(key):
        last = i == len(key) - 1
        if isinstance(inner, list):
            if not (part.isascii() and part.isdigit()) or len(part) > 9 or int(part) >= len(inner):
                raise ConfigError(
                    f"{where}: {'.'.join(key[:i])} is a list of {len(inner)}, counted from 0, found {part!r}"
                )
            place: Any = int(part)
        elif isinstance(inner, dict):
            # Names in a file may have capitals, variables of the environment have nothing else.
            place = part if part in inner else next((k for k in inner if str(k).lower() == part), part)
        else:
            raise ConfigError(f"{where}: {'.'.join(key[:i])} holds a value and has no {part!r}")
        if last:
            inner[place] = value
        elif isinstance(inner, list):
            inner = inner[place]
        else:
            if inner.get(place) is None:
                inner[place] = {}
            inner = inner[place]


def _is_branch(part: Any) -> bool:
    """Whether pydantic put a part into a place to say which side of a union it tried."""
    return isinstance(part, str) and (
        part.startswith(("constrained-", "literal[", "function-")) or part == "int"
    )


def _keys_at(place: Sequence[Any]) -> list[str]:
    kind: Any = Config
    for part in place:
        kind = _inner(kind, part)
    sides = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    models = (side for side in sides if isinstance(side, type) and issubclass(side, BaseModel))
    return [key for model in models for key in model.model_fields]


def _inner(kind: Any, part: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields[part].annotation
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return next((_inner(side, part) for side in arguments if side is not type(None)), None)
    return arguments[-1] if arguments else None
