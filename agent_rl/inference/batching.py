"""Builds one forward pass: the new tokens of running requests, entering requests and prefixes, arena by arena."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agent_rl.inference.attention import Attention, Decode, Prefill, PrefixUse
from agent_rl.inference.cached_conversations import CachedConversation, CachedConversations, Prefix
from agent_rl.inference.kv_cache import Arena
from agent_rl.inference.request_rows import Job, Rows


@dataclass(slots=True)
class Admitted:
    """A job that starts to run in this step, or reads one more part of a long prompt."""

    job: Job
    conversation: CachedConversation
    ids: tuple[int, ...]
    """All tokens of the sequence."""
    at_hand: int
    """How many of `ids` have keys and values already, a prefix that this pass computes included."""
    new: int
    """How many of `ids` this step reads, after the first `at_hand`."""

    @property
    def complete(self) -> bool:
        return self.at_hand + self.new == len(self.ids)

    @property
    def own(self) -> int:
        """How many of the `at_hand` tokens are in the sequence's own row."""
        return self.at_hand - self.conversation.prefix_length


@dataclass(slots=True)
class ForwardPass:
    """The tokens of one forward pass. `slots` sample after the first of `wanted`; the others end prefixes `ended`."""

    tokens: list[np.ndarray] = field(default_factory=list[np.ndarray])
    positions: list[np.ndarray] = field(default_factory=list[np.ndarray])
    prefixes: list[np.ndarray] = field(default_factory=list[np.ndarray])
    """For each token, the number of the prefix that it sees; -1 for none."""
    decodes: list[Decode] = field(default_factory=list[Decode])
    prefills: list[Prefill] = field(default_factory=list[Prefill])
    wanted: list[np.ndarray] = field(default_factory=list[np.ndarray])
    slots: list[np.ndarray] = field(default_factory=list[np.ndarray])
    ended: list[Prefix] = field(default_factory=list[Prefix])
    size: int = 0

    def add_running(self, arena: Arena, count: int, rows: Rows) -> None:
        """The pass has one token for each of the arena's first `count` rows."""
        slots = arena.owners[:count].copy()
        start = self._add(rows.token[slots], rows.position[slots], rows.prefix[slots])
        self.decodes.append(Decode(arena, start, rows.own[slots]))
        self.wanted.append(np.arange(start, start + count))
        self.slots.append(slots)

    def add_entering(self, arena: Arena, entering: Sequence[Admitted]) -> None:
        """The pass has the new tokens of `entering`, which are consecutive rows of the arena."""
        new = np.array([a.new for a in entering])
        at_hand = np.array([a.at_hand for a in entering])
        tokens = np.concatenate([a.ids[a.at_hand : a.at_hand + a.new] for a in entering])
        ends = np.cumsum(new)
        positions = np.arange(len(tokens)) + np.repeat(at_hand - (ends - new), new)
        numbers = [-1 if a.conversation.prefix is None else a.conversation.prefix.number for a in entering]
        start = self._add(tokens, positions, np.repeat(numbers, new))
        first = entering[0].conversation.stretch.row
        self.prefills.append(Prefill(arena, start, first, np.array([a.own for a in entering]), new))
        complete = [a.complete for a in entering]
        self.wanted.append((start + ends - 1)[complete])
        self.slots.append(np.array([a.job.slot for a in entering if a.complete], np.int64))

    def add_prefixes(self, arena: Arena, prefixes: Sequence[Prefix]) -> None:
        """The pass has all tokens of `prefixes`, which are consecutive rows of the arena. Call this last."""
        new = np.array([len(p.ids) for p in prefixes])
        tokens = np.concatenate([p.ids for p in prefixes])
        positions = np.concatenate([np.arange(n) for n in new])
        start = self._add(tokens, positions, np.full(len(tokens), -1))
        self.prefills.append(Prefill(arena, start, prefixes[0].stretch.row, np.zeros_like(new), new))
        self.wanted.append(start + np.cumsum(new) - 1)
        self.ended.extend(prefixes)

    def attention(self, sessions: CachedConversations, groups: int) -> Attention:
        """The attention plan of the pass, with its tokens padded (see `padded`)."""
        uses = prefix_uses(np.concatenate(self.prefixes), sessions)
        return Attention(padded_size(self.size), self.decodes, self.prefills, uses, groups=groups)

    def _add(self, tokens: np.ndarray, positions: np.ndarray, prefixes: np.ndarray) -> int:
        """The number of the first of these tokens."""
        start = self.size
        self.tokens.append(tokens)
        self.positions.append(positions)
        self.prefixes.append(prefixes)
        self.size += len(tokens)
        return start


def padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """`arrays` concatenated, with zeros appended up to `padded_size`."""
    joined = np.zeros(padded_size(sum(len(array) for array in arrays)), np.int64)
    np.concatenate(arrays, out=joined[: sum(len(array) for array in arrays)])
    return joined


def padded_size(count: int) -> int:
    """The next multiple of 32. oneDNN compiles a program for each new matrix size, so there must be few sizes."""
    return -(-count // 32) * 32


def prefix_uses(numbers: np.ndarray, sessions: CachedConversations) -> list[PrefixUse]:
    """The tokens that see each prefix, by arena and row; `numbers` gives each token's prefix (-1: none).

    If few unused rows lie between the used rows of an arena, they are listed too, with no tokens. The rows are then
    one slice, and nothing is copied.
    """
    order = np.argsort(numbers, kind="stable")
    order = order[np.count_nonzero(numbers < 0) :]
    if not len(order):
        return []
    present, starts = np.unique(numbers[order], return_index=True)
    uses: dict[Arena, dict[int, PrefixUse]] = {}
    for number, tokens in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        prefix = sessions.prefix(number)
        arena = prefix.stretch.arena
        assert arena is not None
        uses.setdefault(arena, {})[prefix.stretch.row] = PrefixUse(arena, prefix.stretch.row, len(prefix.ids), tokens)
    nobody = np.empty(0, np.int64)
    listed: list[PrefixUse] = []
    for arena, by_row in sorted(uses.items(), key=lambda item: item[0].capacity):
        first, last = min(by_row), max(by_row)
        rows = range(first, last + 1) if last - first < 1.5 * len(by_row) + 4 else sorted(by_row)
        listed += [by_row.get(r) or PrefixUse(arena, r, arena.rows[r].length, nobody) for r in rows]
    return listed


def by_size(entering: Sequence[Admitted]) -> list[list[Admitted]]:
    """`entering` (sorted by new tokens), cut where that number jumps: the rows of a part are padded to the longest."""
    parts: list[list[Admitted]] = []
    for admitted in entering:
        if parts and admitted.new <= 2 * parts[-1][0].new + 16:
            parts[-1].append(admitted)
        else:
            parts.append([admitted])
    return parts
