"""`Conversation`: the token tree of one rollout. Sampled tokens are kept as ids and never tokenized again.

Each request is rendered as text. That text is compared with the text so far, which is the last rendered prompt and the
model's reply. There are two cases:

- The new text continues the old one. Only the new part is encoded; its ids follow the recorded ids.
- The template has rewritten earlier text. (It may remove thinking from earlier turns, trim white space, or move a
  system message into the last user message.) Then the tree forks at the last segment boundary before the first changed
  character. The ids before it are kept. The text after it becomes new segments, which are not the model's and are never
  trained. The old branch stays in the tree, and the tokens that the model sampled in it are trained there.

The end of a turn. If the model sampled a stop token, that token is kept, and the template's own end of the turn is
left out, even if the template writes another stop token, none, or white space before it. This does not count as a
rewrite. A turn that was cut (at the length limit or at the deadline) has no stop token; the template's is appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from agent_rl.common_prefix import common_prefix
from agent_rl.contracts import Generation
from agent_rl.errors import ConfigError
from agent_rl.rollouts.chat import ChatTokenizer, GrownRendering, Piece, ToolSchemas
from agent_rl.rollouts.growing_template import Progress
from agent_rl.rollouts.message_markup import GuardedMessage
from agent_rl.rollouts.tool_calls import as_text, syntax_of
from agent_rl.rollouts.tools import ToolSignature, answer_id, answer_role, introduced
from agent_rl.vocabulary import Message, Segment


@dataclass(frozen=True, slots=True)
class Request:
    """The next request. Nothing of it is recorded before `Conversation.send`.

    kept: how many nodes of the active path it keeps; its new segments follow them.
    follows: the ids of the kept nodes, in number.
    """

    follows: int
    new_ids: tuple[int, ...]
    grown: GrownRendering
    messages: tuple[GuardedMessage, ...]
    pieces: tuple[Piece, ...]
    kept: int
    forks: bool
    kept_end: int
    """Where, in the whole rendered text, the kept part ends."""

    @property
    def length(self) -> int:
        """The ids of the whole prompt, in number."""
        return self.follows + len(self.new_ids)

    @property
    def text_end(self) -> str:
        """The end of the rendered text; at least what follows the last message but one."""
        return self.grown.rendering.text


@dataclass(slots=True)
class _Node:
    """A segment on the active path: where it ends in the rendered text, and in ids."""

    segment: int
    text_end: int
    ids_end: int


class Conversation:
    """Grows by turns: `plan` what to send, `send` it, `receive` the completion.

    Of the rendered text, only the part after which the next rendering can be resumed is compared and encoded again.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self.tokenizer = tokenizer
        self.segments: list[Segment] = []
        self.forks = 0
        """How often the template rewrote text that had already been sent or sampled."""
        self.first_prompt_digest = ""
        self.first_prompt_ids: tuple[int, ...] = ()
        self._first_prompt_segments = 0
        self._messages: list[GuardedMessage] = []
        self._path: list[_Node] = []
        self._earlier: list[str] = []
        """The rendered text before `_base`, in parts."""
        self._base = 0
        self._text = ""
        """The rendered text from `_base` on."""
        self._progress: Progress | None = None
        self._stopped = False

    @property
    def compared_characters(self) -> int:
        """How many characters the next rendering is compared with."""
        return len(self._text)

    def plan(self, messages: Sequence[Message], tools: ToolSchemas = ()) -> Request:
        """The request after `messages` are added. Only `send` makes it part of the record.

        Raises ConfigError if the template refuses the conversation.
        """
        if not self._path:
            return self._plan_first(tuple(messages), tools)
        added = tuple(self.tokenizer.guarded(m) for m in messages)
        every = [*self._messages, *added]
        request = self._planned(self.tokenizer.grow(every, tools, self._progress), added)
        if request is None:
            request = self._planned(self.tokenizer.grow(every, tools), added)
        assert request is not None, "a rendering from the start has no place before it"
        return request

    def _planned(self, grown: GrownRendering, added: tuple[GuardedMessage, ...]) -> Request | None:
        """The request with this rendering; None if it forks before where the rendering begins."""
        base, before = (self._base, self._text) if grown.continued else (0, "".join([*self._earlier, self._text]))
        text = grown.rendering.text
        start = kept_end = len(before)
        skip, kept = 0, len(self._path)
        forks = not text.startswith(before)
        if not forks and self._stopped:
            start, kept_end = self.tokenizer.stop_at(text, start)
            skip = kept_end - start
        if forks:
            unchanged = base + common_prefix(before, text)
            while kept and self._path[kept - 1].text_end > unchanged:
                kept -= 1
            start = kept_end = (self._path[kept - 1].text_end if kept else 0) - base
            if start < 0:
                return None
        pieces = tuple(self.tokenizer.encode_pieces(grown.rendering, start, skip, base))
        ids = tuple(chain.from_iterable(piece.token_ids for piece in pieces))
        follows = self._path[kept - 1].ids_end if kept else 0
        return Request(follows, ids, grown, added, pieces, kept, forks, base + kept_end)

    def _plan_first(self, messages: tuple[Message, ...], tools: ToolSchemas) -> Request:
        prompt = self.tokenizer.first_prompt(messages, tools)
        self.first_prompt_digest, self.first_prompt_ids = prompt.digest, prompt.token_ids
        self._first_prompt_segments = len(prompt.pieces)
        added = tuple(self.tokenizer.guarded(m) for m in messages)
        return Request(0, prompt.token_ids, prompt.grown, added, prompt.pieces, 0, False, 0)

    def whole_prompt(self, request: Request) -> tuple[int, ...]:
        """All ids of `request`, which has not been sent yet or was sent last."""
        kept = (self.segments[node.segment].token_ids for node in self._path[: request.kept])
        return (*chain.from_iterable(kept), *request.new_ids)

    def begins_with_first_prompt(self, request: Request) -> bool:
        """Whether the ids of `request` (see `whole_prompt`) begin with those of the first prompt."""
        first = self._first_prompt_segments
        if first <= request.kept and self._path[first - 1].segment == first - 1:
            return True
        return self.whole_prompt(request)[: len(self.first_prompt_ids)] == self.first_prompt_ids

    def send(self, request: Request) -> None:
        """`request` is part of the record: its new segments are children of the last segment that it keeps."""
        del self._path[request.kept :]
        if self._path and not request.forks:
            self._path[-1].text_end = request.kept_end
        self.forks += request.forks
        for piece in request.pieces:
            self._append(Segment(self._tip, piece.source, piece.token_ids), piece.end)
        text, resume_at = request.grown.rendering.text, request.grown.resume_at
        if not request.grown.continued:
            self._earlier, self._base = [], 0
        self._earlier.append(text[:resume_at])
        self._base += resume_at
        self._text = text[resume_at:]
        self._progress = request.grown.progress
        self._messages += request.messages

    def receive(self, generation: Generation) -> tuple[int, str]:
        """The index of the completion's segment, and its text. Ids are recorded unchanged; all of them are trained."""
        ids = generation.token_ids
        self._stopped = bool(ids) and ids[-1] in self.tokenizer.stop_token_ids
        text = self.tokenizer.decode(ids[:-1] if self._stopped else ids)
        guarded = self.tokenizer.guarded_reply(text)
        self._text += guarded
        self._messages.append({"role": "assistant", "content": guarded})
        trained = (True,) * len(ids)
        segment = Segment(self._tip, "model", ids, generation.logprobs, generation.versions, trained)
        self._append(segment, self._base + len(self._text))
        return len(self.segments) - 1, text

    @property
    def leaves(self) -> tuple[int, ...]:
        """The segments without children, in order."""
        parents = {s.parent for s in self.segments}
        return tuple(i for i in range(len(self.segments)) if i not in parents)

    @property
    def _tip(self) -> int | None:
        return self._path[-1].segment if self._path else None

    def _append(self, segment: Segment, text_end: int) -> None:
        ids_end = (self._path[-1].ids_end if self._path else 0) + len(segment.token_ids)
        self._path.append(_Node(len(self.segments), text_end, ids_end))
        self.segments.append(segment)


