"""Resolves names to classes: `package.module:Class`, `path/to/file.py:Class`, or a registered short name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires
from pathlib import Path
from types import ModuleType
from typing import Any

from agent_rl.errors import ConfigError

_OR = " or "
_FILES: dict[str, str] = {}
"""Module that was imported from a file -> the file."""


def registered(group: str) -> dict[str, EntryPoint]:
    """Short name -> entry point of every installed package in `group` (such as "agent_rl.environments").

    A name that several packages give to different classes stands for none of them: its entry point has the value of
    each, joined by " or ", and `resolve` refuses it. So no package can take the place of another one's class.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        known = found.get(point.name)
        if known is None or point.value in known.value.split(_OR):
            found.setdefault(point.name, point)
        else:
            values = sorted([*known.value.split(_OR), point.value])
            found[point.name] = EntryPoint(point.name, _OR.join(values), group)
    return found


def resolve(name: str, group: str, *, key: str) -> Any:
    """The object that `name` names. Raises ConfigError with `key` and the reason if it cannot be found or loaded."""
    if ":" not in name:
        points = registered(group)
        if name not in points:
            raise ConfigError(
                f"{name!r} is not registered under {group} (registered: {', '.join(sorted(points)) or 'none'}); "
                "other classes are named package.module:Class or path/to/file.py:Class",
                key=key,
                value=name,
                valid=points,
            )
        value = points[name].value
        if _OR in value:
            raise ConfigError(
                f"several packages register {name!r}: name the class that is meant, {value}",
                key=key,
                value=name,
            )
        name = value
    module_name, _, attribute = name.rpartition(":")
    try:
        module = _from_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    except ConfigError as error:
        raise ConfigError(str(error), key=key) from None
    except ModuleNotFoundError as error:
        reason = install_command(error.name or "") or f"{name} cannot be imported: {type(error).__name__}: {error}"
        raise ConfigError(reason, key=key) from error
    except Exception as error:
        raise ConfigError(f"{name} cannot be imported: {type(error).__name__}: {error}", key=key) from error
    if not hasattr(module, attribute):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise ConfigError(f"{module_name} has no {attribute!r}", key=key, value=attribute, valid=public)
    return getattr(module, attribute)


def class_name(kind: type) -> str:
    """The name by which `resolve` finds the class in another process: package.module:Class, or path:Class of a file."""
    file = _FILES.get(kind.__module__)
    return f"{kind.__module__ if file is None else file}:{kind.__qualname__}"


def install_command(module: str) -> str:
    """Says that `module` is not installed, and which extra of agent-rl brings it; "" if none does."""
    package = module.partition(".")[0]
    try:
        lines = requires("agent-rl") or []
    except PackageNotFoundError:
        return ""
    for line in lines:
        found = re.match(r"([\w.-]+).*extra *== *['\"](\w+)['\"]", line)
        if found is not None and found[1].replace("-", "_").lower() == package.lower():
            return f"{package} is not installed: pip install 'agent-rl[{found[2]}]'"
    return ""


def require_packages(*names: str) -> None:
    """Raises ConfigError for the first of `names`, packages of an extra of agent-rl, that is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(install_command(name) or f"{name} is not installed")


def _from_file(path: str) -> ModuleType:
    """The module in the file `path`, imported once under a name of its own."""
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ConfigError(f"there is no file {path}")
    name = f"agent_rl_file_{file.stem}_{hashlib.blake2b(str(file).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _FILES[name] = str(file)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name], _FILES[name]
        raise
    return module
