"""Tables of byte-level tokenizers: from them follows what the tokenizer itself takes longer to say.

The lengths of the tokens tell where each token of an ASCII text starts; the bytes of the tokens are the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
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


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes that each token stands for, by id, nothing for special tokens; empty unless decoding only joins them.

    A text is these bytes, joined and read as UTF-8. The tokenizer's own decoder does the same and takes longer.
    """
    if not isinstance(tokenizer.decoder, ByteLevelDecoder):
        return []
    added = tokenizer.get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    found = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for text, token_id in vocabulary.items():
        if text not in special:
            mapped = [_BYTES.get(character) for character in text]
            whole = [byte for byte in mapped if byte is not None]
            # A token with a character that stands for no byte is an added one: it stands for its own text.
            found[token_id] = bytes(whole) if len(whole) == len(mapped) else text.encode()
    return found


def _byte_characters() -> dict[str, int]:
    """Character of a byte-level vocabulary -> its byte: printable ones as they are, the others from 256 on in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_characters()
