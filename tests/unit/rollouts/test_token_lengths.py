"""Where tokens start, by their lengths, is where the tokenizer itself says that they start."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.token_lengths import token_lengths
from tests.unit.rollouts.support import PLAIN, trained_tokenizer


def trained() -> Tokenizer:
    return Tokenizer.from_str(trained_tokenizer())


def with_prefix_space() -> Tokenizer:
    tokenizer = trained()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def with_a_hungry_token() -> Tokenizer:
    tokenizer = trained()
    tokenizer.add_special_tokens([AddedToken("<|hungry|>", lstrip=True, rstrip=True)])
    return tokenizer


def with_dropped_characters() -> Tokenizer:
    tokenizer = trained()
    split = pre_tokenizers.Split("x", "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


@pytest.mark.parametrize("make", [trained, with_prefix_space, with_a_hungry_token, with_dropped_characters])
def test_ids_and_starts_are_those_that_the_tokenizer_gives(make: Callable[[], Tokenizer]) -> None:
    tokenizer = ChatTokenizer(make(), PLAIN)
    own = make()
    own.post_processor = None  # pyright: ignore[reportAttributeAccessIssue]
    draw = random.Random(0)
    parts = [
        "def add(x):\n",
        " return",
        "  ",
        "\t",
        "1234",
        "<|im_end|>",
        " <|hungry|> ",
        "x",
        "é",
        "日",
        "\n\n",
        "the ",
    ]
    for _ in range(300):
        text = "".join(draw.choices(parts, k=draw.randint(0, 12)))
        expected = own.encode(text, add_special_tokens=False)
        ids, starts = tokenizer._encode_plain(text)
        assert (ids, starts) == (expected.ids, [start for start, _ in expected.offsets])


def test_lengths_are_in_bytes() -> None:
    tokenizer = trained()
    lengths = token_lengths(tokenizer)
    ids = tokenizer.encode("return<|im_end|>", add_special_tokens=False).ids
    assert sum(lengths[i] for i in ids) == 16
    assert len(lengths) == tokenizer.get_vocab_size()


def test_tokenizers_that_are_not_byte_level_or_rewrite_text_have_no_lengths() -> None:
    lowered = trained()
    lowered.normalizer = normalizers.Lowercase()
    assert token_lengths(lowered) == []
    composed = trained()
    composed.normalizer = normalizers.Sequence([normalizers.NFC()])
    assert token_lengths(composed)
    split = trained()
    split.pre_tokenizer = pre_tokenizers.Whitespace()
    assert token_lengths(split) == []
    words = Tokenizer(models.WordLevel({"a": 0}, "a"))
    words.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert token_lengths(words) == []