def demonstration_rows(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[ToolSignature] = ()
) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Rows of (ids, learned) in which every assistant message is learned once, as the model would have sampled it.

    Requests are tokenized exactly as in a rollout with `tools`. Each assistant message is encoded on its own and ends
    with the tokenizer's first stop token. Tool calls follow the content, in the syntax that the template teaches. There
    are several rows only if the template rewrites history. Raises ConfigError for a call of a tool that is not in
    `tools`: a rollout's prompt would describe it.
    """
    _check_calls(messages, tools)
    conversation = Conversation(tokenizer)
    stop, syntax, role = tokenizer.stop_token_ids[:1], syntax_of(tokenizer.template), answer_role(tokenizer)
    schemas = [tool.schema for tool in tools]
    waiting: list[Message] = []
    turns = 0
    for message in messages:
        if message.role == "tool":
            waiting.append(replace(message, role=role, tool_call_id=answer_id(turns, len(waiting))))
            continue
        if message.role != "assistant":
            waiting.append(message)
            continue
        given = waiting if turns else introduced(waiting, tools, tokenizer, syntax, first=True)
        conversation.send(conversation.plan(given, schemas))
        waiting.clear()
        turns += 1
        text = "\n".join(filter(None, (message.content, as_text(message.tool_calls, syntax))))
        ids = (*tokenizer.encode(tokenizer.guarded_reply(text)), *stop)
        conversation.receive(Generation(ids, (0.0,) * len(ids), (0,) * len(ids), "stop"))
    rows: list[tuple[tuple[int, ...], tuple[bool, ...]]] = []
    learned_before: set[int] = set()
    for leaf in conversation.leaves:
        path = _path(conversation.segments, leaf)
        ids = tuple(i for index in path for i in conversation.segments[index].token_ids)
        learned: list[bool] = []
        for index in path:
            new = conversation.segments[index].source == "model" and index not in learned_before
            learned += [new] * len(conversation.segments[index].token_ids)
            learned_before.add(index)
        if any(learned):
            rows.append((ids, tuple(learned)))
    return rows


def _check_calls(messages: Sequence[Message], tools: Sequence[ToolSignature]) -> None:
    known = {tool.name for tool in tools}
    called = {call.name for message in messages for call in message.tool_calls}
    if unknown := sorted(called - known):
        raise ConfigError(
            f"the demonstrations call {', '.join(unknown)}, and demonstration_tools names "
            f"{', '.join(sorted(known)) or 'no tools'}: return the tools of the rollouts from it, so that "
            "demonstrations begin with the same description of them",
            key="model.sft",
        )


def _path(segments: Sequence[Segment], leaf: int) -> list[int]:
    path: list[int] = []
    at: int | None = leaf
    while at is not None:
        path.append(at)
        at = segments[at].parent
    return path[::-1]
