"""Finds the best level of isolation that works here, by trying each.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import os
from typing import Any

from agent_rl_sandboxes.inside import namespaces, root_view, run_processes

DEFAULT_SCRATCH = "size=67108864,nr_inodes=4096,mode=1777"


def seccomp_program(setup: dict[str, Any]) -> bytes:
    """The program of a run's system call filter for this processor. Raises RunFailed if there is none."""
    machine = os.uname().machine
    if machine not in setup["seccomp"]:
        raise run_processes.RunFailed(f"no seccomp filter for the architecture {machine}")
    return bytes.fromhex(setup["seccomp"][machine])


def enter(setup: dict[str, Any]) -> int:
    """The same as `root_view.enter_worker`, with its errors."""
    return root_view.enter_worker(setup["expose"], setup["workdir"])


def _probe_worker(setup: dict[str, Any]) -> None:
    """The worker's namespaces work. Raises Refused."""
    pid = enter(setup)
    if pid:
        os.waitpid(pid, 0)
        os._exit(0)


def _probe_run(setup: dict[str, Any]) -> None:
    """The worker's namespaces work, and a run's namespaces in them. Raises Refused or RunFailed."""
    _probe_worker(setup)
    runner = run_processes.RunProcesses("namespaces", setup["workdir"], seccomp_program(setup))
    child = runner.spawn(DEFAULT_SCRATCH, lambda: os._exit(0))
    runner.await_ready(child)


def _probe_user(setup: dict[str, Any]) -> None:
    """A run can have its own uid. Raises PermissionError if this process is not root."""
    if os.geteuid() != 0:
        raise PermissionError("the worker server is not root")
    runner = run_processes.RunProcesses("uid", "/", seccomp_program(setup))
    child = runner.spawn(None, lambda: os._exit(0))
    runner.await_ready(child)
    os.waitpid(child.pid, 0)
    child.close()
    namespaces.become(child.uid or 0)
    os.rmdir(run_processes.FOLDER)


def choose(setup: dict[str, Any]) -> tuple[str, bool, list[str]]:
    """(isolation, whether the worker has its own namespaces, why no better level works). Raises RunFailed."""
    refusal = namespaces.attempt(lambda: _probe_run(setup))
    if refusal is None:
        return "namespaces", True, []
    reasons = [f"namespaces: {refusal}"]
    refusal = namespaces.attempt(lambda: _probe_worker(setup))
    if refusal is None:
        return "container", True, reasons
    if not setup["fall_back"]:
        raise run_processes.RunFailed(refusal)
    refusal = namespaces.attempt(lambda: _probe_user(setup))
    if refusal is None:
        return "uid", False, reasons
    return "container", False, [*reasons, f"uid: {refusal}"]
