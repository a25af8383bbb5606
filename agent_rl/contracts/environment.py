"""`Environment`: tasks plus the rollout: how an agent is prompted, what it may do, how it is judged."""

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


class Environment(ABC):
    """A user's own environment is one small class: `load` gives the tasks, `rollout` is one async function."""

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
    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        """The verdict of one episode. Ordinary control flow is the multi-turn protocol."""

    async def judge_partial(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Verdict:
        """The verdict of an episode that RolloutEnded cut short: what was said so far, judged as it stands.

        By default the last reply is the submission, as it is; without any the submission is invalid. An environment
        that takes its submission from a reply or from the sandbox in another way overrides this.
        """
        if not replies:
            return Verdict(False, "invalid_submission", task.tier, None)
        answer = isinstance(task.tests, AnswerTests)
        submission = Submission.answer(replies[-1]) if answer else Submission.code(replies[-1])
        return await self.verifier.judge(task, submission)

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Endless conversations for supervised warm starts, drawn from `seed`; assistant messages are learned."""
        raise NotImplementedError(f"{type(self).__name__} has no demonstrations")
