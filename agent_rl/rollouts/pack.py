"""`pack`: turns groups of trees into rows of tokens. Only this module derives rows, masks and weights.

A row holds a leaf's tokens. Each of the model's segments is trained once, in the first row of its trajectory that holds
it; in later rows it is context. Rows with no trained token are dropped, and so are rollouts with an advantage of zero,
whose gradient is exactly zero, unless the loss needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from agent_rl.common_prefix import common_prefix
from agent_rl.contracts import Aggregation, Batch, PackedGroup, TrainingRow, TrainingSample
from agent_rl.vocabulary import Trajectory


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf's tokens up to its last trained token. `first` is the position of its first trained token."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    advantages: tuple[float, ...]
    first: int
    scale: float
    rollout: int
    number: int


def pack(
    samples_G: Sequence[Sequence[TrainingSample]],
    aggregation: Aggregation,
    *,
    step: int,
    keep_zeros: bool = False,
    stale_before: int | None = None,
) -> Batch:
    """The batch of step `step` from each group's samples, one for each of its surviving trajectories.

    `keep_zeros`: rollouts without an advantage are kept. Tokens whose version is below `stale_before` are not trained,
    and no aggregation counts them.

    The rows of a group share an untrained prefix, chosen so that it saves most tokens. Rows that begin differently (a
    template rewrote the first message) become a PackedGroup of their own.

    Raises ValueError if a trained token has no token before it.
    """
    tokens_G_N = [[_trained_tokens(sample.trajectory, stale_before) for sample in samples] for samples in samples_G]
    packed: list[PackedGroup] = []
    for index, (samples, scales_N) in enumerate(zip(samples_G, aggregation.scales(tokens_G_N), strict=True)):
        leaves: list[_Leaf] = []
        for rollout, (sample, scale) in enumerate(zip(samples, scales_N, strict=True)):
            if keep_zeros or not sample.is_zero:
                leaves += _leaves(sample, scale, rollout, stale_before)
        packed += [_packed(cluster, length, index) for cluster, length in _clusters(leaves)[0]]
    return Batch(step, packed)


def _trained_tokens(trajectory: Trajectory, stale_before: int | None) -> int:
    if stale_before is None:
        return sum(sum(s.loss_mask) for s in trajectory.segments)
    return sum(
        trained and version >= stale_before
        for s in trajectory.segments
        for trained, version in zip(s.loss_mask, s.versions, strict=True)
    )


def _leaves(sample: TrainingSample, scale: float, rollout: int, stale_before: int | None) -> list[_Leaf]:
    """The rows of one trajectory, each cut after its last trained token. Rows without a trained token are dropped."""
    trajectory = sample.trajectory
    seen: set[int] = set()
    found: list[_Leaf] = []
    for leaf in trajectory.leaves:
        ids: list[tuple[int, ...]] = []
        masks: list[tuple[bool, ...]] = []
        logprobs: list[tuple[float, ...]] = []
        versions: list[tuple[int, ...]] = []
        advantages: list[tuple[float, ...]] = []
        for index in trajectory.path(leaf):
            segment = trajectory.segments[index]
            count = len(segment.token_ids)
            ids.append(segment.token_ids)
            if segment.source != "model":
                masks.append((False,) * count)
                logprobs.append((0.0,) * count)
                versions.append((0,) * count)
                advantages.append((0.0,) * count)
                continue
            mask = segment.loss_mask if index not in seen else (False,) * count
            if stale_before is not None:
                mask = tuple(m and v >= stale_before for m, v in zip(mask, segment.versions, strict=True))
            masks.append(mask)
            own = sample.of_segment(index)
            advantages.append((own,) * count if all(mask) else tuple(own if trained else 0.0 for trained in mask))
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
                tuple(chain.from_iterable(advantages))[:end],
                first,
                scale,
                rollout,
                len(found),
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


def _packed(leaves: list[_Leaf], length: int, group: int) -> PackedGroup:
    rows = [
        TrainingRow(
            token_ids=leaf.token_ids[length:],
            loss_mask=leaf.loss_mask[length:],
            logprobs=leaf.logprobs[length:],
            versions=leaf.versions[length:],
            advantages=leaf.advantages[length:],
            scale=leaf.scale,
            group=group,
            rollout=leaf.rollout,
            leaf=leaf.number,
        )
        for leaf in leaves
    ]
    return PackedGroup(leaves[0].token_ids[:length], rows)
