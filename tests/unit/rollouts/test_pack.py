"""From trees to rows: by hand for small ones, by a second derivation for random ones."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_rl.algorithms.aggregations.token_scales import SequenceMean, TokenMean
from agent_rl.contracts import Batch, TrainingRow, TrainingSample
from agent_rl.rollouts.pack import pack
from agent_rl.vocabulary import Group, Segment, Trajectory
from tests.unit.rollouts.support import make_task, packed, passed


def task_segment(parent: int | None, *ids: int) -> Segment:
    return Segment(parent, "task", ids)


def model_segment(parent: int | None, *ids: int, version: int = 0) -> Segment:
    """Log-probability of id i is -i / 100, to be recognised."""
    return Segment(parent, "model", ids, tuple(-i / 100 for i in ids), (version,) * len(ids), (True,) * len(ids))


def trajectory(*segments: Segment, rollout: int = 0) -> Trajectory:
    parents = {s.parent for s in segments}
    leaves = tuple(i for i in range(len(segments)) if i not in parents)
    return Trajectory("task/0", "env", 0, rollout, segments, leaves, (), passed(), "answered")


def group(*trajectories: Trajectory) -> Group:
    return Group(0, "env", make_task(), len(trajectories), trajectories)


def single(*sampled: int, prompt: tuple[int, ...] = (1, 2, 3)) -> Trajectory:
    return trajectory(task_segment(None, *prompt), model_segment(0, *sampled))


def shape(batch: Batch) -> list[tuple[tuple[int, ...], list[tuple[tuple[int, ...], str]]]]:
    """Prefix, and for each row its ids and its mask as a string."""
    return [
        (
            tuple(g.prefix_ids),
            [(tuple(r.token_ids), "".join("x" if m else "." for m in r.loss_mask)) for r in g.rows],
        )
        for g in batch.groups
    ]


def weight(row: TrainingRow) -> float:
    """The factor of the row's last token, which is trained, in the loss."""
    return row.advantages[-1] * row.scale


def test_one_turn_each_shares_the_prompt() -> None:
    batch = packed([group(single(10, 11), single(12))], [[3.0, -1.0]], step=4)
    assert shape(batch) == [((1, 2, 3), [((10, 11), "xx"), ((12,), "x")])]
    first, second = batch.groups[0].rows
    assert (first.logprobs, first.versions) == ((-0.10, -0.11), (0, 0))
    # A / (N G) with N = 2 survivors and one group.
    assert (weight(first), weight(second)) == (1.5, -0.5)
    assert (first.advantages, second.advantages) == ((3.0, 3.0), (-1.0,))
    assert [(r.group, r.rollout, r.leaf) for r in (first, second)] == [(0, 0, 0), (0, 1, 0)]
    assert (batch.step, batch.trained_tokens) == (4, 3)


def test_weights_count_survivors_and_all_groups() -> None:
    # Of the first group 3 survived; the second has no gradient but counts in G = 2.
    groups = [group(single(10), single(11), single(12)), group(single(10), single(11))]
    batch = packed(groups, [[2.0, -1.0, -1.0], [0.0, 0.0]], step=1)
    assert len(batch.groups) == 1
    assert [weight(r) for r in batch.groups[0].rows] == [2 / 6, -1 / 6, -1 / 6]


def test_token_mean_divides_by_every_token_that_was_sampled_for_training() -> None:
    # 3 + 1 + 2 tokens, those with an advantage of zero too.
    groups = [group(single(10, 11, 12), single(13)), group(single(14, 15))]
    batch = packed(groups, [[1.0, 0.0], [-2.0]], step=1, aggregation=TokenMean())
    assert [weight(r) for g in batch.groups for r in g.rows] == [1 / 6, -2 / 6]


def test_sequence_mean_divides_by_the_rollouts_own_tokens() -> None:
    groups = [group(single(10, 11, 12), single(13))]
    batch = packed(groups, [[1.0, -2.0]], aggregation=SequenceMean())
    # 1 / (N G tokens): 1 / (2 * 3) and -2 / (2 * 1).
    assert [weight(r) for g in batch.groups for r in g.rows] == [1 / 6, -1.0]


