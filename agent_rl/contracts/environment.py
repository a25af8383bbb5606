"""`Environment`: tasks plus the rollout: how an agent is prompted, what it may do, what is submitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from agent_rl.contracts.agent import Agent, Tool
from agent_rl.contracts.sandbox import Sandbox
from agent_rl.contracts.verifier import Verifier
from agent_rl.vocabulary import AnswerTests, Message, Submission, Task, Verdict


class EnvironmentConfig(BaseModel):
    """Options of an environment. Your own environment's options are a subclass that adds fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    max_turns: int = 1


class InvalidSubmission(ValueError):
    """The agent left nothing that can be submitted. The verdict is `invalid_submission`; the message says why."""


class Environment(ABC):
    """A user's own environment is one small class: `load` gives the tasks, `rollout` is one async function.

    A rollout returns a submission, and the framework judges it with `verifier`. The environment itself uses `verifier`
    only to prepare tasks and to run public tests.
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
        """The submission of one episode. Ordinary control flow is the multi-turn protocol.

        An environment that judges the episode itself (a game, say) returns a verdict of the task's tier instead, and
        this verdict is final: see `Verifier.accept`. Raises InvalidSubmission if there is nothing to judge.
        """

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        """The submission, taken from the model's `replies` (at least one) and from the files in `sandbox`.

        `rollout` may call it at its end. The framework calls it when RolloutEnded cut an episode short. The default is
        the last reply, unchanged: a final answer or a program, depending on the task's tests. Override it in an
        environment that takes its submission in another way. Raises InvalidSubmission if nothing can be submitted.
        """
        answer = isinstance(task.tests, AnswerTests)
        return Submission.answer(replies[-1]) if answer else Submission.code(replies[-1])

    def left_out(self, split: str) -> Sequence[str]:
        """A line for each row of `split` that the last `load` left out: file and line, and why. The default is none."""
        return ()

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Endless conversations for SFT, drawn from `seed`; assistant messages are learned."""
        raise NotImplementedError(
            f"{type(self).__name__} has no demonstrations, from which a new model learns to answer at all: define "
            "`demonstrations(seed)` in it, or name a trained model with model.path"
        )

    def demonstration_tools(self) -> Sequence[Tool]:
        """The tools that `rollout` gives the agent: demonstrations begin with the same description of them.

        Bound methods or functions, of which only names, hints and docstrings are read. The default is none.
        """
        return ()
