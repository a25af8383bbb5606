"""`Environment`: tasks plus the rollout: how an agent is prompted, what it may do, what is submitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from agent_rl.contracts.agent import Agent
from agent_rl.contracts.sandbox import Sandbox
from agent_rl.contracts.verifier import Verifier
from agent_rl.vocabulary import AnswerTests, Message, Submission, Task, Verdict


class EnvironmentConfig(BaseModel):
    """Options of an environment; a class of one's own derives from it and adds fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    max_turns: int = 1


class InvalidSubmission(ValueError):
    """What the agent left cannot be submitted: its verdict is `invalid_submission`. The message says why."""


class Environment(ABC):
    """A user's own environment is one small class: `load` gives the tasks, `rollout` is one async function.

    A rollout ends with what is submitted, and the framework judges that with `verifier`. An environment itself only
    asks `verifier` to prepare tasks and to run public tests.
    """

    config_class: ClassVar[type[EnvironmentConfig]] = EnvironmentConfig

    def __init__(self, config: Any, verifier: Verifier) -> None:
        self.config = config
        self.verifier = verifier

    @abstractmethod
    async def load(self, split: str) -> Sequence[Task]:
        """The tasks of a split, always the same and in the same order, ready to be judged.

        Raises ConfigError for an unknown split or a malformed row (file and line).
        """

    @abstractmethod
    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission | Verdict:
        """What one episode submits. Ordinary control flow is the multi-turn protocol.

        Only where the world itself is the judge (a game, say) it is a verdict, which then stands. Raises
        InvalidSubmission where there is nothing that could be judged.
        """

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        """What is judged of the model's `replies` (at least one) and of what stands in `sandbox`.

        `rollout` may end with it, and the framework calls it where RolloutEnded cut an episode short. By default it is
        the last reply as it is, a final answer or a program by the task's tests; an environment that takes its
        submission in another way overrides it. Raises InvalidSubmission where nothing can be taken.
        """
        answer = isinstance(task.tests, AnswerTests)
        return Submission.answer(replies[-1]) if answer else Submission.code(replies[-1])

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Endless conversations for supervised warm starts, drawn from `seed`; assistant messages are learned."""
        raise NotImplementedError(f"{type(self).__name__} has no demonstrations")
