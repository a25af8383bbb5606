"""`JudgeRunner`: runs programs under test in warm workers, one by one or in pairs that talk with each other."""

from __future__ import annotations

from abc import ABC, abstractmethod

from agent_rl.vocabulary import Isolation, PairRequest, PairResult, RunRequest, RunResult


class JudgeRunner(ABC):
    """Runs of programs that are not trusted. A run never sees an expected value, nor anything of another run."""

    @property
    @abstractmethod
    def isolation(self) -> Isolation:
        """The isolation level between two runs, as probed at the start."""

    @abstractmethod
    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        """One run in a warm worker, or with `fresh` in a worker made for it alone and ended after it.

        Raises SandboxError where the worker died under the run (the caller decides who is to blame), and of it
        SandboxStartError where there was no worker to run in.
        Cancellation ends the run and gives the worker back.
        """

    @abstractmethod
    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        """Two runs at once, in two workers that share nothing, which talk with each other as `PairRequest` says.

        Errors, `fresh` and cancellation are those of `run`; where the worker of the tests' run died, and only that one,
        the error is a TestsPlaceError. Tier 'proxied' is judged by such runs.
        """
