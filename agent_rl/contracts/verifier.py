"""`Verifier`: runs tests against a submission in a place that the agent never touched."""

from __future__ import annotations

from abc import ABC, abstractmethod

from agent_rl.contracts.sandbox import Sandbox
from agent_rl.vocabulary import Submission, Task, Verdict


class Verifier(ABC):
    """Judges submissions, by tests of every kind.

    What the candidate does is a verdict; what the machinery does is raised.
    """

    @abstractmethod
    async def judge(self, task: Task, submission: Submission) -> Verdict:
        """The verdict of the task's hidden tests, at the task's tier.

        Raises InfrastructureError where the machinery failed, after who is to blame has been tested.
        """

    @abstractmethod
    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        """The verdict of the task's public tests, with `feedback` that the agent may read."""

    @abstractmethod
    async def prepare(self, task: Task) -> Task:
        """The task ready to be judged: what has to be known of its tests was found with the reference in a sandbox.

        `AssertTests` of tier `values` become `CallTests`; `PytestTests` get their node ids. Raises ConfigError (naming
        the task) where the reference does not pass its own tests, or the task is weaker than is demanded.
        """
