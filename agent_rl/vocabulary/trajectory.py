"""`Segment`, `Turn`, `Trajectory`, `Group`: the record of what was generated, token by token.

A trajectory is a tree of segments. A plain conversation has one leaf. If a chat template rewrites history, the tree
forks, and the old branch stays as a leaf of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent_rl.errors import Boundary
from agent_rl.vocabulary.task import Message, Task
from agent_rl.vocabulary.verdict import Verdict

SegmentSource = Literal["template", "task", "model", "tool"]
FinishReason = Literal["stop", "length", "cancelled"]
Ended = Literal["answered", "length", "turns", "deadline", "infrastructure"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of token ids from one source. It follows its parent's tokens.

    Only segments from the model have `logprobs` (natural log, of the distribution actually sampled from), `versions`
    (of the weights that sampled each token) and `loss_mask`, each as long as `token_ids`. In all other segments the
    three are empty; these segments are never trained.
    """

    parent: int | None
    """Index in `Trajectory.segments`; None for the root. A parent always comes before its children."""
    source: SegmentSource
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    versions: tuple[int, ...] = ()
    loss_mask: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        expected = len(self.token_ids) if self.source == "model" else 0
        for name in ("logprobs", "versions", "loss_mask"):
            if len(getattr(self, name)) != expected:
                raise ValueError(
                    f"segment of source {self.source!r}: {name} has length "
                    f"{len(getattr(self, name))}, expected {expected}"
                )


@dataclass(frozen=True, slots=True)
class Turn:
    """One completion of the model and the environment's answer to it."""

    segment: int
    """Index of the completion in `Trajectory.segments`."""
    text: str
    finish_reason: FinishReason
    observation: tuple[Message, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of wall-clock time; `started` is a reading of the run's monotonic clock."""

    started: float = 0.0
    total: float = 0.0
    generation: float = 0.0
    sandbox: float = 0.0
    judging: float = 0.0


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The record of one rollout. It counts once in N and in K, no matter how many leaves it has."""

    task_id: str
    environment: str
    group: int
    rollout: int
    segments: tuple[Segment, ...]
    leaves: tuple[int, ...]
    turns: tuple[Turn, ...]
    verdict: Verdict | None
    ended: Ended
    error: str = ""
    boundary: Boundary | None = None
    forks: int = 0
    timings: Timings = Timings()

    def path(self, leaf: int) -> tuple[int, ...]:
        """The indices of the segments from the root to `leaf`."""
        path: list[int] = []
        at: int | None = leaf
        while at is not None:
            path.append(at)
            at = self.segments[at].parent
        return tuple(reversed(path))

    @property
    def sampled_tokens(self) -> int:
        """How many tokens the model sampled."""
        return sum(len(s.token_ids) for s in self.segments if s.source == "model")

    @property
    def lowest_version(self) -> int | None:
        """The lowest version of any trained token; None if no token is trained."""
        versions = [
            version for s in self.segments for version, trained in zip(s.versions, s.loss_mask, strict=True) if trained
        ]
        return min(versions) if versions else None


@dataclass(frozen=True, slots=True)
class DroppedRollout:
    """A rollout that counts neither in the group's mean nor in N, and why."""

    rollout: int
    reason: str
    boundary: Boundary | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The trajectories of one task that share an advantage baseline."""

    index: int
    """The sampler's counter of the run's groups: unique, and restored on resume."""
    environment: str
    task: Task
    asked: int
    trajectories: tuple[Trajectory, ...]
    dropped: tuple[DroppedRollout, ...] = ()

    @property
    def outcomes(self) -> tuple[bool, ...]:
        """Whether each surviving trajectory passed, in order of rollout."""
        return tuple(t.verdict is not None and t.verdict.passed for t in self.trajectories)

    @property
    def lowest_version(self) -> int | None:
        """The lowest version of any trained token of the group; None if no token is trained."""
        versions = [v for t in self.trajectories if (v := t.lowest_version) is not None]
        return min(versions) if versions else None
