"""`Math`: questions with a final answer, compared numerically and symbolically, with or without a Python tool."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from agent_rl import (
    Agent,
    AnswerTests,
    Environment,
    EnvironmentConfig,
    InvalidRows,
    Message,
    OnInvalid,
    Sandbox,
    SandboxSpec,
    Submission,
    Task,
    Tool,
    Verifier,
)
from agent_rl_envs import arithmetic
from agent_rl_envs.answers import Gold
from agent_rl_envs.question_rows import read_questions

_INSTRUCTION = "\nThink step by step. Give the final answer after ####."
_TOOL_INSTRUCTION = "\nYou can run Python programs with the tool. Give the final answer after ####."


class MathConfig(EnvironmentConfig):
    """Options of `Math`."""

    dataset: str = "generated"
    """`generated` (seeded arithmetic), a file (.jsonl, .jsonl.gz, .parquet; `{split}` in its name stands for the
    split), or the name of a data set on the hub. Rows have a question and an answer: a text with the final answer after
    `####` or in a box, as in GSM8K, or the answer alone, which may be a number."""
    subset: str = "main"
    """Which subset of a hub's data set."""
    question_column: str | None = None
    """The column with the question; None takes the first of the usual names (`question`, `problem`, `prompt`, …)."""
    answer_column: str | None = None
    """The column with the answer; None takes the first of the usual names (`answer`, `target`, `solution`, …)."""
    invalid: OnInvalid = "error"
    """`skip` leaves out rows that cannot be used, and says which and why."""
    tool: Literal["none", "python"] = "none"
    """With `python`, the agent may run programs in a sandbox of its own."""
    max_turns: int = Field(4, ge=1)
    """Turns of an episode with the tool."""
    instruction: str | None = None
    """What follows each question; None is a sentence that asks for `####`."""
    train_tasks: int = Field(2000, ge=1)
    """How many tasks are generated for the split `train`."""
    test_tasks: int = Field(200, ge=1)
    """How many tasks are generated for the split `test`."""
    operands: int = Field(3, ge=2, le=8)
    """The largest number of operands in a generated expression."""
    largest: int = Field(99, ge=9)
    """The largest number in a generated expression."""
    seed: int = 0
    """Seed of the generated tasks."""
    direct_share: float = Field(0.5, ge=0, le=1)
    """Share of the tool demonstrations that answer without the tool, mostly wrongly."""


class Math(Environment):
    """Question in, final answer out; judged by comparison with the known answer, never by running the reply."""

    config_class = MathConfig

    def __init__(self, config: MathConfig, verifier: Verifier) -> None:
        super().__init__(config, verifier)
        self.config: MathConfig = config
        self._left_out: dict[str, list[str]] = {}

    async def load(self, split: str) -> Sequence[Task]:
        """The questions of `split`. Raises ConfigError for an unknown split or a malformed row (file and line)."""
        config = self.config
        invalid = InvalidRows() if config.invalid == "skip" else None
        if config.dataset == "generated":
            counts = {"train": config.train_tasks, "test": config.test_tasks}
            problems = arithmetic.problems(split, counts, config.operands, config.largest, config.seed)
            rows = [(p.question, Gold(str(p.answer), f"#### {p.answer}")) for p in problems]
        else:
            columns = config.question_column, config.answer_column
            rows = await asyncio.to_thread(read_questions, config.dataset, config.subset, split, *columns, invalid)
        self._left_out[split] = [row.line() for row in invalid.rows] if invalid is not None else []
        return [self._task(split, number, question, gold) for number, (question, gold) in enumerate(rows)]

    def left_out(self, split: str) -> Sequence[str]:
        return self._left_out.get(split, ())

    def _task(self, split: str, number: int, question: str, gold: Gold) -> Task:
        return Task(
            id=f"math/{split}/{number}",
            prompt=(Message.user(question + self._instruction),),
            tests=AnswerTests(gold.answer),
            oracle=gold.reply,
            split=split,
            sandbox=SandboxSpec() if self.config.tool == "python" else None,
        )

    @property
    def _instruction(self) -> str:
        if self.config.instruction is not None:
            return self.config.instruction
        return _TOOL_INSTRUCTION if self.config.tool == "python" else _INSTRUCTION

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        """The final answer: of a single reply, or with the tool of a conversation's last reply."""
        if self.config.tool == "python":
            reply = await agent.run(task.prompt, tools=[sandbox.python], max_turns=self.config.max_turns)
        else:
            reply = await agent.say(task.prompt)
        return Submission.answer(reply)

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Conversations on generated arithmetic, of mixed quality. Raises NotImplementedError for other sources."""
        config = self.config
        if config.dataset != "generated":
            return super().demonstrations(seed)
        share = config.direct_share if config.tool == "python" else 1.0
        return arithmetic.demonstrations(seed, config.operands, config.largest, self._instruction, share)

    def demonstration_tools(self) -> Sequence[Tool]:
        return [Sandbox.python.__get__(object())] if self.config.tool == "python" else []