def test_a_segment_can_have_credit_of_its_own() -> None:
    # Segment 3 has 2.0, all others the rollout's own -1.0; what the model did not sample has none.
    talk = trajectory(task_segment(None, 1, 2), model_segment(0, 10), task_segment(1, 3), model_segment(2, 11))
    batch = pack([[TrainingSample(talk, -1.0, {3: 2.0})]], TokenMean(), step=1)
    assert batch.groups[0].rows[0].advantages == (-1.0, 0.0, 2.0)
    assert not TrainingSample(talk, 0.0, {3: 2.0}).is_zero
    assert TrainingSample(talk, 0.0, {3: 0.0}).is_zero


def test_rollouts_without_an_advantage_are_kept_for_losses_that_need_them() -> None:
    batch = packed([group(single(10), single(11))], [[0.0, 0.0]], keep_zeros=True)
    assert shape(batch) == [((1, 2, 3), [((10,), "x"), ((11,), "x")])]


def test_what_has_no_advantage_is_left_away() -> None:
    batch = packed([group(single(10), single(11)), group(single(12))], [[0.0, 1.0], [0.0]], step=1)
    assert shape(batch) == [((1, 2, 3), [((11,), "x")])]
    assert packed([group(single(10))], [[0.0]], step=1).groups == []


def test_several_turns_are_one_row_with_gaps() -> None:
    talk = trajectory(
        task_segment(None, 1, 2), model_segment(0, 10, 11), task_segment(1, 3), model_segment(2, 12), task_segment(3, 4)
    )
    batch = packed([group(talk)], [[1.0]], step=1)
    # Nothing is trained after the last completion, so nothing of it is kept.
    assert shape(batch) == [((1, 2), [((10, 11, 3, 12), "xx.x")])]
    row = batch.groups[0].rows[0]
    assert row.logprobs == (-0.10, -0.11, 0.0, -0.12)


def test_each_segment_is_trained_once_however_many_leaves_hold_it() -> None:
    # 0 prompt -> 1 model -> 2 task -> 3 model; and a branch from 1: 4 task -> 5 model.
    talk = trajectory(
        task_segment(None, 1, 2),
        model_segment(0, 10),
        task_segment(1, 3),
        model_segment(2, 11),
        task_segment(1, 4),
        model_segment(4, 12),
    )
    batch = packed([group(talk)], [[1.0]], step=1)
    assert shape(batch) == [((1, 2), [((10, 3, 11), "x.x"), ((10, 4, 12), "..x")])]
    # The sampler's figures stay also where nothing is trained.
    assert batch.groups[0].rows[1].logprobs == (-0.10, 0.0, -0.12)


def test_the_prefix_ends_before_the_first_trained_token_of_any_row() -> None:
    # Both rows begin 1 2 10, but the first one's 10 is sampled.
    same = [single(10, 11, prompt=(1, 2)), single(12, prompt=(1, 2, 10))]
    batch = packed([group(*same)], [[1.0, -1.0]], step=1)
    assert shape(batch) == [((1, 2), [((10, 11), "xx"), ((10, 12), ".x")])]


def test_rows_that_begin_in_another_way_are_a_group_of_their_own_with_equal_weights() -> None:
    others = [single(10, prompt=(7, 8)), single(11), single(12, prompt=(7, 8))]
    batch = packed([group(*others)], [[1.0, 1.0, -2.0]], step=1)
    assert shape(batch) == [((7, 8), [((10,), "x"), ((12,), "x")]), ((1, 2, 3), [((11,), "x")])]
    assert [weight(r) for g in batch.groups for r in g.rows] == [1 / 3, -2 / 3, 1 / 3]


def test_a_group_is_parted_where_that_saves_tokens() -> None:
    # All share the first token; apart, each pair shares five: 2 x 5 saved instead of 3 x 1.
    pairs = [single(i, prompt=(1, *([kind] * 4))) for kind in (5, 6) for i in (10, 11)]
    batch = packed([group(*pairs)], [[1.0] * 4], step=1)
    assert [(len(g.prefix_ids), len(g.rows)) for g in batch.groups] == [(5, 2), (5, 2)]
    # Here parting would save 2 tokens in place of 3: one group.
    close = [single(10, prompt=(1, 5)), single(11, prompt=(1, 5)), single(12, prompt=(1, 6)), single(13, prompt=(1, 7))]
    assert len(packed([group(*close)], [[1.0] * 4], step=1).groups) == 1


