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


def path_of(module: str = "solution") -> str:
    """The absolute path of the program's file, in the working folder, where children find `module`."""
    return f"{os.getcwd()}/{module.replace('.', '/')}.py"


def place(program: str, path: str) -> None:
    """The program's file is at `path`, which `path_of` gave; what has been there is replaced, and never followed.

    Where it cannot be written (no disk is left), there is none: the program runs all the same.
    """
    folder = os.getcwd()
    if sys.path[:1] != [folder]:
        # As the interpreter does for a script: children that import it by name are given this path.
        sys.path.insert(0, folder)
    try:
        if os.path.dirname(path) != folder:
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
    except OSError:
        return


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
