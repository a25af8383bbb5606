"""The processes that share the SFT. This module does not import torch, so that all of them load it in parallel."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from agent_rl.launch.role_process import die_with_parent
from agent_rl.sft.rank import Rank
from agent_rl.sft.sft_plan import SftPlan


class Ranks:
    """This process is the first of `world` ranks; the others are processes that are gone after the `with` block."""

    def __init__(self, world: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="agent-rl-ranks-")
        threads = max(1, (os.cpu_count() or 1) // world)
        meeting = Path(self._folder.name) / "rendezvous"
        self.first, *self._others = (Rank(i, world, threads, meeting) for i in range(world))
        self._connections: list[Connection] = []
        self._processes: list[SpawnProcess] = []

    def __enter__(self) -> Ranks:
        context = multiprocessing.get_context("spawn")
        for rank in self._others:
            here, there = context.Pipe()
            process = context.Process(target=_other_rank, args=(rank, there, os.getpid()))
            process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        for connection in self._connections:
            connection.close()
        self._folder.cleanup()

    def go(self, plan: SftPlan) -> None:
        """The other ranks begin their part of the training."""
        for connection in self._connections:
            connection.send(plan)

    def alone(self) -> Rank:
        """A rank that trains without the others; used with a GPU."""
        return Rank(0, 1, self.first.threads * self.first.world, self.first.rendezvous)

    def failure(self) -> int | None:
        """The exit code of another rank that has failed, or None; waits up to a second for each rank to end."""
        for process in self._processes:
            process.join(1.0)
        return next((p.exitcode for p in self._processes if p.exitcode), None)


def _other_rank(rank: Rank, connection: Connection, parent: int) -> None:
    die_with_parent(parent)
    from agent_rl.sft.sft_trainer import train

    train(connection.recv(), rank, None, lambda progress: None)
