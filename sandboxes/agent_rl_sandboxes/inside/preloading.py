"""Loads modules in the worker server before its runs, so that loading them costs the runs nothing.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
from collections.abc import Iterable

from agent_rl_sandboxes.inside import source_modules

ALWAYS = (
    "abc",
    "array",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "inspect",
    "io",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "queue",
    "random",
    "re",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "warnings",
    "zlib",
)
"""Imported before the fork, so that importing them costs a run nothing."""


def preload(names: Iterable[str]) -> None:
    """The modules are imported; in every run the garbage collector ignores all objects that exist now."""
    with source_modules.HoldingForkHooks():
        for name in names:
            importlib.import_module(name)
    _settle()


def load(modules: Iterable[tuple[str, str]]) -> None:
    """The modules (name, source) are loaded too, as if they had been preloaded."""
    source_modules.load(modules)
    _settle()


def register_fork_hooks() -> None:
    """In a run's process: the modules' stored after-fork hooks run after each fork that the program makes."""
    for hooks in source_modules.fork_hooks:
        os.register_at_fork(**hooks)


def _settle() -> None:
    # A collection in a run would touch every existing object, and so copy its memory.
    gc.collect()
    # Memory that compiling and importing left free must not be copied into every run. (Only glibc has malloc_trim.)
    trim = getattr(ctypes.PyDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    gc.freeze()
    gc.disable()
