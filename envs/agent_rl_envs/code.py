"""`Code`: an environment from a data set of programming tasks. Its user writes no code.

Rows in the schemas of HumanEval, MBPP, APPS and CodeContests, of function calls, of standard input and output, and of
pytest files: see `agent_rl.formats`.

[[environments]]
environment = "code"
options = { dataset = "HumanEval.jsonl.gz", max_turns = 2 }
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Sequence
from functools import partial

from pydantic import Field

from agent_rl import (
    Agent,
    ConfigError,
    Environment,
    EnvironmentConfig,
    InvalidRows,
    InvalidSubmission,
    OnInvalid,
    PromptStyle,
    Sandbox,
    Submission,
    Task,
    UnfinishedThinking,
    Verifier,
    prepare_all,
    program_of,
    read_tasks,
)

_SPLIT = re.compile(r"(?P<name>[^\[\]]*)(?:\[(?P<start>\d*):(?P<stop>\d*)\])?")
_LONG = 20_000
"""Characters. A longer reply is read in a thread, off the event loop."""


class CodeConfig(EnvironmentConfig):
    """`dataset`: a file (.jsonl, gzipped or not, .parquet) or a hub's name.

    `splits` says where each split is: a split name on the hub or another file, then a range of rows in brackets. Both
    parts are optional ("test", "train.jsonl", "[:100]", "test[100:]"). `invalid` "skip" leaves out rows that cannot be
    used, and says which and why; a range then counts the rows that are left. `unfinished_thinking`: a reply whose
    thinking never ends is no answer ("invalid"), or is read as if it were one ("read").
    """

    dataset: str
    invalid: OnInvalid = "error"
    splits: dict[str, str] = Field(default_factory=lambda: {"test": ""})
    prompt: PromptStyle = "instruct"
    unfinished_thinking: UnfinishedThinking = "invalid"


class Code(Environment):
    """Programming tasks. Between turns the agent sees which of the prompt's examples failed, and their outputs."""

    config_class = CodeConfig

    def __init__(self, config: CodeConfig, verifier: Verifier) -> None:
        super().__init__(config, verifier)
        self.config: CodeConfig = config
        self._left_out: dict[str, list[str]] = {}

    async def load(self, split: str) -> Sequence[Task]:
        invalid = InvalidRows() if self.config.invalid == "skip" else None
        tasks = await asyncio.to_thread(self._tasks, split, invalid)
        prepared = await prepare_all(self.verifier, tasks, invalid)
        self._left_out[split] = [row.line() for row in invalid.rows] if invalid is not None else []
        return prepared

    def left_out(self, split: str) -> Sequence[str]:
        return self._left_out.get(split, ())

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        reply = await agent.say(task.prompt)
        for _ in range(self.config.max_turns - 1):
            try:
                report = await self.verifier.run_public_tests(task, await self._program(task, reply), sandbox)
            except InvalidSubmission as error:
                feedback = f"There is no program to run: {error}."
            else:
                if report.passed:
                    break
                feedback = f"Some examples fail:\n{report.feedback}"
            reply = await agent.say(f"{feedback}\nWrite the whole function again.")
        return await self._program(task, reply)

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        return await self._program(task, replies[-1])

    async def _program(self, task: Task, reply: str) -> Submission:
        """The program in a reply. Raises InvalidSubmission."""
        read = partial(program_of, task, reply, unfinished_thinking=self.config.unfinished_thinking)
        return Submission.code(await asyncio.to_thread(read) if len(reply) > _LONG else read())

    def _tasks(self, split: str, invalid: InvalidRows | None = None) -> list[Task]:
        """The tasks of `split`, not yet prepared.

        Raises ConfigError for an unknown split, a malformed row, or a range with no rows.
        """
        known = self.config.splits
        if split not in known:
            message = f"the data set's splits are {', '.join(sorted(known))}; options.splits names more"
            raise ConfigError(message, key="split", value=split, valid=known)
        match = _SPLIT.fullmatch(known[split])
        if match is None:
            raise ConfigError("expected name[start:stop], each part optional", key=f"splits.{split}", value=split)
        name = match["name"]
        is_file = name.endswith((".jsonl", ".gz", ".json", ".parquet"))
        source, of_hub = (name, split) if is_file else (self.config.dataset, name or split)
        tasks = read_tasks(source, of_hub, style=self.config.prompt, invalid=invalid)
        start, stop = (int(match[part]) if match[part] else None for part in ("start", "stop"))
        if not tasks[start:stop]:
            raise ConfigError(f"{known[split]!r} holds none of the {len(tasks)} rows", key=f"splits.{split}")
        return [dataclasses.replace(task, split=split) for task in tasks[start:stop]]
