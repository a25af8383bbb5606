"""What is made of a run whose first process was sent SIGKILL: by whom is known only where it could be nobody else."""

from __future__ import annotations

import signal
from typing import Literal

import pytest

from agent_rl_sandboxes.inside import run_processes

MIB = 2**20
ORDER = run_processes.Order(wall=1.0, longest=4.0, cpu=1.0, memory=256 * MIB, output=MIB)


def status(
    isolation: Literal["namespaces", "uid"], patch: pytest.MonkeyPatch, *, kills: list[int], resident: int
) -> str:
    """Of a run killed after a tenth of a second of work; `kills`: the kernel's count before it and after it."""
    counts = iter(kills)
    patch.setattr(run_processes.kernel_kills, "count", lambda: next(counts))
    runner = run_processes.RunProcesses(isolation, "/", bytes(8))
    return runner._status(None, signal.SIGKILL, 0.1, resident, ORDER)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("isolation", ["namespaces", "uid"])
def test_one_that_used_much_memory_ran_out_of_it(
    isolation: Literal["namespaces", "uid"], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(isolation, monkeypatch, kills=[3, 4], resident=128 * MIB) == "out_of_memory"


@pytest.mark.parametrize("isolation", ["namespaces", "uid"])
def test_one_that_used_little_may_have_died_for_another(
    isolation: Literal["namespaces", "uid"], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(run_processes.RunFailed, match="memory that others used"):
        status(isolation, monkeypatch, kills=[3, 4], resident=127 * MIB)


def test_without_a_kill_for_memory_only_its_own_processes_could_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status("uid", monkeypatch, kills=[3, 3], resident=10 * MIB) == "crashed"
    with pytest.raises(run_processes.RunFailed, match="killed from outside"):
        status("namespaces", monkeypatch, kills=[3, 3], resident=10 * MIB)
