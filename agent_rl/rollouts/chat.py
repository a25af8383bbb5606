"""`ChatTokenizer`: messages to token ids and back, with `tokenizers` and `jinja2` alone (no torch, no transformers).

Message content is never encoded as a special token: see `agent_rl.rollouts.message_markup`. Text is encoded without
the tokenizer's own additions (such as a leading BOS): the chat template writes them if it needs them.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from agent_rl.errors import ConfigError
from agent_rl.rollouts.byte_level import token_bytes, token_lengths
from agent_rl.rollouts.growing_template import Progress
from agent_rl.rollouts.message_markup import Guard, GuardedMessage, Rendering
from agent_rl.rollouts.template import ChatTemplate
from agent_rl.rollouts.tool_calls import call_spans, syntax_of
from agent_rl.vocabulary import Message
from agent_rl.vocabulary.task import MessageRole
from agent_rl.vocabulary.thinking import THINKING_MARKS
from agent_rl.vocabulary.trajectory import SegmentSource

# A text is encoded alone: threads of the tokenizer would only cost, and it warns when a process with them forks.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ToolSchemas = Sequence[Mapping[str, Any]]
_PROBE = "Qx7"
_CACHED_PROMPTS = 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of newly encoded ids of one source. The next piece begins at `end` in the rendered text."""

    source: SegmentSource
    token_ids: tuple[int, ...]
    end: int


@dataclass(frozen=True, slots=True)
class GrownRendering:
    """A rendering, from the start of the conversation or from where the last one could be resumed (`continued`).

    resume_at: where in its text the next rendering can be resumed, with `progress`.
    """

    rendering: Rendering
    continued: bool
    resume_at: int
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A conversation's first prompt. `digest` is a hash: equal for equal ids, different (almost surely) otherwise."""

    text: str
    grown: GrownRendering
    pieces: tuple[Piece, ...]
    token_ids: tuple[int, ...]
    digest: str


