"""New models and their tokenizers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agent_rl.config import ScratchModel
from agent_rl.errors import ConfigError
from agent_rl.learner.scratch_model import SPECIAL_TOKENS, train_tokenizer, write_scratch_model
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.vocabulary import Message

PROGRAM = "def f(xs):\n    total = 0\n    for x in xs:\n        total = total + x\n    return total"
TEXTS = [PROGRAM, "Write f(xs) that returns the sum of xs.\n>>> f([12, 345])\n357"] * 20
SMALL = ScratchModel(vocabulary=320, width=32, layers=1, heads=2, kv_heads=1, ffn_width=48, context=64)
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "tool", "content": "it is 2"},
]


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write_scratch_model(getattr(request, "param", SMALL), TEXTS, tmp_path, seed=3)
    return tmp_path


def test_indentation_becomes_tokens_and_digits_stay_alone() -> None:
    tokenizer = train_tokenizer(TEXTS, 340)
    tokens = [tokenizer.decode([i]) for i in tokenizer.encode(PROGRAM).ids]
    assert "\n    " in tokens
    assert "\n        " in tokens
    assert " return" not in tokens  # the space belongs to the indentation
    assert [tokenizer.decode([i]) for i in tokenizer.encode("3457 = 34").ids] == ["3", "4", "5", "7", " =", " 3", "4"]


@pytest.mark.parametrize(
    "text", [PROGRAM, "  a\t\n\n  b ", "naïve — 漢字 🙂 \x00", "<|end|>x<|user|>", " 1  2   3", ""]
)
def test_every_text_comes_back(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_special_tokens_have_the_first_ids() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    assert [tokenizer.token_to_id(t) for t in SPECIAL_TOKENS] == list(range(7))
    assert tokenizer.get_vocab_size() <= 300


def test_a_vocabulary_without_room_for_all_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.scratch\.vocabulary: at least 263 are needed, got 262"):
        train_tokenizer(TEXTS, 262)


def test_transformers_loads_the_tokenizer(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|bos|><|system|>Be brief.<|end|><|user|>1 + 1?<|end|><|assistant|>2<|end|><|tool|>it is 2<|end|><|assistant|>"
    )
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|bos|>", "<|end|>", "<|pad|>")
    ids = tokenizer(PROGRAM)["input_ids"]
    assert tokenizer.decode(ids) == PROGRAM


def test_rollouts_tokenize_as_transformers_does(folder: Path) -> None:
    chat = ChatTokenizer.load(folder)
    prompt = chat.first_prompt((Message.system("Be brief."), Message.user("1 + 1?")))
    text = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        CONVERSATION[:2], tokenize=False, add_generation_prompt=True
    )
    assert chat.decode_all(prompt.token_ids) == text
    assert chat.stop_token_ids == (SPECIAL_TOKENS.index("<|end|>"),)
    assert all(chat.accepts(role) for role in ("system", "user", "assistant", "tool"))


@pytest.mark.parametrize("folder", [SMALL, SMALL.model_copy(update={"architecture": "qwen3"})], indirect=True)
def test_transformers_loads_the_model(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.tie_word_embeddings
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.generation_config.eos_token_id == SPECIAL_TOKENS.index("<|end|>")
    assert model.config.max_position_embeddings == 64
    out = model.generate(torch.tensor([[1, 4]]), max_new_tokens=3, do_sample=False)
    assert out.shape[1] <= 5


def test_the_seed_alone_decides_the_weights(tmp_path: Path) -> None:
    files: list[bytes] = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        write_scratch_model(SMALL, TEXTS, tmp_path / name, seed)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]
    assert json.loads((tmp_path / "a" / "config.json").read_text())["model_type"] == "llama"


def test_an_impossible_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.scratch: width 30 must be a multiple of heads 4"):
        write_scratch_model(SMALL.model_copy(update={"width": 30, "heads": 4}), TEXTS, tmp_path, 0)
