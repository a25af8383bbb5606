"""The lengths of a byte-level tokenizer's tokens, from which follows where each token of an ASCII text starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from tokenizers import Tokenizer
from tokenizers.models import BPE

_HARMLESS = {"NFC", "NFD", "NFKC", "NFKD"}
"""Normalizers that leave ASCII text as it is."""


def token_lengths(tokenizer: Tokenizer) -> list[int]:
    """The bytes of each token, in number, by id; empty unless the tokenizer is byte-level and keeps ASCII as it is.

    Each byte is a character of such a tokenizer's vocabulary; an added token stands for its own text.
    """
    model: Any = tokenizer.model
    if not isinstance(model, BPE) or model.continuing_subword_prefix or model.end_of_word_suffix:
        return []
    if "ByteLevel" not in _kinds(tokenizer.pre_tokenizer) or _kinds(tokenizer.normalizer) - _HARMLESS:
        return []
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    lengths = [0] * (max(vocabulary.values(), default=-1) + 1)
    for text, token_id in vocabulary.items():
        lengths[token_id] = len(text)
    return lengths


def _kinds(part: Any) -> set[str]:
    """The names of a part of the tokenizer's pipeline, and of all that it is made of."""
    return set() if part is None else _named(json.loads(part.__getstate__()))


def _named(part: Mapping[str, Any]) -> set[str]:
    inner = cast("list[Mapping[str, Any]]", part.get("pretokenizers") or part.get("normalizers") or [])
    return {name for one in inner for name in _named(one)} or {str(part["type"])}
