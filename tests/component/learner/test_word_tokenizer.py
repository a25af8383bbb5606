"""A tokenizer with one token a word, and the small model that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_rl.config import ScratchModel
from agent_rl.errors import ConfigError
from agent_rl.learner.scratch_model import write_scratch_model
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.vocabulary import Message

TEXTS = ["GO THERE", "UP DOWN\nDONE"]
SMALL = ScratchModel(
    tokenizer="words", vocabulary=12, width=32, layers=1, heads=2, kv_heads=1, ffn_width=48, context=64
)


@pytest.fixture
def tokenizer(tmp_path: Path) -> ChatTokenizer:
    write_scratch_model(SMALL, TEXTS, tmp_path, seed=3)
    return ChatTokenizer.load(tmp_path)


def test_a_prompt_has_one_token_a_word_and_one_before_them(tokenizer: ChatTokenizer) -> None:
    # <|pad|> 0, <|bos|> 1, <|end|> 2, <|unknown|> 3, then DONE 4, DOWN 5, GO 6, THERE 7, UP 8.
    assert tokenizer.vocabulary_size == 12
    assert tokenizer.first_prompt((Message.user("GO THERE  UP"),)).token_ids == (1, 6, 7, 8)
    assert tokenizer.stop_token_ids == (2,)
    assert tokenizer.decode([8, 5, 4, 2]) == "UP DOWN DONE"


def test_a_reserved_or_unknown_word_is_no_word_of_the_language(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.encode("UP what DOWN") == [8, 3, 5]
    assert tokenizer.decode([8, 3, 9]) == "UP <|unknown|> <|reserved_0|>"


def test_a_special_token_in_a_message_is_none(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.first_prompt((Message.user("GO <|end|> THERE"),)).token_ids
    assert ids[0] == 1
    assert not {0, 1, 2} & set(ids[1:])


def test_a_vocabulary_without_room_for_the_words_is_refused(tmp_path: Path) -> None:
    small = SMALL.model_copy(update={"vocabulary": 8})
    with pytest.raises(ConfigError, match=r"model\.scratch\.vocabulary: .* 5 different words.* need 9, got 8"):
        write_scratch_model(small, TEXTS, tmp_path, seed=3)
