"""Turns the sources that were sent in into modules: `load`. This module is the first of them, see worker_program.py.

Standard library only; Python 3.6, since an episode's server also starts with this module, in an image of any age.
"""

import os
import sys
import types

fork_hooks = []
"""The after-fork hooks of loaded modules (`threading`, `random`), as arguments of `os.register_at_fork`.

They are for the program's own forks: each run registers them anew. In the fork that makes the run they would touch,
and so copy, more memory than all the rest.
"""


class HoldingForkHooks:
    """In this context, after-fork hooks that modules register are stored in `fork_hooks` instead."""

    def __enter__(self):
        self._register = getattr(os, "register_at_fork", None)
        if self._register is not None:
            os.register_at_fork = lambda **hooks: fork_hooks.append(hooks)

    def __exit__(self, *exc):
        if self._register is not None:
            os.register_at_fork = self._register


def load(modules):
    """Each (name, source) is executed, in this order, and can be imported by its name."""
    with HoldingForkHooks():
        for name, source in modules:
            parts = name.split(".")
            for index in range(1, len(parts) + 1):
                part = ".".join(parts[:index])
                if part not in sys.modules:
                    module = sys.modules[part] = types.ModuleType(part)
                    module.__path__ = []
                    if index > 1:
                        setattr(sys.modules[".".join(parts[: index - 1])], parts[index - 1], module)
            exec(compile(source, "<" + name + ">", "exec"), sys.modules[name].__dict__)