def test_tokens_that_are_too_old_are_masked() -> None:
    talk = trajectory(
        task_segment(None, 1, 2),
        model_segment(0, 10, version=3),
        task_segment(1, 3),
        model_segment(2, 11, 12, version=4),
    )
    batch = packed([group(talk, single(13))], [[1.0, 1.0]], step=1, stale_before=4)
    # Of the first trajectory the last turn is left, of the second (version 0) nothing.
    assert [(r.loss_mask[-2:], sum(r.loss_mask)) for g in batch.groups for r in g.rows] == [((True, True), 2)]
    mean = packed([group(talk, single(13))], [[1.0, 1.0]], step=1, stale_before=4, aggregation=TokenMean())
    assert weight(mean.groups[0].rows[0]) == 1 / 2


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="has no token before it"):
        packed([group(trajectory(model_segment(None, 10)))], [[1.0]], step=1)


@st.composite
def trees(draw: st.DrawFn) -> Trajectory:
    """A tree below one prompt, in which any segment may have several children."""
    segments = [task_segment(None, *draw(st.lists(st.integers(0, 2), min_size=1, max_size=4)))]
    for _ in range(draw(st.integers(1, 7))):
        parent = draw(st.integers(0, len(segments) - 1))
        ids = draw(st.lists(st.integers(0, 2), max_size=4))
        if draw(st.booleans()):
            segments.append(model_segment(parent, *ids, version=draw(st.integers(0, 3))))
        else:
            segments.append(task_segment(parent, *ids))
    return trajectory(*segments)


@given(st.lists(trees(), min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_every_sampled_token_is_trained_once_after_what_stood_before_it(
    trajectories: list[Trajectory], data: st.DataObject
) -> None:
    advantages = [data.draw(st.sampled_from([0.0, 1.0, -1.0])) for _ in trajectories]
    stale_before = data.draw(st.sampled_from([None, 2]))
    batch = packed([group(*trajectories)], [advantages], step=1, stale_before=stale_before)
    expected: Counter[tuple[tuple[int, ...], int, float]] = Counter()
    for one, advantage in zip(trajectories, advantages, strict=True):
        for index, segment in enumerate(one.segments):
            before = [i for at in one.path(index)[:-1] for i in one.segments[at].token_ids]
            for position, version in enumerate(segment.versions):
                if advantage and (stale_before is None or version >= stale_before):
                    ids = (*before, *segment.token_ids[: position + 1])
                    expected[ids, version, advantage / len(trajectories)] += 1
    found: Counter[tuple[tuple[int, ...], int, float]] = Counter()
    for one_group in batch.groups:
        assert len(one_group.prefix_ids) >= 1
        for row in one_group.rows:
            lengths = {len(x) for x in (row.token_ids, row.loss_mask, row.logprobs, row.versions, row.advantages)}
            assert len(lengths) == 1
            assert row.loss_mask[-1]
            ids = (*one_group.prefix_ids, *row.token_ids)
            for position, trained in enumerate(row.loss_mask):
                if trained:
                    assert row.logprobs[position] == -row.token_ids[position] / 100
                    end = len(one_group.prefix_ids) + position + 1
                    found[ids[:end], row.versions[position], row.advantages[position] * row.scale] += 1
    assert found == expected


def test_packing_a_step_takes_milliseconds() -> None:
    # 32 groups of 16 rollouts of 100 tokens, as in the quickstart; loosely, since machines differ.
    groups = [group(*(single(*range(10 + r, 70 + r), prompt=tuple(range(40))) for r in range(16))) for _ in range(32)]
    advantages = [[1.0] * 16] * 32
    best = min(_seconds(groups, advantages) for _ in range(3))
    assert best < 0.5


def _seconds(groups: list[Group], advantages: list[list[float]]) -> float:
    started = time.perf_counter()
    batch = packed(groups, advantages, step=1)
    assert len(batch.groups) == 32
    return time.perf_counter() - started
