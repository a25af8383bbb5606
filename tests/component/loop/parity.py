"""An environment and a sandbox for whole runs in tests: an untrained model passes about half of the time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

from agent_rl.config import SandboxConfig
from agent_rl.contracts import Agent, Environment, ProviderOptions, Sandbox
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import CallTests, Case, Message, RunRequest, RunResult, Submission, Task, Verdict
from agent_rl_sandboxes.local_provider import LocalProvider


class Parity(Environment):
    """Two turns; passes where the replies' length is even. The verdict comes from a real program in a real sandbox."""

    async def load(self, split: str) -> Sequence[Task]:
        tests = CallTests("f", (Case((3,), 3), Case((4,), 4)))
        return [Task(f"{split}/{i}", (Message.user(f"task {i}"),), tests, split=split) for i in range(10)]

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        said = await agent.say(task.prompt)
        said += await agent.say("more")
        program = f"# {said!r}\ndef f(x):\n    return x + {len(said) % 2}\n"
        return Submission.code(program)

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        draw = random.Random(seed)
        while True:
            words = " ".join(draw.choice(["task", "more", "even", "odd", "1", "2"]) for _ in range(6))
            yield [Message.user(words), Message.assistant(words)]


class JudgedHere(Parity):
    """The same, judged by the environment itself, for runs that are not about sandboxes."""

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        said = await agent.say(task.prompt)
        said += await agent.say("more")
        passed = len(said) % 2 == 0
        scores = {"tests_passed": 1.0 if passed else len(said) % 3 / 3}
        return Verdict(passed, "passed" if passed else "failed", "values", None, scores=scores)


class InMemory(InMemoryProvider):
    """A provider that starts no process."""

    def __init__(self, config: SandboxConfig, options: ProviderOptions) -> None:
        super().__init__()


class Delayed(LocalProvider):
    """The local sandbox, whose runs take a random time longer."""

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        await asyncio.sleep(random.SystemRandom().random() * 0.03)
        return await super().run(request, fresh=fresh)
