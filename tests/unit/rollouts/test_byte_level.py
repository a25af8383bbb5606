"""What the tables of byte-level tokenizers say is what the tokenizer itself says."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from agent_rl.rollouts.byte_level import token_bytes, token_lengths
from agent_rl.rollouts.chat import ChatTokenizer
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


def test_decoded_text_is_the_tokenizers_own() -> None:
    own = with_a_hungry_token()
    own.add_tokens(["<think>", "two words", "Ġé", "日本"])
    tokenizer, size = ChatTokenizer(own, PLAIN), own.get_vocab_size()
    # Ids of single bytes, of which most do not make up a character, and all others; also ids that do not exist.
    single = [i for i, b in enumerate(token_bytes(own)) if len(b) == 1]
    assert len(single) == 256
    draw = random.Random(0)
    for _ in range(3000):
        ids = [draw.choice([draw.choice(single), draw.randrange(size)]) for _ in range(draw.randint(0, 12))]
        assert tokenizer.decode(ids) == own.decode(ids, skip_special_tokens=True)
    assert tokenizer.decode([size + 5, single[0]]) == own.decode([size + 5, single[0]])


def test_tokenizers_whose_decoder_does_more_have_no_bytes() -> None:
    tokenizer = trained()
    assert token_bytes(tokenizer)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    assert token_bytes(tokenizer) == []
    tokenizer.decoder = None  # pyright: ignore[reportAttributeAccessIssue]
    assert token_bytes(tokenizer) == []
