"""The running requests as arrays, so that a decoding step costs no Python per request."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from agent_rl.contracts.policy import GenerateRequest, Generation
from agent_rl.inference.cached_conversations import CachedConversation
from agent_rl.inference.sampling import TokenFilter, fold_key
from agent_rl.vocabulary.trajectory import FinishReason

TopLogprobs = tuple[tuple[int, float], ...]


@dataclass(eq=False, slots=True)
class Job:
    """A request in the engine. While it does not run, `sampled`, `logprobs` and `versions` hold its sampled tokens."""

    request: GenerateRequest
    deadline: float
    """On the monotonic clock; infinity if there is none."""
    key: int = 0
    slot: int = -1
    conversation: CachedConversation | None = None
    sampled: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    versions: list[int] = field(default_factory=list[int])
    top: list[TopLogprobs] = field(default_factory=list[TopLogprobs])
    over: bool = False

    def __post_init__(self) -> None:
        self.key = fold_key(self.request.key)

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens so far."""
        return (*self.request.prompt_ids, *self.sampled) if self.sampled else self.request.prompt_ids

    def generation(self, reason: FinishReason) -> Generation:
        """The sampled tokens, in the form that the caller gets."""
        return Generation(tuple(self.sampled), tuple(self.logprobs), tuple(self.versions), reason, tuple(self.top))


class Rows:
    """State of the running requests in arrays indexed by slot, the number that one running request holds.

    `own` counts the tokens that a slot has in an arena.
    """

    def __init__(self, slots: int, vocabulary: int, context: int | None) -> None:
        self._vocabulary, self._context = vocabulary, context
        self.jobs: list[Job | None] = [None] * slots
        self._free = list(range(slots - 1, -1, -1))
        self.token = np.zeros(slots, np.int64)
        self.position = np.zeros(slots, np.int64)
        self.own = np.zeros(slots, np.int64)
        self.prefix = np.full(slots, -1, np.int64)
        self.deadline = np.full(slots, math.inf)
        self._count = np.zeros(slots, np.int64)
        self._limit = np.zeros(slots, np.int64)
        self._key = np.zeros(slots, np.uint64)
        self._temperature = np.ones(slots)
        self._stops = np.zeros(slots, np.int64)
        self._stop_sets: dict[tuple[int, ...], int] = {}
        self._is_stop = np.zeros((0, vocabulary), bool)
        self._tokens = np.zeros((slots, 64), np.int64)
        self._logprobs = np.zeros((slots, 64), np.float32)
        self._versions = np.zeros((slots, 64), np.int64)
        self._filters: dict[int, TokenFilter] = {}
        self._tops: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.jobs) - len(self._free)

    @property
    def free(self) -> int:
        return len(self._free)

    def running(self) -> list[Job]:
        return [job for job in self.jobs if job is not None]

    def limit(self, request: GenerateRequest) -> int:
        """How many tokens the request may sample at most."""
        if self._context is None:
            return request.sampling.max_tokens
        return min(request.sampling.max_tokens, self._context - len(request.prompt_ids))

    def enter(self, job: Job) -> int:
        """The slot that `job` holds from now on; it starts with the tokens that `job` has sampled before."""
        slot = job.slot = self._free.pop()
        request, before = job.request, len(job.sampled)
        self.jobs[slot] = job
        self.deadline[slot] = job.deadline
        self._count[slot], self._limit[slot] = before, self.limit(request)
        self._key[slot] = job.key
        self._temperature[slot] = request.sampling.temperature
        self._stops[slot] = self._stop_set(request.sampling.stop_token_ids)
        self._reserve(before)
        self._tokens[slot, :before] = job.sampled
        self._logprobs[slot, :before] = job.logprobs
        self._versions[slot, :before] = job.versions
        if request.sampling.top_p < 1 or request.sampling.top_k > 0:
            self._filters[slot] = TokenFilter(request.sampling.top_p, request.sampling.top_k)
        if request.top_logprobs > 0:
            self._tops[slot] = request.top_logprobs
        return slot

    def leave(self, slot: int) -> Job:
        """The job of `slot`, with all its sampled tokens; the slot is free again."""
        job = self.jobs[slot]
        assert job is not None
        count = self._count[slot]
        job.sampled = self._tokens[slot, :count].tolist()
        job.logprobs = self._logprobs[slot, :count].tolist()
        job.versions = self._versions[slot, :count].tolist()
        job.slot = -1
        self.jobs[slot] = None
        self.prefix[slot] = -1
        self.deadline[slot] = math.inf
        self._filters.pop(slot, None)
        self._tops.pop(slot, None)
        self._free.append(slot)
        return job

    def draws(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(keys, positions, temperatures) of the next draw of each slot."""
        return self._key[slots], self._count[slots], self._temperature[slots]

    def filters(self, slots: np.ndarray) -> dict[int, TokenFilter]:
        """Index into `slots` -> filter, for slots that have one."""
        if not self._filters:
            return {}
        return {i: self._filters[s] for i, s in enumerate(slots.tolist()) if s in self._filters}

    def tops(self, slots: np.ndarray) -> dict[int, int]:
        """Index into `slots` -> number of top log-probabilities, for slots that want them."""
        if not self._tops:
            return {}
        return {i: self._tops[s] for i, s in enumerate(slots.tolist()) if s in self._tops}

    def record(
        self, slots: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray, version: int
    ) -> list[tuple[int, FinishReason]]:
        """The slots whose requests end with these tokens, and why; the tokens are recorded."""
        count = self._count[slots]
        self._reserve(int(count.max()) + 1)
        self._tokens[slots, count] = tokens
        self._logprobs[slots, count] = logprobs
        self._versions[slots, count] = version
        self._count[slots] = count + 1
        self.token[slots] = tokens
        stopped = self._is_stop[self._stops[slots], tokens]
        over = stopped | (count + 1 >= self._limit[slots])
        if not over.any():
            return []
        return [(int(slots[i]), "stop" if stopped[i] else "length") for i in np.flatnonzero(over)]

    def _stop_set(self, ids: tuple[int, ...]) -> int:
        number = self._stop_sets.get(ids)
        if number is None:
            number = self._stop_sets[ids] = len(self._stop_sets)
            row = np.zeros((1, self._vocabulary), bool)
            row[0, list(ids)] = True
            self._is_stop = np.concatenate([self._is_stop, row])
        return number

    def _reserve(self, tokens: int) -> None:
        """Every slot has room for at least `tokens` tokens."""
        width = self._tokens.shape[1]
        if tokens > width:
            more = ((0, 0), (0, max(tokens, 2 * width) - width))
            self._tokens, self._logprobs, self._versions = (
                np.pad(array, more) for array in (self._tokens, self._logprobs, self._versions)
            )
