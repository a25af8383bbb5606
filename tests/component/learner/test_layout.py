"""What is computed, what is left away, and what is refused."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from agent_rl.contracts import PackedGroup, TrainingRow
from agent_rl.errors import ConfigError
from agent_rl.learner.causal_model import with_shared_prefix
from agent_rl.learner.micro_batches import MicroBatch, Tokens, micro_batches
from agent_rl.learner.token_layout import make_layout

from .conftest import SHAPE

CPU = torch.device("cpu")


def row(length: int, trained: list[int], weight: float = 1.0, first: int = 10) -> TrainingRow:
    ids = list(range(first, first + length))
    mask = [t in trained for t in range(length)]
    return TrainingRow(ids, mask, [-1.0 * t for t in range(length)], [0] * length, [1.0] * length, weight)


def cut(groups: list[PackedGroup], max_tokens: int = 1000, tokens: Tokens = "trained") -> list[MicroBatch]:
    return list(micro_batches(groups, max_tokens=max_tokens, tokens=tokens, device=CPU, dtype=torch.float32))


def test_what_predicts_nothing_is_left_away() -> None:
    rows = [
        row(4, [1, 2]),  # its tokens 0 and 1 predict the tokens 1 and 2; 2 and 3 predict nothing that is trained
        row(6, []),  # nothing is trained
        row(3, [0]),  # predicted by the prefix's last token: nothing of the row itself is computed
    ]
    (micro,) = cut([PackedGroup([1, 2, 3], rows)])
    assert micro.ids.tolist() == [[1, 2, 3, 10, 11]]
    assert micro.positions.tolist() == [[0, 1, 2, 3, 4]]
    # Shortest first: the last row's token 0 (id 10) from position 2, then the first row's ids 11 and 12 from 3 and 4.
    assert micro.select.tolist() == [2, 3, 4]
    assert micro.targets.tolist() == [10, 11, 12]
    assert micro.sampler_logprobs.tolist() == [0.0, -1.0, -2.0]
    assert micro.places == ([0, 0, 0], [2, 0, 0], [0, 1, 2])
    assert micro.rows.tolist() == [0, 1, 1]


def test_every_token_can_be_asked_for() -> None:
    (micro,) = cut([PackedGroup([1], [row(2, []), row(3, [])])], tokens="all")
    assert micro.places == ([0] * 5, [0, 0, 1, 1, 1], [0, 1, 0, 1, 2])


def test_nothing_trained_is_no_micro_batch() -> None:
    assert cut([PackedGroup([1, 2], [row(3, [])])]) == []
    assert cut([]) == []


def test_groups_are_cut_at_the_limit_and_prefixes_computed_once_in_each_piece() -> None:
    # 3 + 4 * 4 = 19 tokens (of each row's 5 the last predicts nothing); at most 12 at a time: 3 + 2 * 4 = 11, twice.
    group = PackedGroup([1, 2, 3], [row(5, [4], first=10 + i) for i in range(4)])
    assert [micro.ids.shape[1] for micro in cut([group], max_tokens=12)] == [11, 11]
    assert [micro.ids.shape[1] for micro in cut([group, group], max_tokens=38)] == [38]
    assert [micro.ids.shape[1] for micro in cut([group, group], max_tokens=37)] == [19, 19]


def test_rows_of_unlike_length_do_not_share_a_bucket() -> None:
    # At most 15 % more padded than real tokens: 20 of 10 + 10, 33 > 1.15 * (10 + 10 + 11) = 35.65 fits, 50 does not.
    layout = make_layout([(7, [10, 10, 11, 50])], CPU, torch.float32)
    (_, buckets) = layout.groups[0]
    assert [(b.rows, b.length, b.prefix) for b in buckets] == [(3, 11, 7), (1, 50, 7)]
    assert layout.sizes == (7, 33, 50)
    # Padding repeats the last token, and taking it out again gives the stream back.
    stream = torch.arange(7 + 10 + 10 + 11 + 50)
    assert torch.equal(stream[layout.pad][layout.unpad], stream)


def test_single_rows_are_whole_sequences_in_common_buckets() -> None:
    groups = [PackedGroup([1, 2], [row(4, [3])]), PackedGroup([1, 2, 3], [row(3, [2])])]
    (micro,) = cut(groups)
    ((prefix, buckets),) = micro.layout.groups
    assert prefix is None
    assert [(b.rows, b.length, b.prefix) for b in buckets] == [(2, 5, 0)]


def test_a_model_with_a_short_window_is_refused() -> None:
    model = MistralForCausalLM(MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=3))
    with pytest.raises(ConfigError, match="sliding window"):
        with_shared_prefix(model)


def test_a_model_that_mixes_tokens_on_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2))
    layer = model.model.layers[0]
    forward = layer.mlp.forward
    monkeypatch.setattr(layer.mlp, "forward", lambda x: forward(x).cumsum(1))
    with pytest.raises(ConfigError, match="cannot be trained with a shared prefix: its log-probabilities differ by"):
        with_shared_prefix(model)
