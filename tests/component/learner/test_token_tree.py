"""Rows that begin alike are computed once, and nothing else changes."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from agent_rl.contracts import Batch, PackedGroup, TrainingRow
from agent_rl.learner.causal_model import model_logprobs, with_shared_prefix
from agent_rl.learner.micro_batches import MicroBatch, micro_batches
from agent_rl.learner.token_tree import token_tree

from .conftest import ModelMaker
from .test_gradients import gradient, plain_logprobs, plain_loss, shared_loss

CPU = torch.device("cpu")


def test_every_beginning_stands_once_and_its_continuations_follow_it() -> None:
    #        1 2 3 4 | 5 (after 1 2 3) | 6 (after 1)
    tree = token_tree([(1, 2, 3, 4), (1, 6), (1, 2, 3, 5), (1, 2, 3, 4)])
    assert tree.ids == [1, 2, 3, 4, 5, 6]
    assert tree.positions == [0, 1, 2, 3, 3, 1]
    assert tree.ends.tolist() == [6, 5, 5, 4, 5, 6]
    assert [path.tolist() for path in tree.paths] == [[0, 1, 2, 3], [0, 5], [0, 1, 2, 4], [0, 1, 2, 3]]
    assert tree.depth == 4


def test_a_sequence_may_be_the_beginning_of_another_or_share_nothing() -> None:
    tree = token_tree([(7, 8), (1, 2), (1, 2, 3)])
    assert tree.ids == [1, 2, 3, 7, 8]
    assert tree.ends.tolist() == [3, 3, 3, 5, 5]
    assert [path.tolist() for path in tree.paths] == [[3, 4], [0, 1], [0, 1, 2]]


def test_a_token_sees_itself_and_its_ancestors_however_the_tree_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    sequences = [tuple(draw.randrange(2) for _ in range(draw.randint(1, 7))) for _ in range(12)]
    tree = token_tree(sequences)
    expected: set[tuple[int, int]] = set()
    for path in tree.paths:
        expected |= {(i, j) for i in path.tolist() for j in path.tolist() if j <= i}
    for window in (1, 5, 1000):
        # At least half of the longest sequence, which has 7 tokens.
        monkeypatch.setattr("agent_rl.learner.token_tree.WINDOW", window)
        found: set[tuple[int, int]] = set()
        pairs = 0
        for part in tree.windows(CPU, torch.float32):
            assert part.stop - part.start <= max(window, 3)
            assert (part.mask[part.mask != 0] == float("-inf")).all()
            found |= {(part.start + i, int(part.keys[j])) for i, j in (part.mask == 0).nonzero().tolist()}
            pairs += part.mask.numel()
        assert found == expected
        assert pairs <= tree.most_pairs


def like_rows(seed: int, *, groups: int = 3, rows: int = 8) -> Batch:
    """Groups in which rows branch off from each other everywhere, some are equal, some end within others."""
    draw = random.Random(seed)
    packed: list[PackedGroup] = []
    for _ in range(groups):
        grown: list[list[int]] = [[draw.randrange(40) for _ in range(30)]]
        while len(grown) < rows:
            ids = list(draw.choice(grown))[: draw.randint(1, 30)]
            grown.append(ids + [draw.randrange(40) for _ in range(draw.choice([0, 0, 3]))])
        packed.append(PackedGroup([1, 2, 3], [_row(draw, ids) for ids in grown]))
    return Batch(1, packed)


def _row(draw: random.Random, ids: list[int]) -> TrainingRow:
    mask = [draw.random() < 0.7 for _ in ids]
    mask[draw.randrange(len(ids))] = True
    logprobs = [draw.uniform(-6, -1) if trained else 0.0 for trained in mask]
    advantages = [draw.choice([-1.0, 0.25, 3.0])] * len(ids)
    return TrainingRow(ids, mask, logprobs, [0] * len(ids), advantages, 1 / 24)


def cut(batch: Batch, *, every: bool = False) -> MicroBatch:
    tokens = "all" if every else "trained"
    (micro,) = micro_batches(batch.groups, max_tokens=10_000, tokens=tokens, device=CPU, dtype=torch.float64)
    return micro


@pytest.mark.parametrize("window", [16, 96])
@pytest.mark.parametrize("architecture", ["llama-gqa", "qwen3"])
def test_loss_and_gradient_of_rows_that_begin_alike_equal_those_of_plain_rows(
    make_model: ModelMaker, architecture: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_rl.learner.token_tree.WINDOW", window)
    batch = like_rows(1)
    micro = cut(batch)
    assert micro.shares is not None
    assert micro.ids.shape[1] < sum(3 + len(r.token_ids) for g in batch.groups for r in g.rows) / 2
    assert len(micro.select) < len(micro.advantages) == batch.trained_tokens
    plain = make_model(architecture)
    expected = plain_loss(plain, batch)
    shared = make_model(architecture)
    with_shared_prefix(shared)
    found, figures = shared_loss(shared, batch)
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)
    assert figures.tokens == batch.trained_tokens
    torch.testing.assert_close(gradient(shared, found), gradient(plain, expected), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("max_tokens", [40, 90])
def test_a_tree_may_be_cut(make_model: ModelMaker, max_tokens: int) -> None:
    batch = like_rows(2)
    model = make_model("llama")
    with_shared_prefix(model)
    whole, _ = shared_loss(model, batch)
    expected = gradient(model, whole)
    parts, _ = shared_loss(model, batch, max_tokens=max_tokens)
    torch.testing.assert_close(gradient(model, parts), expected, rtol=1e-9, atol=1e-11)


def test_every_log_probability_is_that_of_its_own_row(make_model: ModelMaker) -> None:
    batch = like_rows(3, groups=1)
    micro = cut(batch, every=True)
    assert micro.shares is not None
    plain, shared = make_model("llama"), make_model("llama")
    with_shared_prefix(shared)
    with torch.no_grad():
        found = model_logprobs(shared, micro, 1.0).tolist()
        (group,) = batch.groups
        expected = [plain_logprobs(plain, [1, 2, 3], list(row.token_ids), 1.0).tolist() for row in group.rows]
    assert len(found) == sum(map(len, expected))
    for row, token, value in zip(*micro.places[1:], found, strict=True):
        assert value == pytest.approx(expected[row][token], abs=1e-10)


def test_rows_that_share_little_stay_rows() -> None:
    # 8 rows of 20 tokens of which the first is the same: a tree would save 7 of 3 + 8 * 19 tokens, and widen attention.
    draw = random.Random(4)
    rows = [_row(draw, [5, *(draw.randrange(40) for _ in range(19))]) for _ in range(8)]
    rows = [dataclasses.replace(row, loss_mask=[True] * 20) for row in rows]
    micro = cut(Batch(1, [PackedGroup([1, 2, 3], rows)]))
    assert micro.shares is None
    assert micro.ids.shape[1] == 3 + 8 * 19


def test_a_row_reaches_no_further_than_its_own_beginning() -> None:
    # 2 + 10 tokens of all, and 20 rows of 5 more, of which the last predicts nothing: nobody sees more than 16 tokens.
    rows = [TrainingRow([*range(10), *[i] * 5], [True] * 15, [-1.0] * 15, [0] * 15, [1.0] * 15, 1.0) for i in range(20)]
    micro = cut(Batch(1, [PackedGroup([38, 39], rows)]))
    assert micro.ids.shape[1] == 2 + 10 + 20 * 4
    assert micro.layout.longest == 16
