"""The file of a run's program: honest programs read their own source, start themselves, or are imported by children.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import os
import sys
import types
from importlib.machinery import ModuleSpec, SourceFileLoader


def place(program: str, module: str = "solution") -> str:
    """The absolute path of the program's file, newly written, in the working folder, where `module` is found.

    Whatever a program has put there is replaced, and never followed. Where the file cannot be written (no disk is
    left), there is none: the program runs all the same.
    """
    name = module.replace(".", "/") + ".py"
    folder = os.getcwd()
    path = os.path.join(folder, name)
    if sys.path[:1] != [folder]:
        # As the interpreter does for a script: children that import it by name are given this path.
        sys.path.insert(0, folder)
    try:
        if "/" in name:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            descriptor = _new(path)
        except FileExistsError:
            os.unlink(path)
            descriptor = _new(path)
        try:
            content = memoryview(program.encode("utf-8", "surrogatepass"))
            while content:
                content = content[os.write(descriptor, content) :]
        finally:
            os.close(descriptor)
    except OSError:
        return path
    return path


def _new(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def empty_module(name: str, path: str) -> types.ModuleType:
    """A module as the interpreter makes it for the file `path`, before the code is executed.

    As `__main__` it has no spec, so that multiprocessing finds it by its file.
    """
    module = types.ModuleType(name)
    loader = SourceFileLoader(name, path)
    module.__file__ = path
    module.__loader__ = loader
    if name != "__main__":
        module.__spec__ = spec = ModuleSpec(name, loader, origin=path)
        spec.has_location = True
        module.__package__ = spec.parent
    return module
