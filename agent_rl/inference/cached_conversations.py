"""Conversations that keep their keys and values between requests, and prefixes that several of them share."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import torch

from agent_rl.common_prefix import common_prefix
from agent_rl.contracts.policy import GenerateRequest
from agent_rl.inference.kv_cache import Arenas, Stretch

PrefixKey = tuple[str, int, tuple[int, ...]]
"""(prefix_group, version at which the conversations that share it started, ids)."""


@dataclass(eq=False, slots=True)
class Prefix:
    """Leading tokens that several conversations share: computed once, freed with the last conversation."""

    number: int
    key: PrefixKey
    users: int = 0
    stretch: Stretch = field(default_factory=Stretch)
    """Length 0 until it has been computed."""
    logits: torch.Tensor | None = None
    """[vocabulary], after the last token, computed with the weights of the key's version."""

    @property
    def ids(self) -> tuple[int, ...]:
        return self.key[2]


@dataclass(eq=False, slots=True)
class CachedConversation:
    """A session's kept state: `ids` are the tokens that have keys and values, the prefix's included."""

    name: str
    started: int
    """The version at which its oldest keys and values were computed."""
    prefix: Prefix | None = None
    ids: tuple[int, ...] = ()
    stretch: Stretch = field(default_factory=Stretch)
    busy: bool = True
    ended: bool = False

    @property
    def prefix_length(self) -> int:
        return 0 if self.prefix is None else len(self.prefix.ids)


class CachedConversations:
    """Finds kept keys and values for a request; limits those of idle sessions and prefixes to `budget` tokens."""

    def __init__(self, prefix_arenas: Arenas, *, budget: int, min_shared_prefix: int, renew_after: int | None) -> None:
        self._arenas = prefix_arenas
        self._budget = budget
        self._min_shared_prefix = min_shared_prefix
        self._renew_after = renew_after
        self._named: dict[str, CachedConversation] = {}
        self._idle: OrderedDict[str, CachedConversation] = OrderedDict()
        self._prefixes: dict[PrefixKey, Prefix] = {}
        self._by_number: dict[int, Prefix] = {}
        self._next_prefix = 0
        self.kept_tokens = 0
        """Tokens kept for idle sessions and for prefixes."""
        self.evictions = 0

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def prefixes(self) -> int:
        return len(self._prefixes)

    def prefix(self, number: int) -> Prefix:
        return self._by_number[number]

    def open(self, request: GenerateRequest, ids: tuple[int, ...], version: int) -> CachedConversation:
        """The conversation of `request`, busy, with the longest kept beginning of `ids`.

        At least one token of `ids` is left to compute, unless `ids` ends with a prefix that is new or just computed.
        A second request of a busy session gets its own conversation, without a name.
        """
        kept = self._named.get(request.session) if request.session else None
        if kept is not None and kept.busy:
            return self._new("", request, ids, version)
        if kept is not None:
            del self._idle[kept.name]
            self.kept_tokens -= kept.stretch.length
            if self._usable(kept, ids, version):
                kept.busy = True
                return kept
            self._free(kept)
        conversation = self._new(request.session, request, ids, version)
        if request.session:
            self._named[request.session] = conversation
        return conversation

    def rest(self, conversation: CachedConversation) -> None:
        """The request is over: parked keys and values are kept, or freed if the session has ended or has no name."""
        conversation.busy = False
        if conversation.ended or not conversation.name:
            self._free(conversation)
            return
        self._idle[conversation.name] = conversation
        self.kept_tokens += conversation.stretch.length

    def end(self, name: str) -> None:
        """The session is over; its keys and values are freed now, or when its running request ends."""
        conversation = self._named.pop(name, None)
        if conversation is None:
            return
        conversation.ended = True
        if not conversation.busy:
            del self._idle[name]
            self.kept_tokens -= conversation.stretch.length
            self._free(conversation)

    def make_room(self, tokens: int) -> bool:
        """Whether `tokens` more fit in the budget, after the longest idle sessions have been evicted as needed."""
        while self.kept_tokens + tokens > self._budget and self._idle:
            self.evictions += 1
            self.forget(next(iter(self._idle)))
        return self.kept_tokens + tokens <= self._budget

    def forget(self, name: str) -> None:
        """The keys and values of the idle session `name` are freed; its next request computes them again."""
        conversation = self._idle.pop(name)
        self.kept_tokens -= conversation.stretch.length
        del self._named[name]
        self._free(conversation)

    def forget_all(self) -> None:
        """No idle session holds keys and values."""
        for name in list(self._idle):
            self.forget(name)

    def abandon(self, conversation: CachedConversation) -> None:
        """The busy `conversation` is freed and its session forgotten: its request will start from the first token."""
        if self._named.get(conversation.name) is conversation:
            del self._named[conversation.name]
        conversation.ended = True
        self._free(conversation)

    def _usable(self, kept: CachedConversation, ids: tuple[int, ...], version: int) -> bool:
        """Whether `kept` holds a beginning of `ids`; if so, `kept` is cut to the common part."""
        if self._renew_after is not None and kept.started < version - self._renew_after:
            return False
        common = common_prefix(kept.ids, ids)
        if common == len(ids):
            common -= 1  # the last token is computed for its logits
        if common < max(kept.prefix_length, 1):
            return False
        kept.stretch.truncate(common - kept.prefix_length)
        kept.ids = kept.ids[:common]
        return True

    def _new(self, name: str, request: GenerateRequest, ids: tuple[int, ...], version: int) -> CachedConversation:
        shared = min(request.shared_prefix, len(request.prompt_ids))
        conversation = CachedConversation(name, version)
        if request.prefix_group and shared >= self._min_shared_prefix:
            prefix = self._shared((request.prefix_group, version, ids[:shared]))
            prefix.users += 1
            conversation.prefix, conversation.ids = prefix, prefix.ids
        return conversation

    def _shared(self, key: PrefixKey) -> Prefix:
        prefix = self._prefixes.get(key)
        if prefix is None:
            prefix = self._prefixes[key] = Prefix(self._next_prefix, key)
            self._by_number[prefix.number] = prefix
            self._next_prefix += 1
            self.kept_tokens += len(prefix.ids)
        return prefix

    def _free(self, conversation: CachedConversation) -> None:
        conversation.stretch.drop()
        prefix, conversation.prefix = conversation.prefix, None
        conversation.ids = ()
        if prefix is None:
            return
        prefix.users -= 1
        if prefix.users == 0:
            del self._prefixes[prefix.key], self._by_number[prefix.number]
            self.kept_tokens -= len(prefix.ids)
            if prefix.stretch.arena is not None:
                prefix.stretch.arena.remove([prefix.stretch.row])
                prefix.stretch.drop()
