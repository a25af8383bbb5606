"""A tokenizer with one token a word, for languages of a few words: no merges, so a prompt's length can be counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, pre_tokenizers

from agent_rl.errors import ConfigError

UNKNOWN = "<|unknown|>"
"""What any other word becomes. The model may sample it; it reads as this text."""
WORD_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ ' ' }}{% endif %}{% endfor %}"
)
"""Messages one after the other, with nothing between them that is a token."""


def word_tokenizer(texts: Iterable[str], special_tokens: Sequence[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of exactly `vocabulary` tokens: the special ones, the words of `texts`, and reserved words.

    Words are what white space separates; they have their ids in alphabetical order. Raises ConfigError when
    `vocabulary` is too small for them.
    """
    words = sorted(Counter(word for text in texts for word in text.split()))
    known = [*special_tokens, UNKNOWN, *words]
    if len(known) > vocabulary:
        raise ConfigError(
            f"the demonstrations have {len(words)} different words, which with {len(special_tokens) + 1} special ones "
            f"need {len(known)}, got {vocabulary}",
            key="model.scratch.vocabulary",
        )
    known += [f"<|reserved_{i}|>" for i in range(vocabulary - len(known))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.add_special_tokens(list(special_tokens))
    return tokenizer
