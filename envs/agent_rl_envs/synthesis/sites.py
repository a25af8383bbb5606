"""`Site` and `Family`: a program is a text with holes; each hole has a right and a wrong filling.

The wrong filling of a site is always the same local edit, wherever the site occurs. Demonstrations draw each site on
its own (`agent_rl_envs.synthesis.demonstrations`), so the mistakes are systematic and independent of each other, and
what a policy learns about a site in one program carries over to every other program that has it.

A program with a wrong filling is never the oracle solution of another task: if a site has a constant, right and wrong
constants come from disjoint sets (a test checks all programs). So demonstrations of the training split never show a
held-out program, not even as a wrong variant.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Flaw = Literal["operator", "bound", "constant", "order", "omission"]
Area = Literal["arithmetic", "conditions", "strings", "lists", "dictionaries", "recursion", "composition"]
SiteKind = Literal["number", "numbers", "list", "string", "words", "dictionary"]
"""A function's arguments: one number, two numbers, a list of numbers, a string, a string of words, a dictionary."""

_ENTRY = {"number": "n", "numbers": "a, b", "list": "x", "string": "s", "words": "s", "dictionary": "d"}

PROGRAMS_PER_FAMILY = 160
"""A family with more combinations keeps a fixed sample of this size, so that no family outweighs the others."""


@dataclass(frozen=True, slots=True)
class Site:
    """One place of a program: how the request names it, its right text, and its wrong one."""

    phrase: str
    clean: str
    flawed: str
    flaw: Flaw
    salt: tuple[int | str, ...] = ()
    """Values at which right and wrong filling differ, although they seldom differ at random values. They are mixed into
    the inputs."""

    def on(self, variable: str) -> Site:
        """The same site about `variable` instead of `v`, in phrase and texts."""

        def renamed(text: str) -> str:
            return re.sub(r"\bv\b", variable, text)

        return Site(renamed(self.phrase), renamed(self.clean), renamed(self.flawed), self.flaw, self.salt)


def over(
    constants: Iterable[int | str],
    phrase: str,
    clean: str,
    flawed: str,
    flaw: Flaw,
    *,
    salted: bool = False,
) -> tuple[Site, ...]:
    """One site per constant: `@` in the texts is the constant, `#` the constant plus one."""
    sites: list[Site] = []
    for constant in constants:
        after = str(constant + 1) if isinstance(constant, int) else "#"
        texts = [text.replace("@", str(constant)).replace("#", after) for text in (phrase, clean, flawed)]
        sites.append(Site(texts[0], texts[1], texts[2], flaw, (constant,) if salted else ()))
    return tuple(sites)


@dataclass(frozen=True)
class SiteProgram:
    """One function-writing problem: the request in words, and its program with right and wrong fillings."""

    family: Family
    sites: tuple[Site, ...]

    @property
    def request(self) -> str:
        """What the function should return, in words."""
        return _filled(self.family.request, [site.phrase for site in self.sites])

    @property
    def oracle(self) -> str:
        """The program with every site right."""
        return self.source(0)

    def source(self, flaws: int) -> str:
        """The program in which site i is wrong where bit i of `flaws` is set."""
        texts = [site.flawed if flaws >> i & 1 else site.clean for i, site in enumerate(self.sites)]
        return _filled(self.family.code, texts)

    @property
    def salt(self) -> tuple[int | str, ...]:
        """The values that the inputs should contain."""
        return tuple(value for site in self.sites for value in site.salt)


@dataclass(frozen=True, eq=False)
class Family:
    """A kind of program: `request` and `code` with holes `<0>`, `<1>`, …, and the sites that may fill each.

    A site's text may itself contain holes of higher number. The difficulty is the number of sites less one.
    """

    name: str
    area: Area
    kind: SiteKind
    request: str
    code: str
    workers: tuple[tuple[Site, ...], ...]

    @property
    def difficulty(self) -> int:
        return len(self.workers) - 1

    @property
    def signature(self) -> str:
        """The signature, such as `f(a, b)`."""
        return f"f({_ENTRY[self.kind]})"

    @cached_property
    def programs(self) -> tuple[SiteProgram, ...]:
        """Every combination of sites, or a fixed sample of PROGRAMS_PER_FAMILY; always the same, in the same order."""
        size = 1
        for worker in self.workers:
            size *= len(worker)
        if size <= PROGRAMS_PER_FAMILY:
            return tuple(SiteProgram(self, sites) for sites in itertools.product(*self.workers))
        chosen = random.Random(self.name).sample(range(size), PROGRAMS_PER_FAMILY)
        return tuple(SiteProgram(self, tuple(self._sites(number))) for number in sorted(chosen))

    def _sites(self, number: int) -> Iterator[Site]:
        """The sites of combination `number`, whose mixed-base digits select them."""
        for worker in self.workers:
            number, digit = divmod(number, len(worker))
            yield worker[digit]


def _filled(template: str, texts: list[str]) -> str:
    for i, text in enumerate(texts):
        template = template.replace(f"<{i}>", text)
    return template
