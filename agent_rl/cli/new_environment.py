"""Writes the files of `agent-rl envs new`: a working environment and its test."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from agent_rl.errors import ConfigError

_ENVIRONMENT = '''"""`{class_name}`: an environment to begin with; change tasks, prompt and rollout into your own."""

import operator
import random
from collections.abc import Iterator, Sequence

from pydantic import Field

from agent_rl import program_of
from agent_rl.contracts import Agent, Environment, EnvironmentConfig, Sandbox
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import CallTests, Case, Message, Submission, Task

OPERATORS = {{"+": operator.add, "-": operator.sub, "*": operator.mul}}
PROBLEMS = [(sign, number) for number in range(1, 41) for sign in OPERATORS]
SPLITS = {{"train": [n for n in range(120) if n % 7], "test": [n for n in range(120) if n % 7 == 0]}}


class {class_name}Config(EnvironmentConfig):
    """Options, as a config gives them under [environments.options]; unknown ones are refused."""

    max_turns: int = Field(2, ge=1)


class {class_name}(Environment):
    """Functions of one line: the agent sees how its first answer does on one example, and may answer again."""

    config_class = {class_name}Config

    async def load(self, split: str) -> Sequence[Task]:
        """The same tasks in the same order each time; splits share none of them."""
        if split not in SPLITS:
            raise ConfigError("the splits are train and test", key="split", value=split, valid=SPLITS)
        return [self.task(split, number) for number in SPLITS[split]]

    def task(self, split: str, number: int) -> Task:
        """One problem. The agent never sees `tests` nor `oracle`; `public` is what it is told about."""
        sign, other = PROBLEMS[number]
        prompt = f"Write a Python function f(x) that returns x {{sign}} {{other}}. Answer with the code alone."
        cases = [Case((x,), OPERATORS[sign](x, other)) for x in (3, 0, 1, -7, 1000, 2.5)]
        return Task(
            id=f"{name}/{{split}}/{{number}}",
            prompt=(Message.user(prompt),),
            tests=CallTests("f", tuple(cases[1:])),
            public=CallTests("f", tuple(cases[:1])),
            oracle=f"def f(x):\\n    return x {{sign}} {{other}}\\n",
            split=split,
        )

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        """One episode: ordinary control flow is the multi-turn protocol. What it returns is judged."""
        submission = await self.submission(task, [await agent.say(task.prompt)], sandbox)
        for _ in range(self.config.max_turns - 1):
            report = await self.verifier.run_public_tests(task, submission, sandbox)
            if report.passed:
                break
            submission = await self.submission(task, [await agent.say(report.feedback)], sandbox)
        return submission

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        """The program that the last reply means, fenced or not. It is also asked for where a rollout was cut short."""
        return Submission.code(program_of(task, replies[-1]))

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Endless conversations for a model that is made from scratch; a trained model (model.path) needs none.

        Half of them are off by one, so that something is left to learn from verdicts.
        """
        draw = random.Random(seed)
        while True:
            number = draw.choice(SPLITS["train"])
            sign, other = PROBLEMS[number]
            answer = f"def f(x):\\n    return x {{sign}} {{other + draw.choice((0, 0, -1, 1))}}\\n"
            yield [*self.task("train", number).prompt, Message.assistant(answer)]
'''

_TEST = '''"""The reference of every task passes, and a reply that solves nothing fails."""

import asyncio
from pathlib import Path

from agent_rl import TaskVerifier, empty_agent, oracle_agent, resolve, run_rollout
from agent_rl.testing.in_memory_sandbox import InMemoryProvider

{class_name} = resolve(f"{{Path(__file__).with_name('{name}.py')}}:{class_name}", "agent_rl.environments", key="ENV")


def test_references_pass_and_other_replies_fail():
    # The in-memory sandbox runs code in this process: for tests with your own references only.
    asyncio.run(check())


async def check():
    async with InMemoryProvider() as provider, TaskVerifier(provider, minimum_isolation="memory") as verifier:
        environment = {class_name}({class_name}.config_class(), verifier)
        for task in await environment.load("test"):
            solved = await run_rollout(environment, "{name}", task, oracle_agent, provider)
            assert solved.verdict is not None and solved.verdict.passed
            unsolved = await run_rollout(environment, "{name}", task, empty_agent, provider)
            assert unsolved.verdict is not None and not unsolved.verdict.passed
'''


@dataclass(frozen=True, slots=True)
class Written:
    """The file of a new environment, and the name of its class."""

    path: Path
    class_name: str


def write_environment(name: str, folder: Path) -> tuple[Written, Path]:
    """The new environment, and its test's file. Raises ConfigError for an invalid name, or a file that exists."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            "a name is made of small letters, digits and underscores, and begins with a letter", key="NAME", value=name
        )
    class_name = "".join(part.capitalize() for part in name.split("_"))
    environment, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in (environment, test):
        if path.exists():
            raise ConfigError(f"{path} exists already", key="NAME")
    folder.mkdir(parents=True, exist_ok=True)
    environment.write_text(_ENVIRONMENT.format(name=name, class_name=class_name), encoding="utf-8")
    test.write_text(_TEST.format(name=name, class_name=class_name), encoding="utf-8")
    return Written(environment, class_name), test
