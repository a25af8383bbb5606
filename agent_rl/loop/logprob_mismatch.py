"""The train-inference log-prob mismatch: learner and engine score the same tokens, compared before training starts.

Every importance ratio of a run is exp(log pi_learner - log mu_engine). If the two differ for reasons other than an
update (other weights, another temperature, another dtype, a kernel that treats positions or tied heads differently),
training is off-policy from the first step. Without this check, only a flat learning curve would show it.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_rl.config import RunConfig
from agent_rl.contracts import (
    Batch,
    GenerateRequest,
    Generation,
    Learner,
    PackedGroup,
    Policy,
    RandomKey,
    SamplingParams,
    TrainingRow,
)
from agent_rl.errors import ConfigError, InfrastructureError, PolicyError
from agent_rl.launch.replicated_policy import ReplicatedPolicy
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.vocabulary import Message, Task

TASKS = 4
"""Number of tasks whose prompts are used."""
LONGEST_PROMPT = 512
"""In tokens: long enough for positions to matter, short enough to compute at once."""
LONGEST_COMPLETION = 32
_ALWAYS = (Message.user("Count from one to ten."),)
_KEY = int.from_bytes(hashlib.blake2b(b"agreement check", digest_size=8).digest(), "big") >> 1
"""Takes the place of the task's part in a rollout's key, so that no rollout shares these draws."""
_FAR = 3.0
"""A mismatch during training above this multiple of the allowed one gives a warning."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean and largest |log pi_learner - log mu_engine| over `tokens` tokens, in nats; 0 for no tokens."""

    tokens: int
    mean: float
    largest: float

    @classmethod
    def between(cls, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
        """The difference between two lists of log-probabilities of the same tokens. A NaN stays a NaN."""
        differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
        if not differences:
            return cls(0, 0.0, 0.0)
        total = sum(differences)
        largest = total if total != total else max(differences)  # max() would lose a NaN
        return cls(len(differences), total / len(differences), largest)

    def within(self, bounds: tuple[float, float]) -> bool:
        """Whether mean and largest are at most `bounds`; false for a NaN."""
        return self.mean <= bounds[0] and self.largest <= bounds[1]

    def __str__(self) -> str:
        return f"mean {self.mean:.2g}, max {self.largest:.2g} nats over {self.tokens} tokens"


@dataclass(frozen=True, slots=True)
class LogprobMismatch:
    """The measured mismatch on tokens that the engine sampled, and on the tokens of the prompts.

    prompts: None unless the temperature is 1, since engines score only at temperature 1.
    versions: the weights' versions that sampled, as reported by the engine.
    """

    sampled: Difference
    prompts: Difference | None
    temperature: float
    versions: frozenset[int]

    def line(self, bounds: tuple[float, float]) -> str:
        """The figures and the allowed bounds, as text for a person."""
        return f"{self.sampled} (allowed {bounds[0]:g}, {bounds[1]:g})"

    def require(self, bounds: tuple[float, float], version: int) -> None:
        """Raises InfrastructureError with likely causes when the mismatch exceeds `bounds` (mean, largest), or when the
        engine samples from another version than `version`."""
        if self.versions != {version}:
            raise PolicyError(f"the policy samples from version {sorted(self.versions)}, and the learner has {version}")
        if not self.sampled.within(bounds):
            raise InfrastructureError(
                f"learner and policy disagree about what the policy sampled at temperature {self.temperature:g}: "
                f"{self.line(bounds)}. {self._causes(bounds)}. Trained so, every importance ratio would be wrong by as "
                "much. mismatch.max_mean and mismatch.max_token set what is allowed; mismatch.check = false starts "
                "all the same"
            )

    def _causes(self, bounds: tuple[float, float]) -> str:
        """The likely causes, to look at first."""
        computing = "other weights, another dtype or other kernels, another treatment of positions (rope) or tied heads"
        sampling = "another temperature, top-p or top-k, log-probabilities of another distribution, an outdated cache"
        if self.prompts is None:
            return f"Likely causes: {computing}; {sampling}"
        if self.prompts.within(bounds):
            return f"On the prompts' own tokens they agree ({self.prompts}), so look at the sampling: {sampling}"
        return f"On the prompts' own tokens they disagree too ({self.prompts}), so look at the model: {computing}"


async def measure_mismatch(
    policy: Policy,
    learner: Learner,
    prompts: Sequence[Sequence[int]],
    *,
    temperature: float,
    max_tokens: int,
    key: RandomKey,
    stop_token_ids: tuple[int, ...] = (),
    samples: int = 1,
) -> LogprobMismatch:
    """The mismatch between learner and engine on `samples` completions of each of `prompts`.

    Draws are keyed by `key` and the completion's number. All of the policy's sessions are ended afterwards.
    Raises PolicyError when nothing was sampled, InfrastructureError when the learner does not know the tokens.
    """
    sampling = SamplingParams(temperature=temperature, max_tokens=max_tokens, stop_token_ids=stop_token_ids)
    requests = [
        GenerateRequest(tuple(ids), sampling, (*key, number, 0), f"agreement/{number}")
        for number, ids in enumerate(list(prompts) * samples)
    ]
    try:
        generations = await policy.generate_batch(requests)
    finally:
        for request in requests:
            await policy.end_session(request.session)
    theirs = [p for generation in generations for p in generation.logprobs]
    if not theirs:
        raise PolicyError("the policy sampled not one token of the mismatch check's completions")
    groups = [_group(request.prompt_ids, g) for request, g in zip(requests, generations, strict=True)]
    try:
        learned = [rows[0] for rows in await learner.forward(Batch(0, groups))]
    except IndexError as error:  # from the embedding
        raise InfrastructureError(
            f"the policy works with tokens that the learner's model does not have: other models ({error})"
        ) from error
    prompts_learned = [row[: len(r.prompt_ids) - 1] for row, r in zip(learned, requests, strict=True)]
    sampled_learned = [p for row, r in zip(learned, requests, strict=True) for p in row[len(r.prompt_ids) - 1 :]]
    own = None
    if temperature == 1.0:
        scores = [await policy.score(ids) for ids in prompts]
        own = Difference.between(_flat(prompts_learned[: len(prompts)]), _flat(scores))
    return LogprobMismatch(
        Difference.between(sampled_learned, theirs),
        own,
        temperature,
        frozenset(v for generation in generations for v in generation.versions),
    )


def _group(prompt: Sequence[int], generation: Generation) -> PackedGroup:
    """A prompt and its completion: the first id is the prefix, all others are one row."""
    before, after = len(prompt) - 1, len(generation.token_ids)
    row = TrainingRow(
        token_ids=(*prompt[1:], *generation.token_ids),
        loss_mask=(False,) * before + (True,) * after,
        logprobs=(0.0,) * before + generation.logprobs,
        versions=(0,) * before + generation.versions,
        advantages=(0.0,) * (before + after),
        scale=0.0,
    )
    return PackedGroup(tuple(prompt[:1]), (row,))


def _flat(rows: Iterable[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row]


def fixed_prompts(tokenizer: ChatTokenizer, tasks: Iterable[Task], room: int) -> list[tuple[int, ...]]:
    """Prompts of several lengths, at most `room` tokens each; the order of `tasks` does not matter.

    They are the prompts of the tasks whose ids have the smallest hashes, one fixed question, and all of these joined,
    so that positions far from the start are compared too. A task is skipped when the chat template refuses its prompt.
    Raises ConfigError when the template refuses the fixed question too.
    """
    chosen = heapq.nsmallest(TASKS, tasks, key=lambda task: hashlib.blake2b(task.id.encode()).digest())
    prompts: list[tuple[int, ...]] = []
    for messages in (*(task.prompt for task in chosen), _ALWAYS):
        try:
            prompts.append(tokenizer.first_prompt(tuple(messages)).token_ids)
        except ConfigError:
            if messages is _ALWAYS and not prompts:
                raise
    prompts.append(tuple(i for prompt in prompts for i in prompt))
    room = max(1, min(room, LONGEST_PROMPT))
    return list(dict.fromkeys(prompt[:room] for prompt in prompts))


async def mismatch_of(
    config: RunConfig,
    policy: ReplicatedPolicy,
    learner: Learner,
    tokenizer: ChatTokenizer,
    tasks: Iterable[Task],
    context: int,
) -> LogprobMismatch:
    """The log-prob mismatch between a run's learner and every policy replica, on the run's tasks and temperature.

    `context`: the most tokens of a conversation. Raises InfrastructureError when the learner or the policy fails or
    does not answer within loop.stuck_timeout.
    """
    max_tokens = max(1, min(config.sampling.max_tokens, LONGEST_COMPLETION, context // 2))
    prompts = fixed_prompts(tokenizer, tasks, context - max_tokens)
    waiting = config.loop.stuck_timeout
    try:
        async with asyncio.timeout(waiting):
            return await measure_mismatch(
                policy,
                learner,
                prompts,
                temperature=config.sampling.temperature,
                max_tokens=max_tokens,
                key=(config.seed, _KEY),
                stop_token_ids=tokenizer.stop_token_ids,
                samples=policy.count,
            )
    except TimeoutError:
        raise InfrastructureError(
            f"the mismatch check was not done within loop.stuck_timeout = {waiting:g} s"
        ) from None


class MismatchWatch:
    """Warns when a step's mismatch far exceeds the bound allowed at the start, and again each time it has doubled.

    Only steps on tokens of the current version are checked: older tokens also differ because of later updates.
    """

    def __init__(self, allowed: float, say: Callable[[str], None]) -> None:
        """`allowed`: mean nats per token; warnings go to `say`."""
        self._allowed = allowed
        self._next = _FAR * allowed
        self._say = say

    def step(self, row: Mapping[str, Any]) -> None:
        """Checks one row of metrics.jsonl; call it for every row."""
        mismatch = row["mismatch"]
        if row["staleness_max"] > 0 or mismatch is None or mismatch <= self._next:
            return
        self._say(
            f"warning: step {row['step']}: learner and policy differ by {mismatch:.2g} nats per token on average, with "
            f"the same weights; {self._allowed:g} are allowed at the start (mismatch.max_mean)"
        )
        self._next = 2 * mismatch
