"""`Verifier`: runs tests against a submission in a place that the agent never touched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from agent_rl.contracts.sandbox import Sandbox
from agent_rl.vocabulary import Submission, Task, Verdict


class Verifier(ABC):
    """Judges submissions, by tests of every kind. May be used as an async context manager, which closes it.

    A failure of the candidate is a verdict; a failure of the infrastructure is an exception.
    """

    @abstractmethod
    async def judge(self, task: Task, submission: Submission) -> Verdict:
        """The verdict of the task's hidden tests, at the task's tier.

        Raises InfrastructureError if the infrastructure failed. Before it is raised, a test decides whether the
        candidate or the infrastructure is to blame.
        """

    @abstractmethod
    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        """The final verdict of an episode that was judged by its environment, counted like one of `judge`.

        Raises ConfigError (naming the task) if its tier is not the task's, or is below the required minimum, and
        InfrastructureError if its isolation is.
        """

    @abstractmethod
    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        """The verdict of the task's public tests. The agent may read its `feedback`."""

    @abstractmethod
    async def prepare(self, task: Task) -> Task:
        """The task ready to be judged. Its tests are completed by running its oracle solution in a sandbox.

        `AssertTests` of tier `values` become `CallTests`; `PytestTests` get their node ids. Raises ConfigError (naming
        the task) if the oracle solution fails the task's tests, or the task's tier is below the required minimum.
        """

    async def close(self) -> None:
        """Everything that this verifier started has ended; it judges nothing more. Idempotent.

        The default has nothing to end. The provider of the sandboxes is not closed.
        """
        return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
