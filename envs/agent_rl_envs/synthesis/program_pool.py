"""All programs, and the split that each belongs to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from agent_rl_envs.synthesis.families import FAMILIES
from agent_rl_envs.synthesis.normal_form import normalise
from agent_rl_envs.synthesis.sites import Family, SiteProgram

SplitName = Literal["train", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "test")
HELD_OUT_PERCENT = 16


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A program and the hash of its normal form (16 hex digits), which decides the split. Each hash occurs once."""

    program: SiteProgram
    key: str

    @property
    def split(self) -> SplitName:
        return split_of(self.key)


def key_of(source: str) -> str:
    """The hash of the normal form of `source`: 16 hex digits, equal in every process."""
    return hashlib.blake2b(normalise(source).encode(), digest_size=8).hexdigest()


def split_of(key: str) -> SplitName:
    """The split of all programs with this key. It depends on no seed: no run trains on another's held-out programs."""
    return "test" if int(key, 16) % 100 < HELD_OUT_PERCENT else "train"


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """All programs of all families, each normal form once, in a fixed order. The first call takes half a second."""
    by_key: dict[str, Entry] = {}
    for family in FAMILIES:
        for program in family.programs:
            key = key_of(program.oracle)
            by_key.setdefault(key, Entry(program, key))
    return tuple(by_key.values())


def by_family(split: SplitName, difficulties: range) -> list[list[Entry]]:
    """The programs of a split with a difficulty in `difficulties`, one list per family that has any."""
    groups: dict[Family, list[Entry]] = {}
    for entry in entries():
        if entry.split == split and entry.program.family.difficulty in difficulties:
            groups.setdefault(entry.program.family, []).append(entry)
    return list(groups.values())


def balanced(split: SplitName, difficulties: range, seed: int) -> Iterator[Entry]:
    """All programs of a split, one of each family in turn while they last, in an order drawn from `seed`."""
    draw = random.Random(f"{split} {seed}")
    groups = by_family(split, difficulties)
    for group in groups:
        draw.shuffle(group)
    while groups:
        turn = [group.pop() for group in groups]
        draw.shuffle(turn)
        yield from turn
        groups = [group for group in groups if group]
