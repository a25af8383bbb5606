"""Reads configurations from files and overrides, and turns mistakes in them into helpful errors."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from agent_rl.config.schema import RunConfig
from agent_rl.errors import ConfigError


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration in `path` with `overrides` (`key.sub=value`, value in TOML, or a bare string).

    If there is no such file, `configs/NAME.toml` and `NAME` are the shipped config of this name. Raises ConfigError
    that names the file, the key, and the nearest valid key.
    """
    path = Path(path)
    shipped = shipped_configs()
    name = path.name.removesuffix(".toml")
    if not path.exists() and name in shipped and path.parent in (Path("."), Path("configs")):
        path = shipped[name]
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", key="CONFIG", value=name, valid=shipped) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a readable TOML file: {error}", key="CONFIG") from None
    return parse_config(with_overrides(data, overrides), source=str(path))


def with_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`data`, in which each of `overrides` (`key.sub=value`) has been set in place. Raises ConfigError."""
    for override in overrides:
        _apply(data, override)
    return data


def shipped_configs() -> dict[str, Path]:
    """Name -> file of each config that comes with agent-rl: in a wheel inside the package, in a checkout beside it."""
    package = Path(__file__).parent.parent
    folders = package / "configs", package.parent / "configs"
    return {
        file.stem: file for folder in reversed(folders) if folder.is_dir() for file in sorted(folder.glob("*.toml"))
    }


def parse_config(data: Mapping[str, Any], source: str = "config") -> RunConfig:
    """`data` validated. Raises ConfigError for the first mistake."""
    try:
        return RunConfig.model_validate(dict(data))
    except ValidationError as error:
        raise config_error(error, RunConfig, source) from None


def config_error(error: ValidationError, schema: type[BaseModel], source: str, *, prefix: str = "") -> ConfigError:
    """The first mistake of `error` as a ConfigError; for an unknown key it suggests the nearest valid key.

    `prefix` is put before the key: it names the table that `schema` describes.
    """
    first = error.errors()[0]
    location = first["loc"]
    inner = ".".join(str(part) for part in location)
    key = f"{prefix}{inner}" if inner else source
    if first["type"] == "extra_forbidden":
        valid = _fields_at(schema, location[:-1])
        return ConfigError(f"unknown key in {source}", key=key, value=location[-1], valid=valid)
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return ConfigError(message if key == source else f"{message} ({source})", key=key)
    if first["type"] == "missing":
        return ConfigError(f"missing in {source}", key=key)
    value = first.get("input")
    choices = re.findall(r"'([^']+)'", first.get("ctx", {}).get("expected", ""))
    message = f"{first['msg']}, got {value!r} ({source})"
    return ConfigError(message, key=key, value=value, valid=choices if isinstance(value, str) else ())


def _fields_at(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the table at `location`."""
    model: Any = schema
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def parse_options(given: Iterable[str] | None, option: str = "--option") -> dict[str, Any]:
    """The table made from `KEY=VALUE` texts; `KEY.SUB=VALUE` makes a nested table.

    Raises ConfigError for a text without `=` and for a key that is given twice.
    """
    options: dict[str, Any] = {}
    for text in given or ():
        key, separator, value = text.partition("=")
        *parents, last = (part.strip() for part in key.split("."))
        if not separator or not last:
            raise ConfigError("expected KEY=VALUE", key=option, value=text)
        at = options
        for part in parents:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise ConfigError(f"{part} is given as a value and as a table", key=option, value=text)
        if last in at:
            raise ConfigError(f"{key.strip()} is given twice", key=option, value=text)
        at[last] = _toml_value(value)
    return options


def _toml_value(text: str) -> Any:
    """`text` parsed as a TOML value, or `text` itself if it is not one."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _apply(data: dict[str, Any], override: str) -> None:
    """`data` has the override `key.sub=value`, set in place; a numeric part of the key indexes a list."""
    key, separator, text = override.partition("=")
    if not separator:
        raise ConfigError("expected key=value", key="--set", value=override)
    value = _toml_value(text)
    at: Any = data
    *parents, last = key.strip().split(".")
    for part in parents:
        at = _item(at, part, override) if isinstance(at, list) else at.setdefault(part, {})  # pyright: ignore
        if not isinstance(at, (dict, list)):
            raise ConfigError(f"{part!r} is not a table", key="--set", value=override)
    if isinstance(at, list):
        _item(at, last, override)  # pyright: ignore
        at[int(last)] = value
    else:
        at[last] = value


def _item(items: list[Any], part: str, override: str) -> Any:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(f"{part!r} is not an index into a list of {len(items)}", key="--set", value=override)
    return items[int(part)]
