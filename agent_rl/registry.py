"""Resolves names to classes: `package.module:Class`, `path/to/file.py:Class`, or a registered short name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from agent_rl.errors import ConfigError


def registered(group: str) -> dict[str, Any]:
    """Short name -> entry point of every installed package in `group` (such as "agent_rl.environments")."""
    return {point.name: point for point in entry_points(group=group)}


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
        name = points[name].value
    module_name, _, attribute = name.rpartition(":")
    try:
        module = _from_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    except ConfigError as error:
        raise ConfigError(str(error), key=key) from None
    except Exception as error:
        raise ConfigError(f"{name} cannot be imported: {type(error).__name__}: {error}", key=key) from error
    if not hasattr(module, attribute):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise ConfigError(f"{module_name} has no {attribute!r}", key=key, value=attribute, valid=public)
    return getattr(module, attribute)


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
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
