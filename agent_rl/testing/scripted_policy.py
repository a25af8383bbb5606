"""`ScriptedPolicy`: a policy without a model. A function scripts its replies, or it samples from a fake distribution.

The distribution is a softmax over V tokens. Their logits depend on the token, the previous token and the version, and
take 13 values in turn, so that log-probabilities are exact at every temperature and cheap to compute. Scripted tokens
get the log-probabilities of this distribution too: `score` agrees with `generate`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from hashlib import blake2b

from agent_rl.concurrency import side_by_side
from agent_rl.contracts import (
    GenerateRequest,
    Generation,
    Policy,
    PolicyStatus,
    RandomKey,
    SamplingParams,
    WeightManifest,
)
from agent_rl.errors import PolicyError
from agent_rl.inference.session_ids import SessionIds
from agent_rl.vocabulary.trajectory import FinishReason

_CLASSES = 13
_SPREAD = 3.0
"""The highest logit; the lowest is 0."""

Script = Callable[[GenerateRequest], Sequence[int] | str | None]
"""The reply: ids (used unchanged, with their stop token), a text (the stop token is added), or None (sample)."""


class ScriptedPolicy(Policy):
    """Serves `version`, takes updates, sleeps and wakes, and counts requests. Raises PolicyError after `fail`.

    script: the reply to a request. Without a script everything is sampled, keyed by the request.
    encode: text to ids; needed if the script returns texts.
    delay: seconds that a request takes, spread evenly over its tokens. The version may change between two tokens.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        vocabulary: int = 256,
        version: int = 0,
        encode: Callable[[str], Sequence[int]] | None = None,
        delay: Callable[[GenerateRequest], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.requests: list[GenerateRequest] = []
        """Every request, in order of arrival, with its whole prompt."""
        self.ended_sessions: list[str] = []
        self._sessions = SessionIds()
        self.version = version
        self._script = script
        self._vocabulary = vocabulary
        self._encode = encode
        self._delay = delay
        self._sleep = sleep
        self._prepared: WeightManifest | None = None
        self._awake = asyncio.Event()
        self._awake.set()
        self._failure: str | None = None
        self._running = 0
        self._waiting = 0
        self._sampled = 0
        self._busy = 0.0

    def fail(self, reason: str | None) -> None:
        """From now on every request fails with `reason`, including running ones. None stops the failures."""
        self._failure = reason

    async def generate(self, request: GenerateRequest) -> Generation:
        request = self._sessions.begin(request)
        self.requests.append(request)
        self._running += 1
        started = time.monotonic()
        try:
            generation = await self._generate(request, started)
            self._sessions.answered(request, generation)
            return generation
        finally:
            self._running -= 1
            self._busy += time.monotonic() - started

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        return await side_by_side(map(self.generate, requests))

    async def _generate(self, request: GenerateRequest, started: float) -> Generation:
        """One completion, token by token."""
        await self._turn_to_run()
        scripted = self._scripted(request)
        sampling = request.sampling
        total = self._delay(request) if self._delay is not None else 0.0
        count = min(len(scripted), sampling.max_tokens) if scripted is not None else sampling.max_tokens
        deadline = math.inf if request.deadline is None else started + request.deadline
        last = request.prompt_ids[-1] if request.prompt_ids else 0
        ids: list[int] = []
        logprobs: list[float] = []
        versions: list[int] = []
        top: list[tuple[tuple[int, float], ...]] = []
        reason: FinishReason = "length"
        for position in range(count):
            if total > 0:
                await self._sleep(min(total / count, max(0.0, deadline - time.monotonic())))
            if not self._awake.is_set():
                await self._turn_to_run()
            if self._failure is not None:
                raise PolicyError(self._failure)
            if time.monotonic() >= deadline:
                reason = "cancelled"
                break
            token = self._sample(request, last, position) if scripted is None else scripted[position]
            ids.append(token)
            logprobs.append(self._logprob(last, token, self.version, sampling))
            versions.append(self.version)
            if request.top_logprobs:
                top.append(self._top(last, request.top_logprobs, sampling))
            last = token
            self._sampled += 1
            if token in sampling.stop_token_ids:
                reason = "stop"
                break
        else:
            if scripted is not None and count == len(scripted):
                reason = "stop" if count < sampling.max_tokens else "length"
        return Generation(tuple(ids), tuple(logprobs), tuple(versions), reason, tuple(top))

    async def _turn_to_run(self) -> None:
        self._waiting += 1
        try:
            # Even when it is awake: a real engine never answers within one step of the event loop.
            await asyncio.sleep(0)
            await self._awake.wait()
        finally:
            self._waiting -= 1
        if self._failure is not None:
            raise PolicyError(self._failure)

    def _scripted(self, request: GenerateRequest) -> list[int] | None:
        said = self._script(request) if self._script is not None else None
        if not isinstance(said, str):
            return None if said is None else list(said)
        if self._encode is None:
            raise ValueError("a script that gives texts needs `encode`")
        return [*self._encode(said), *request.sampling.stop_token_ids[:1]]

    def _sample(self, request: GenerateRequest, last: int, position: int) -> int:
        """A token drawn from the distribution. Only the request's key and the position decide the draw."""
        weights = self._weights(request.sampling)
        if request.sampling.temperature == 0:
            return max(range(self._vocabulary), key=lambda token: weights[self._class(last, token, self.version)])
        first, second = _uniform(request.key, position)
        sizes = self._sizes(last, self.version)
        at = first * sum(w * n for w, n in zip(weights, sizes, strict=True))
        for index in range(_CLASSES):
            at -= weights[index] * sizes[index]
            if at < 0 and sizes[index]:
                break
        else:
            index = max(i for i in range(_CLASSES) if sizes[i])
        members = [t for t in range(self._vocabulary) if self._class(last, t, self.version) == index]
        return members[int(second * len(members))]

    def _class(self, last: int, token: int, version: int) -> int:
        return (5 * last + 7 * token + 3 * version) % _CLASSES

    def _sizes(self, last: int, version: int) -> tuple[int, ...]:
        return _class_sizes(self._vocabulary, (5 * last + 3 * version) % _CLASSES)

    def _weights(self, sampling: SamplingParams) -> tuple[float, ...]:
        """exp(logit / T) of each class. Raises ValueError for options that this policy cannot sample exactly."""
        if sampling.top_p < 1 or sampling.top_k > 0:
            raise ValueError("ScriptedPolicy samples from the whole distribution: top_p and top_k are not supported")
        return _class_weights(sampling.temperature or 1.0)

    def _logprob(self, last: int, token: int, version: int, sampling: SamplingParams) -> float:
        weights = self._weights(sampling)
        total = sum(w * n for w, n in zip(weights, self._sizes(last, version), strict=True))
        return math.log(weights[self._class(last, token, version)] / total)

    def _top(self, last: int, count: int, sampling: SamplingParams) -> tuple[tuple[int, float], ...]:
        scored = [(t, self._logprob(last, t, self.version, sampling)) for t in range(self._vocabulary)]
        return tuple(sorted(scored, key=lambda item: (-item[1], item[0]))[:count])

    async def score(self, ids: Sequence[int]) -> list[float]:
        plain = SamplingParams()
        return [self._logprob(ids[t - 1], ids[t], self.version, plain) for t in range(1, len(ids))]

    async def end_session(self, session: str) -> None:
        self.ended_sessions.append(session)
        self._sessions.end(session)

    async def prepare_update(self, manifest: WeightManifest) -> None:
        self._prepared = manifest

    async def finish_update(self, version: int) -> None:
        if self._prepared is None or self._prepared.version != version:
            raise PolicyError(f"version {version} was not prepared")
        self._prepared = None
        self.version = version

    async def sleep(self) -> None:
        self._awake.clear()

    async def wake(self) -> None:
        self._awake.set()

    async def status(self) -> PolicyStatus:
        return PolicyStatus(self.version, self._running - self._waiting, self._waiting, self._sampled, self._busy)


@lru_cache(maxsize=64)
def _class_weights(temperature: float) -> tuple[float, ...]:
    return tuple(math.exp(_SPREAD * c / (_CLASSES - 1) / temperature) for c in range(_CLASSES))


@lru_cache(maxsize=256)
def _class_sizes(vocabulary: int, offset: int) -> tuple[int, ...]:
    """The number of tokens in each class, if token 0 is in class `offset`."""
    sizes = [0] * _CLASSES
    for token in range(vocabulary):
        sizes[(offset + 7 * token) % _CLASSES] += 1
    return tuple(sizes)


def _uniform(key: RandomKey, position: int) -> tuple[float, float]:
    """Two numbers in [0, 1), determined by `key` and `position`."""
    digest = blake2b(repr((*key, position)).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:], "big") / 2**64
