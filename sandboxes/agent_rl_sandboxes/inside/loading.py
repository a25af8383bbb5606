"""How sources that were sent in become modules: `load`. This module is the first of them, see worker_program.py.

Standard library only; Python 3.6, since it is also what an episode's server begins with in an image of any age.
"""

import os
import sys
import types

fork_hooks = []
"""What loaded modules want done after a fork (`threading`, `random`): the arguments of `os.register_at_fork`.

It is for the forks of a program's own: each run registers it anew. Done in the fork that makes the run, it would touch,
and so copy, more memory than all the rest.
"""


class HoldingForkHooks:
    """In its context, what modules register for after a fork is held in `fork_hooks`."""

    def __enter__(self):
        self._register = getattr(os, "register_at_fork", None)
        if self._register is not None:
            os.register_at_fork = lambda **hooks: fork_hooks.append(hooks)

    def __exit__(self, *exc):
        if self._register is not None:
            os.register_at_fork = self._register


def load(modules):
    """Each of the (name, source) can be imported by its name; they are executed in this order."""
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
