"""Ways to run programs without warm workers, as baselines of `agent-rl bench verify`: never judge real tasks with them.

Every kind takes the same requests as a provider's `run` and returns the same frames, written by the same code in the
same interpreter with the same flags. They lack the isolation of the workers: `bare_python` and `bare_fork` isolate
nothing at all.

    docker_run    a container for each run: created, started, its answer read, removed
    docker_exec   a process for each run, started by `docker exec` in a container that runs already
    bare_python   a process for each run, on this machine
    bare_fork     a fork for each run, of a process on this machine that has imported everything already
"""

from __future__ import annotations

from agent_rl_sandboxes.baselines.bare_processes import BareFork, BarePython
from agent_rl_sandboxes.baselines.baseline import Baseline
from agent_rl_sandboxes.baselines.in_docker import DockerExec, DockerRun

__all__ = ["BareFork", "BarePython", "Baseline", "DockerExec", "DockerRun"]
