"""`Policy`: the inference side. Token ids in; token ids with log-probabilities and policy versions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agent_rl.vocabulary.trajectory import FinishReason

Transport = Literal["shared_memory", "cuda_ipc"]
RandomKey = tuple[int, ...]
"""(run seed, task, rollout, turn): with the position it keys every draw, so that nothing depends on arrival order."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """temperature 0 is greedy (log-probabilities are then those of temperature 1). Lengths in tokens."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One completion to be sampled after `prompt_ids`.

    session: requests of one conversation share it; the engine may keep its keys and values until `end_session`.
    shared_prefix: how many leading ids are equal among the requests of one `prefix_group` (0: none).
    deadline: seconds from arrival; then what has been sampled so far comes back as `cancelled`.
    """

    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    key: RandomKey
    session: str
    prefix_group: str = ""
    shared_prefix: int = 0
    deadline: float | None = None
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """What was sampled. All four run along the tokens; the stop token, where one was sampled, is included."""

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
    """What a sender offers: the version, the blob's name, its size in bytes, its tensors, and how it is opened.

    shared_memory: `blob` names memory of this host. cuda_ipc: it is the handle of a buffer on a GPU of this host.
    """

    version: int
    blob: str
    nbytes: int
    tensors: tuple[TensorSpec, ...]
    kind: Transport = "shared_memory"


class Policy(ABC):
    """Serves one version of the weights at a time; weights change in flight between two tokens."""

    @abstractmethod
    async def generate(self, request: GenerateRequest) -> Generation:
        """The completion. Cancelling the call frees what it held. Raises PolicyError where the engine died."""

    @abstractmethod
    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """The completions of `requests`, admitted together and in this order."""

    @abstractmethod
    async def score(self, ids: Sequence[int]) -> list[float]:
        """log p(ids[t] | ids[:t]) for t >= 1, at temperature 1: one shorter than `ids`."""

    @abstractmethod
    async def end_session(self, session: str) -> None:
        """What was kept for the conversation is freed. Unknown sessions are no error."""

    @abstractmethod
    async def prepare_update(self, manifest: WeightManifest) -> None:
        """The new weights are at hand beside the old ones, which still serve."""

    @abstractmethod
    async def finish_update(self, version: int) -> None:
        """`version` serves from the next token on; running requests go on with it."""

    @abstractmethod
    async def sleep(self) -> None:
        """Generation has stopped and device memory is released; requests wait."""

    @abstractmethod
    async def wake(self) -> None:
        """Generation goes on after `sleep`."""

    @abstractmethod
    async def status(self) -> PolicyStatus:
        """What is served and what is under way."""