class ChatTokenizer:
    """A tokenizer with its chat template. All methods may be called from several threads."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str,
        *,
        tokens: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
        stop_token_ids: Sequence[int] = (),
    ) -> None:
        """`tokens` are the special tokens that the template may name, such as `bos_token`; `variables` are the user's.

        Generation stops at `stop_token_ids`, and at the token with which the template ends the model's turns, if any.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.post_processor = None  # pyright: ignore[reportAttributeAccessIssue]  (it would trim offsets)
        self._tokenizer = tokenizer
        self._literal: Tokenizer | None = None
        self._lengths, self._bytes = token_lengths(tokenizer), token_bytes(tokenizer)
        self._template = ChatTemplate(template, tokens or {}, variables)
        self._special: dict[str, int] = {}
        markup: list[str] = []
        for token_id, added in tokenizer.get_added_tokens_decoder().items():
            if added.special:
                self._special[added.content] = token_id
            elif added.content in template:
                markup.append(added.content)
        syntax = syntax_of(template)
        thinking = [mark for mark in THINKING_MARKS if mark in template]
        self._guard = Guard(self._special, markup, thinking, lambda text: call_spans(text, syntax))
        self._guarded_ids = {*self._special.values(), *(tokenizer.token_to_id(m) for m in markup)}
        self._prompts: OrderedDict[Any, EncodedPrompt] = OrderedDict()
        self.stop_token_ids = self._stops(stop_token_ids)
        self._stop_texts = tuple(t for i in self.stop_token_ids if (t := tokenizer.id_to_token(i)))

    @classmethod
    def load(
        cls,
        model_folder: str | Path,
        chat_template: str | Path | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> ChatTokenizer:
        """The tokenizer in `model_folder`, with its own template or the one in the file `chat_template`.

        `variables` are the values of the template's own variables (`model.template_variables`). Raises ConfigError if
        files are missing or damaged, or if there is no chat template or no such variable in it.
        """
        folder = Path(model_folder)
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the bindings raise Exception itself
            raise ConfigError(f"{folder / 'tokenizer.json'} cannot be read: {error}", key="model.path") from None
        config = {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / "tokenizer_config.json")}
        tokens = {name: text for name, value in config.items() if name.endswith("_token") and (text := _text(value))}
        stops: list[int] = []
        eos = _read_json(folder / "generation_config.json").get("eos_token_id")
        stops += [eos] if isinstance(eos, int) else cast("list[int]", eos or [])
        if "eos_token" in tokens and (own := tokenizer.token_to_id(tokens["eos_token"])) is not None:
            stops.append(own)
        template = _find_template(folder, config, chat_template)
        return cls(tokenizer, template, tokens=tokens, variables=variables, stop_token_ids=stops)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id that the tokenizer knows."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def renders_tools(self) -> bool:
        """Whether the template itself tells the model which tools there are."""
        return self._template.renders_tools

    @property
    def template(self) -> str:
        """The template's source."""
        return self._template.source

    def accepts(self, role: MessageRole) -> bool:
        """Whether messages of `role` show in what the template writes."""
        probes = {
            "system": (Message.system(_PROBE), Message.user("a")),
            "user": (Message.user(_PROBE),),
            "assistant": (Message.user("a"), Message.assistant(_PROBE), Message.user("b")),
            "tool": (Message.user("a"), Message.assistant("b"), Message("tool", _PROBE, tool_call_id="call00001")),
        }
        try:
            return _PROBE in self.render(probes[role], add_generation_prompt=role != "assistant")
        except ConfigError:
            return False

    def guarded(self, message: Message) -> GuardedMessage:
        """`message` in the form that `rendering` takes and the template gets."""
        return self._guard.message(message)

    def guarded_reply(self, text: str) -> str:
        """The model's own text as it appears in a rendering."""
        return self._guard.reply(text)

    def rendering(
        self, messages: Sequence[GuardedMessage], tools: ToolSchemas, add_generation_prompt: bool
    ) -> Rendering:
        """The conversation's text, and where content is in it. Raises ConfigError if the template refuses it."""
        return self._guard.rendering(self._template.render(messages, tools, add_generation_prompt))

    def grow(
        self, messages: Sequence[GuardedMessage], tools: ToolSchemas, before: Progress | None = None
    ) -> GrownRendering:
        """The conversation's text with a generation prompt, or only what changes after a rendering with `before`.

        Its cost is linear in the new messages, if the template allows it (see `growing_template`). Raises ConfigError
        if the template refuses the conversation.
        """
        growth = self._template.grow(messages, tools, before)
        resume_at = growth.resume_at - self._guard.enclosures(growth.text, growth.resume_at)
        return GrownRendering(self._guard.rendering(growth.text), growth.continued, resume_at, growth.progress)

    def render(self, messages: Sequence[Message], tools: ToolSchemas = (), add_generation_prompt: bool = True) -> str:
        """The conversation's text, for `encode`. Special tokens inside content are marked (see `plain`)."""
        return self.rendering([self.guarded(m) for m in messages], tools, add_generation_prompt).text

    def plain(self, rendered: str) -> str:
        """A rendered text for a person to read."""
        return self._guard.plain(rendered)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`. Special tokens in it are encoded as such, unless `render` marked them."""
        return self._encode(text)[0]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids` without special tokens. Bytes that are not UTF-8 become U+FFFD."""
        if self._bytes and max(token_ids, default=0) < len(self._bytes):
            return b"".join(map(self._bytes.__getitem__, token_ids)).decode(errors="replace")
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)

    def decode_all(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids` with special tokens, for a person to read."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=False)

    def first_prompt(self, messages: tuple[Message, ...], tools: ToolSchemas = ()) -> EncodedPrompt:
        """The prompt that a conversation begins with. It is computed once for all rollouts that share it."""
        key: Any = (messages, json.dumps(tools, sort_keys=True) if tools else "")
        try:
            cached = self._prompts.get(key)
        except TypeError:  # arguments of a tool call in the prompt cannot be hashed
            cached, key = None, None
        if cached is not None:
            return cached
        grown = self.grow([self.guarded(m) for m in messages], tools)
        pieces = tuple(self.encode_pieces(grown.rendering, 0))
        ids = tuple(i for piece in pieces for i in piece.token_ids)
        if not ids:
            raise ConfigError("the template writes nothing before the model's first turn", key="model.chat_template")
        digest = blake2b(",".join(map(str, ids)).encode(), digest_size=8).hexdigest()
        prompt = EncodedPrompt(grown.rendering.text, grown, pieces, ids, digest)
        if key is not None:
            self._prompts[key] = prompt
            while len(self._prompts) > _CACHED_PROMPTS:
                self._prompts.popitem(last=False)
        return prompt

    def stop_at(self, text: str, start: int) -> tuple[int, int]:
        """(start, end) of a stop token in `text` that follows `start`, with only white space between; empty if none."""
        at = start
        while at < len(text) and text[at].isspace():
            at += 1
        for stop in self._stop_texts:
            if text.startswith(stop, at):
                return at, at + len(stop)
        return start, start

    def encode_pieces(self, rendering: Rendering, start: int, skip: int = 0, base: int = 0) -> list[Piece]:
        """The ids of the rendered text from `start + skip` on, by source. `base` is added to where the pieces end.

        The text is encoded as one run and cut where content begins and ends; a token across a cut belongs to the piece
        in which it begins. The `skip` characters at `start` are a stop token that the model has sampled. They are
        encoded too, because a tokenizer's result depends on the preceding text; their id is then dropped.
        """
        text = rendering.text
        ids, starts = self._encode(text[start:])
        if skip:
            ids, starts = ids[1:], starts[1:]
        cuts: list[tuple[int, SegmentSource]] = []
        done = 0
        for from_, to, source in rendering.spans:
            if to <= start:
                continue
            first = bisect_left(starts, from_ - start)
            last = bisect_left(starts, to - start)
            if first > done:
                cuts.append((first, "template"))
            if last > first:
                cuts.append((last, source))
            done = max(done, last)
        if len(ids) > done:
            cuts.append((len(ids), "template"))
        pieces: list[Piece] = []
        done = 0
        for cut, source in cuts:
            end = start + starts[cut] if cut < len(ids) else len(text)
            pieces.append(Piece(source, tuple(ids[done:cut]), base + end))
            done = cut
        return pieces

    def _encode(self, text: str) -> tuple[list[int], list[int]]:
        """The ids of `text`, and the character at which each id starts."""
        pieces = self._guard.pieces(text)
        if len(pieces) == 1 and not pieces[0][1]:
            return self._encode_plain(text)
        ids: list[int] = []
        starts: list[int] = []
        at = 0
        for piece, literal, length in pieces:
            if literal:
                found = self._encode_literal(piece)
                ids += found
                starts += [at] * len(found)
            else:
                found, offsets = self._encode_plain(piece)
                ids += found
                starts += [at + start for start in offsets]
            at += length
        return ids, starts

    def _encode_plain(self, text: str) -> tuple[list[int], list[int]]:
        """The ids of a text without markers, and where each starts.

        A byte-level tokenizer's tokens are as long as the ASCII text that they stand for, unless it drops or adds
        characters, and then the lengths do not add up. Otherwise the tokenizer keeps count, which takes much longer.
        """
        if self._lengths and text.isascii():
            (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
            ids = encoding.ids
            starts = list(accumulate(map(self._lengths.__getitem__, ids), initial=0))
            if starts.pop() == len(text):
                return ids, starts
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def _encode_literal(self, text: str) -> list[int]:
        """Ids of `text` as ordinary characters: none of them is a special token, whatever the text is."""
        if self._literal is None:
            source = json.loads(self._tokenizer.to_str())
            source["added_tokens"] = []
            self._literal = Tokenizer.from_str(json.dumps(source))
        ids = self._literal.encode(text, add_special_tokens=False).ids
        if self._guarded_ids.isdisjoint(ids):
            return ids
        by_character = [i for c in text for i in self._literal.encode(c, add_special_tokens=False).ids]
        return [i for i in by_character if i not in self._guarded_ids]

    def _stops(self, given: Sequence[int]) -> tuple[int, ...]:
        """The `given` ids, and the special token with which the template ends the model's turns, if there is one."""
        try:
            text = self.render((Message.user("a"), Message.assistant(_PROBE)), add_generation_prompt=False)
        except ConfigError:
            return tuple(dict.fromkeys(given))
        rest = text[text.rfind(_PROBE) + len(_PROBE) :].lstrip() if _PROBE in text else ""
        for special in sorted(self._special, key=len, reverse=True):
            if rest.startswith(special):
                return tuple(dict.fromkeys((self._special[special], *given)))
        return tuple(dict.fromkeys(given))


def _find_template(folder: Path, config: Mapping[str, Any], chosen: str | Path | None) -> str:
    """The template's source. Raises ConfigError if there is none."""
    if chosen is not None:
        try:
            return Path(chosen).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{chosen} cannot be read: {error}", key="model.chat_template") from None
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {t["name"]: t["template"] for t in cast("list[dict[str, str]]", template)}
        template = named.get("default") or next(iter(named.values()), None)
    if not isinstance(template, str) or not template:
        raise ConfigError(
            f"the model in {folder} has no chat template (neither chat_template.jinja nor chat_template in "
            "tokenizer_config.json): it was not made for conversations; give one with model.chat_template",
            key="model.path",
        )
    return template


def _read_json(path: Path) -> dict[str, Any]:
    """The object in the file `path`; empty if there is no such file. Raises ConfigError if the file is damaged."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", key="model.path") from None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """The text of a special token from a configuration file, which gives a string or an object with the string."""
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("content")
    return value if isinstance(value, str) else ""
