"""Stand-ins with fixed times: a policy for a set number of requests at a time, a learner, and an environment."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE

from agent_rl.contracts import (
    Agent,
    Batch,
    Environment,
    GenerateRequest,
    Generation,
    Learner,
    LossFigures,
    LossPlan,
    OptimizerStep,
    Policy,
    PolicyStatus,
    RandomKey,
    Sandbox,
    StepReport,
    WeightManifest,
)
from agent_rl.contracts.learner import Wanted
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.vocabulary import CallTests, Case, Message, Task, Verdict

_TOKENS = 64
"""Tokens of every completion, whatever its duration: enough that packing and recording cost as much as in a run."""
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


class PolicyWithPlaces(Policy):
    """Serves `places` requests at a time; others wait in order of arrival. Runs as a role, as a real engine does.

    A request takes a log-normal time in seconds with this mean and sigma, drawn by its key. The first half of a
    completion's tokens has the version at its start, the second half the version at its end.
    """

    def __init__(self, places: int, mean: float, sigma: float, version: int = 0) -> None:
        self._places = asyncio.Semaphore(places)
        self._mean, self._sigma = mean, sigma
        self._version = version
        self._running = self._waiting = self._sampled = 0
        self._busy = 0.0
        self._since = 0.0
        self._occupied: dict[int, float] = {}

    async def occupied(self, groups: Sequence[int]) -> float:
        """Seconds for which the requests of these groups have occupied places."""
        return sum(self._occupied.get(group, 0.0) for group in groups)

    async def generate(self, request: GenerateRequest) -> Generation:
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._enter()
        try:
            first = self._version
            seconds = log_normal(self._mean, self._sigma, request.key)
            group = int(request.session.rsplit("/", 2)[1])
            self._occupied[group] = self._occupied.get(group, 0.0) + seconds
            await asyncio.sleep(seconds)
            count = min(_TOKENS, request.sampling.max_tokens)
            ids = tuple(1 + (sum(request.key) + 7 * i) % 200 for i in range(count))
            versions = (first,) * (count // 2) + (self._version,) * (count - count // 2)
            self._sampled += count
            return Generation(ids, (-1.0,) * count, versions, "stop")
        finally:
            self._leave()
            self._places.release()

    def _enter(self) -> None:
        if self._running == 0:
            self._since = time.monotonic()
        self._running += 1

    def _leave(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._busy += time.monotonic() - self._since

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        return list(await asyncio.gather(*(self.generate(request) for request in requests)))

    async def score(self, ids: Sequence[int]) -> list[float]:
        return [-1.0] * (len(ids) - 1)

    async def end_session(self, session: str) -> None:
        return

    async def prepare_update(self, manifest: WeightManifest) -> None:
        return

    async def finish_update(self, version: int) -> None:
        self._version = version

    async def sleep(self) -> None:
        raise NotImplementedError("nothing of it can be put to sleep")

    async def wake(self) -> None:
        raise NotImplementedError("nothing of it can be put to sleep")

    async def status(self) -> PolicyStatus:
        busy = self._busy + (time.monotonic() - self._since if self._running else 0.0)
        return PolicyStatus(self._version, self._running, self._waiting, self._sampled, busy)


class LearnerWithSteps(Learner):
    """Each step takes `seconds`, whatever the batch holds. Runs as a role."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._version = 0

    async def step(self, batch: Batch, plan: LossPlan) -> StepReport:
        started = time.monotonic()
        await asyncio.sleep(self._seconds)
        self._version += 1
        seconds = time.monotonic() - started
        return StepReport(batch.step, self._version, 0.0, 0.0, 0.0, batch.trained_tokens, seconds)

    async def publish(self, version: int) -> WeightManifest:
        return WeightManifest(version, "", 0, ())

    async def forward(self, batch: Batch, wanted: Wanted = "logprobs") -> list[list[list[float]]]:
        return [[[0.0] * len(row.token_ids) for row in group.rows] for group in batch.groups]

    async def forward_backward(self, batch: Batch, plan: LossPlan) -> LossFigures:
        raise NotImplementedError("it takes whole steps")

    async def optim_step(self, *, last: bool = True) -> OptimizerStep:
        raise NotImplementedError("it takes whole steps")

    async def save(self, path: str) -> None:
        await asyncio.to_thread(Path(path).mkdir, parents=True, exist_ok=True)  # there is no state to put into it

    async def load(self, path: str) -> None:
        raise NotImplementedError("it has no state")

    async def sleep(self) -> None:
        raise NotImplementedError("nothing of it can be put to sleep")

    async def wake(self) -> None:
        raise NotImplementedError("nothing of it can be put to sleep")


class OneReply(Environment):
    """Episodes of one reply; every other one passes. The environment itself judges, so that judging takes no time."""

    async def load(self, split: str) -> Sequence[Task]:
        return [
            Task(f"task {i}", (Message.user(f"What is {i}?"),), CallTests("f", (Case((i,), i),))) for i in range(256)
        ]

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        reply = await agent.say(task.prompt)
        passed = sum(map(ord, reply + task.id)) % 2 == 0
        return Verdict(passed, "passed" if passed else "failed", "values", None)


def log_normal(mean: float, sigma: float, key: RandomKey) -> float:
    """Seconds from a log-normal distribution with this mean; only `key` decides the draw, not the arrival order.

    exp(mu + sigma z) with mu = log(mean) - sigma^2 / 2, since the mean of exp(mu + sigma z) is exp(mu + sigma^2 / 2).
    """
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    draw = random.Random(int.from_bytes(digest, "big"))
    return draw.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


def byte_tokenizer() -> ChatTokenizer:
    """A tokenizer of single bytes, with a chat template of one line per message."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|end|>"])
    return ChatTokenizer(tokenizer, _TEMPLATE)
