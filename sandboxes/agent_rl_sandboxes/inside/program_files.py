"""The file of a run's program: honest programs read their own source, start themselves, or are imported by children.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import builtins
import os
import sys
import types
from importlib.machinery import ModuleSpec, SourceFileLoader

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


_placed: dict[str, tuple[int, int, int, int]] = {}
"""Path -> what `_mark` said of the file after it was written."""


def place(program: str, module: str = "solution") -> str:
    """The absolute path of the program's file, in the working folder, where children find `module`.

    What a program has put there since the last call is replaced, and never followed. Where the file cannot be written
    (no disk is left), there is none: the program runs all the same.
    """
    folder = os.getcwd()
    path = f"{folder}/{module.replace('.', '/')}.py"
    if sys.path[:1] != [folder]:
        # As the interpreter does for a script: children that import it by name are given this path.
        sys.path.insert(0, folder)
    try:
        if path in _placed and _mark(path) == _placed[path]:
            return path
        if "." in module:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            descriptor = os.open(path, _NEW, 0o644)
        except FileExistsError:
            os.unlink(path)
            descriptor = os.open(path, _NEW, 0o644)
        try:
            content = memoryview(program.encode("utf-8", "surrogatepass"))
            while content:
                content = content[os.write(descriptor, content) :]
        finally:
            os.close(descriptor)
        _placed[path] = _mark(path)
    except OSError:
        return path
    return path


def _mark(path: str) -> tuple[int, int, int, int]:
    """What changes with the file. (A program cannot set the time of the last change.)"""
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def empty_module(name: str, path: str) -> types.ModuleType:
    """A module as the interpreter makes it for the file `path`, before the code is executed.

    As `__main__` it has no spec, so that multiprocessing finds it by its file, and `__builtins__` is a module.
    """
    module = types.ModuleType(name)
    loader = SourceFileLoader(name, path)
    module.__file__ = path
    module.__loader__ = loader
    if name == "__main__":
        module.__dict__["__builtins__"] = builtins
    else:
        module.__spec__ = spec = ModuleSpec(name, loader, origin=path)
        spec.has_location = True
        module.__package__ = spec.parent
    return module
