"""`Policy`: the inference side. Token ids in; token ids with log-probabilities and policy versions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agent_rl.errors import PolicyError
from agent_rl.vocabulary.trajectory import FinishReason

Transport = Literal["shared_memory", "cuda_ipc"]
RandomKey = tuple[int, ...]
"""(run seed, task, rollout, turn). With the token's position it determines every random draw, so that no draw depends
on the order in which requests arrive."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are sampled; lengths in tokens. temperature 0 is greedy, with log-probabilities of temperature 1."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One completion to be sampled after the first `follows` ids of the session and `prompt_ids`: the whole prompt.

    session: the same for all requests of one conversation; the engine may keep its KV cache until `end_session`. The
    ids of a session are the whole prompt of its last answered request and the tokens of the answer.
    follows: 0 for a session that is new or lost: `prompt_ids` is all of the prompt. Otherwise only what is new is sent.
    shared_prefix: how many leading ids of the whole prompt all requests of one `prefix_group` share (0: none).
    deadline: seconds from arrival. At the deadline, the tokens sampled so far are returned as `cancelled`.
    """

    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    key: RandomKey
    session: str
    prefix_group: str = ""
    shared_prefix: int = 0
    deadline: float | None = None
    top_logprobs: int = 0
    follows: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """The sampled tokens. All tuples are aligned with `token_ids`; a sampled stop token is included."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Natural log, of the distribution actually sampled from (after temperature, top_p and top_k)."""
    versions: tuple[int, ...]
    finish_reason: FinishReason
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """version served, requests running and waiting, tokens sampled since the start, seconds spent generating."""

    version: int
    running: int = 0
    waiting: int = 0
    sampled_tokens: int = 0
    busy_seconds: float = 0.0
    details: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a manifest: where its bytes lie in the blob."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class WeightManifest:
    """Weights that a sender offers: the version, the blob's name, its size in bytes, its tensors, and how to open it.

    shared_memory: `blob` names memory of this host. cuda_ipc: it is the handle of a buffer on a GPU of this host.
    """

    version: int
    blob: str
    nbytes: int
    tensors: tuple[TensorSpec, ...]
    kind: Transport = "shared_memory"


class SessionLost(PolicyError):
    """The policy does not have the ids that a request follows: send the whole prompt, with `follows` 0."""


class Policy(ABC):
    """Serves one version of the weights at a time. An update takes effect between two tokens of running requests."""

    @abstractmethod
    async def generate(self, request: GenerateRequest) -> Generation:
        """The completion. Cancelling the call frees the request's resources. Raises PolicyError if the engine died.

        Raises SessionLost, before anything is sampled, if the session has fewer ids than the request follows: it is
        unknown here, or its last request has failed or still runs. The caller then sends the whole prompt.
        """

    @abstractmethod
    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """The completions of `requests`, admitted together and in this order; raises like `generate`, for all."""

    @abstractmethod
    async def score(self, ids: Sequence[int]) -> list[float]:
        """log p(ids[t] | ids[:t]) for t >= 1, at temperature 1: one value fewer than `ids`."""

    @abstractmethod
    async def end_session(self, session: str) -> None:
        """Everything that was kept for the conversation is freed. An unknown session is not an error."""

    @abstractmethod
    async def prepare_update(self, manifest: WeightManifest) -> None:
        """The new weights are loaded next to the old ones. The old ones are still served."""

    @abstractmethod
    async def finish_update(self, version: int) -> None:
        """`version` is served from the next token on, also to running requests."""

    @abstractmethod
    async def sleep(self) -> None:
        """Generation has stopped and device memory is free; requests wait until `wake`."""

    @abstractmethod
    async def wake(self) -> None:
        """Generation goes on after `sleep`."""

    @abstractmethod
    async def status(self) -> PolicyStatus:
        """The version that is served, and the counts of requests and tokens."""
