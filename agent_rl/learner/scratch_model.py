"""A new small model of a standard architecture and its tokenizer, in the Hugging Face format, made only from texts.

The tokenizer has one token per word (`agent_rl.learner.word_tokenizer`), or is a byte-level BPE that can encode any
text. For the latter, text is cut before merging into single digits, words with the space before them, and line breaks
with the indentation after them. Repeated parts of programs then become tokens, and numbers stay readable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from agent_rl.config import ScratchModel
from agent_rl.errors import ConfigError
from agent_rl.learner.word_tokenizer import WORD_TEMPLATE, word_tokenizer

BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
SPECIAL_TOKENS = (PAD, BOS, END, "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
"""In the order of their ids, from 0."""
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_PIECES = r"\n+ *| ?\d| ?[\p{L}\p{M}_]+| ?[^\s\p{L}\p{M}\d_]+| +(?= )|\s"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE with at most `vocabulary` tokens, learned from `texts`.

    Raises ConfigError when `vocabulary` is too small for the special tokens and the 256 bytes.
    """
    smallest = len(SPECIAL_TOKENS) + 256
    if vocabulary < smallest:
        raise ConfigError(f"at least {smallest} are needed, got {vocabulary}", key="model.scratch.vocabulary")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_scratch_model(config: ScratchModel, texts: Iterable[str], folder: Path, seed: int) -> None:
    """`folder` holds a model with random weights drawn from `seed`, and a tokenizer trained on `texts`."""
    if config.tokenizer == "words":
        tokenizer, template = word_tokenizer(texts, (PAD, BOS, END), config.vocabulary), WORD_TEMPLATE
    else:
        tokenizer, template = train_tokenizer(texts, config.vocabulary), CHAT_TEMPLATE
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    torch.manual_seed(seed)
    make_model(config, tokenizer).save_pretrained(folder)


def make_model(config: ScratchModel, tokenizer: Tokenizer) -> PreTrainedModel:
    """A model of `config`'s shape with random weights. Raises ConfigError for an impossible shape."""
    if config.width % config.heads or config.heads % config.kv_heads:
        raise ConfigError(
            f"width {config.width} must be a multiple of heads {config.heads}, and heads of kv_heads {config.kv_heads}",
            key="model.scratch",
        )
    shape = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": config.width,
        "intermediate_size": config.ffn_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.width // config.heads,
        "max_position_embeddings": config.context,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.token_to_id(PAD),
        "bos_token_id": tokenizer.token_to_id(BOS),
        "eos_token_id": tokenizer.token_to_id(END),
    }
    if config.architecture == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape))
    return LlamaForCausalLM(LlamaConfig(**shape))
