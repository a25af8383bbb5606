"""`JudgeRunner`: runs programs under test in warm workers, one by one or in pairs that exchange messages."""

from __future__ import annotations

from abc import ABC, abstractmethod

from agent_rl.vocabulary import Isolation, PairRequest, PairResult, RunRequest, RunResult


class JudgeRunner(ABC):
    """Runs untrusted programs. A run never sees an expected value, nor any data of another run."""

    @property
    @abstractmethod
    def isolation(self) -> Isolation:
        """The isolation level between two runs, as measured at the start."""

    @abstractmethod
    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        """The result of one run in a warm worker, or with `fresh` in a worker that is made and ended for this run.

        Raises SandboxError if the worker died during the run (the caller decides who is to blame), and its subclass
        SandboxStartError if there was no worker to run in. Cancellation ends the run and frees the worker.
        """

    @abstractmethod
    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        """The result of two runs at once, in two workers that share nothing. They exchange messages: see `PairRequest`.

        Errors, `fresh` and cancellation are those of `run`. If only the worker of the tests' run died, the error is a
        TestsPlaceError. Tier `proxied` is judged by such pairs.
        """
