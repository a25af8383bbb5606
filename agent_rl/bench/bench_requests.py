"""The requests that `bench generate` sends: mixed lengths, the same for every engine and in every run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agent_rl.contracts import GenerateRequest, SamplingParams

PROMPTS = (32, 512)
COMPLETIONS = (16, 256)
"""The smallest and largest number of tokens; all lengths in between are equally likely."""


@dataclass(frozen=True, slots=True)
class CompletionTimes:
    """The times of one pass over the workload: seconds from the common start to each request's end."""

    ends: tuple[float, ...]
    tokens: int
    """Requested completion tokens; tokens beyond a request's own length do not count."""

    @property
    def tokens_per_second(self) -> float:
        """Completion tokens over the seconds until the last request's end."""
        return self.tokens / max(self.ends)


def make_requests(
    count: int,
    vocabulary: range,
    *,
    seed: int = 0,
    prompts: tuple[int, int] = PROMPTS,
    completions: tuple[int, int] = COMPLETIONS,
) -> list[GenerateRequest]:
    """`count` requests with random prompts from the ids `vocabulary`, no stop token, temperature 1, no shared prefixes.

    Lengths are uniform within `prompts` and `completions`, and exact, since nothing ends a completion early.
    """
    draw = random.Random(seed)
    requests: list[GenerateRequest] = []
    for number in range(count):
        prompt, completion = draw.randint(*prompts), draw.randint(*completions)
        ids = tuple(draw.choices(vocabulary, k=prompt))
        sampling = SamplingParams(temperature=1.0, max_tokens=completion)
        requests.append(GenerateRequest(ids, sampling, (seed, number, 0, 0), session=f"bench/{seed}/{number}"))
    return requests


def completion_tokens(requests: Sequence[GenerateRequest]) -> int:
    """How many tokens `requests` ask for in all."""
    return sum(r.sampling.max_tokens for r in requests)
