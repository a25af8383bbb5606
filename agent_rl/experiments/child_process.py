"""The program of an experiment's child: `python -m agent_rl.experiments.child_process PARENT MODULE ARGUMENT…`.

It runs MODULE like `python -m`, and dies with its parent, so that whoever starts the experiment again finds no run of
it still at work.
"""

from __future__ import annotations

import runpy
import sys

from agent_rl.launch.role_process import die_with_parent

if __name__ == "__main__":
    parent, module, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
