"""`pack`: turns groups of trees into rows of tokens. Only this module derives rows, masks and weights.

A row holds a leaf's tokens. Each of the model's segments is trained once, in the first row of its trajectory that holds
it; in later rows it is context. Rows and groups with no trained token or with an advantage of zero are dropped: their
gradient is exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from agent_rl.common_prefix import common_prefix
from agent_rl.contracts import Batch, PackedGroup, TrainingRow
from agent_rl.vocabulary import Group, Trajectory

Denominator = Literal["constant", "token_mean"]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf's tokens up to its last trained token. `first` is the position of its first trained token."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    first: int
    advantage: float


def pack(
    groups: Sequence[Group],
    advantages: Sequence[Sequence[float]],
    *,
    step: int,
    denominator: Denominator = "constant",
    stale_before: int | None = None,
) -> Batch:
    """The batch of step `step` from `groups` and the advantage of each of their trajectories.

    With G groups and N surviving rollouts in the row's own group, the row's weight is:
        constant     A / (N G)
        token_mean   A / (trained tokens of all trajectories of all groups); not unbiased
    Tokens whose version is below `stale_before` are not trained, and do not count in token_mean.

    The rows of a group share an untrained prefix, chosen so that it saves most tokens. Rows that begin differently (a
    template rewrote the first message) become a PackedGroup of their own; the weights are the same.

    Raises ValueError if advantages and trajectories differ in number, or if a trained token has no token before it.
    """
    if len(groups) != len(advantages):
        raise ValueError(f"{len(groups)} groups, but advantages of {len(advantages)}")
    leaves_G: list[list[_Leaf]] = []
    total = 0
    for group, advantages_N in zip(groups, advantages, strict=True):
        if len(advantages_N) != len(group.trajectories):
            raise ValueError(
                f"group {group.index} has {len(group.trajectories)} trajectories, but {len(advantages_N)} advantages"
            )
        leaves: list[_Leaf] = []
        for trajectory, advantage in zip(group.trajectories, advantages_N, strict=True):
            if denominator == "token_mean":
                total += _trained_tokens(trajectory, stale_before)
            if advantage != 0.0:
                leaves += _leaves(trajectory, advantage, stale_before)
        leaves_G.append(leaves)
    packed: list[PackedGroup] = []
    for group, leaves in zip(groups, leaves_G, strict=True):
        scale = 1.0 / (len(group.trajectories) * len(groups)) if denominator == "constant" else 1.0 / max(1, total)
        packed += [_packed(cluster, length, scale) for cluster, length in _clusters(leaves)[0]]
    return Batch(step, packed)


def _trained_tokens(trajectory: Trajectory, stale_before: int | None) -> int:
    if stale_before is None:
        return sum(sum(s.loss_mask) for s in trajectory.segments)
    return sum(
        trained and version >= stale_before
        for s in trajectory.segments
        for trained, version in zip(s.loss_mask, s.versions, strict=True)
    )


def _leaves(trajectory: Trajectory, advantage: float, stale_before: int | None) -> list[_Leaf]:
    """The rows of one trajectory, each cut after its last trained token. Rows without a trained token are dropped."""
    seen: set[int] = set()
    found: list[_Leaf] = []
    for leaf in trajectory.leaves:
        ids: list[tuple[int, ...]] = []
        masks: list[tuple[bool, ...]] = []
        logprobs: list[tuple[float, ...]] = []
        versions: list[tuple[int, ...]] = []
        for index in trajectory.path(leaf):
            segment = trajectory.segments[index]
            count = len(segment.token_ids)
            ids.append(segment.token_ids)
            if segment.source != "model":
                masks.append((False,) * count)
                logprobs.append((0.0,) * count)
                versions.append((0,) * count)
                continue
            mask = segment.loss_mask if index not in seen else (False,) * count
            if stale_before is not None:
                mask = tuple(m and v >= stale_before for m, v in zip(mask, segment.versions, strict=True))
            masks.append(mask)
            logprobs.append(segment.logprobs)
            versions.append(segment.versions)
            seen.add(index)
        mask = tuple(chain.from_iterable(masks))
        if True not in mask:
            continue
        first = mask.index(True)
        if first == 0:
            raise ValueError(f"{trajectory.task_id}: a trained token has no token before it, so nothing predicts it")
        end = len(mask) - mask[::-1].index(True)
        found.append(
            _Leaf(
                tuple(chain.from_iterable(ids))[:end],
                mask[:end],
                tuple(chain.from_iterable(logprobs))[:end],
                tuple(chain.from_iterable(versions))[:end],
                first,
                advantage,
            )
        )
    return found


def _clusters(leaves: list[_Leaf]) -> tuple[list[tuple[list[_Leaf], int]], int]:
    """`leaves` divided so that shared prefixes save most tokens: ([(leaves, shared length)], tokens saved)."""
    if not leaves:
        return [], 0
    length = _shared(leaves)
    saved = (len(leaves) - 1) * length
    children: dict[int, list[_Leaf]] = {}
    for leaf in leaves:
        # A leaf whose trained tokens begin here shares no more tokens with other leaves: it gets its own key, -1.
        children.setdefault(leaf.token_ids[length] if leaf.first > length else -1, []).append(leaf)
    if len(children) > 1:
        parted = [_clusters(child) if token >= 0 else _whole(child, length) for token, child in children.items()]
        if length == 0 or sum(s for _, s in parted) > saved:
            return [cluster for clusters, _ in parted for cluster in clusters], sum(s for _, s in parted)
    return [(leaves, length)], saved


def _whole(leaves: list[_Leaf], length: int) -> tuple[list[tuple[list[_Leaf], int]], int]:
    return [(leaves, length)], (len(leaves) - 1) * length


def _shared(leaves: list[_Leaf]) -> int:
    """How many leading ids all `leaves` share. None of these ids is trained in any leaf."""
    head = leaves[0].token_ids
    length = min(leaf.first for leaf in leaves)
    for leaf in leaves[1:]:
        length = common_prefix(head[:length], leaf.token_ids[:length])
    return length


def _packed(leaves: list[_Leaf], length: int, scale: float) -> PackedGroup:
    rows = [
        TrainingRow(
            token_ids=leaf.token_ids[length:],
            loss_mask=leaf.loss_mask[length:],
            logprobs=leaf.logprobs[length:],
            versions=leaf.versions[length:],
            advantage=leaf.advantage,
            weight=leaf.advantage * scale,
        )
        for leaf in leaves
    ]
    return PackedGroup(leaves[0].token_ids[:length], rows)
