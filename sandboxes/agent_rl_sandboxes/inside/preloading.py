"""What a worker server has loaded ahead of its runs, so that loading it costs them nothing.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
from collections.abc import Iterable

from agent_rl_sandboxes.inside import loading


def preload(names: Iterable[str]) -> None:
    """The modules are imported, and what exists now is left alone by the collector in every run."""
    with loading.HoldingForkHooks():
        for name in names:
            importlib.import_module(name)
    _settle()


def load(modules: Iterable[tuple[str, str]]) -> None:
    """The modules (name, source) are there too, as if they had been from the start."""
    loading.load(modules)
    _settle()


def register_fork_hooks() -> None:
    """In a run's process: what modules want done after a fork is done after those of the program."""
    for hooks in loading.fork_hooks:
        os.register_at_fork(**hooks)


def _settle() -> None:
    # A collection in a run would touch every object that there is.
    gc.collect()
    # What compiling and importing have left free is not to be copied into every run. (Other C libraries have no such.)
    trim = getattr(ctypes.PyDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    gc.freeze()
    gc.disable()
