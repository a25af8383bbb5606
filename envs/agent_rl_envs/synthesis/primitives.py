"""The sites that several families share: conditions on numbers and characters, maps of numbers, and similar parts.

`v` stands for the value and is renamed by `Site.on`. Constants of right and wrong texts are disjoint per form: see
`agent_rl_envs.synthesis.sites`.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent_rl_envs.synthesis.sites import Site, over

CONDITIONS: tuple[Site, ...] = (
    Site("even", "v % 2 == 0", "v % 2 == 1", "constant"),
    Site("odd", "v % 2 != 0", "v % 2 != 1", "constant"),
    *over((3, 5), "divisible by @", "v % @ == 0", "v % @ != 0", "operator", salted=True),
    *over((2, 3, 4, 5, 6, 7), "greater than @", "v > @", "v >= @", "bound", salted=True),
    *over((3, 4, 5, 6, 7, 8), "less than @", "v < @", "v <= @", "bound", salted=True),
    *over((1, 2, 3, 4), "not @", "v != @", "v == @", "operator", salted=True),
)
"""Adjectives: "greater than 4"."""

# Factors are even and summands odd. So "+ 4" is never right, and can serve as the wrong text for "times 4".
EVEN, ODD = (2, 4, 6, 8), (1, 3, 5, 7, 9)

MAPS: tuple[Site, ...] = (
    *over(EVEN, "times @", "v * @", "v + @", "operator"),
    *over(ODD, "plus @", "v + @", "v - @", "operator"),
    Site("squared", "v * v", "v + v", "operator"),
    *over((2, 4), "divided by @", "v // @", "v % @", "operator"),
    *over((3, 5, 7), "modulo @", "v % @", "v // @", "operator"),
    *over((5, 7, 9), "taken from @", "@ - v", "v - @", "order"),
)
"""Phrases after a number: "times 4", "taken from 9"."""

TIMES: tuple[Site, ...] = over(EVEN, "times @", " * @", " + @", "operator")
PLUS: tuple[Site, ...] = over(ODD, "plus @", " + @", " - @", "operator")
"""Phrases after a whole result."""

CHARACTERS: tuple[Site, ...] = (
    Site("a vowel", 'v in "aeiou"', 'v not in "aeiou"', "operator", ("a", "e")),
    *over(("a", "b", "c", "d"), "not '@'", 'v != "@"', 'v == "@"', "operator", salted=True),
    *over(("b", "c", "d"), "after '@'", 'v > "@"', 'v >= "@"', "bound", salted=True),
)
"""Conditions on one letter."""

SLICES: tuple[Site, ...] = (
    Site("reversed", "[::-1]", "", "omission"),
    *over((1, 3), "without the first @", "[@:]", "[:@]", "bound"),
    *over((2, 4), "cut to the first @", "[:@]", "[@:]", "bound"),
)
"""Parts of a string or list, as phrases after it."""

UPPER = Site("in upper case", ".upper()", "", "omission")
REPEATS: tuple[Site, ...] = over((2, 4), "written @ times", " * @", " * #", "constant")
SEPARATORS: tuple[Site, ...] = over(("-", "+", ".", "_"), "joined by '@'", "@", "", "omission")


def on(variable: str, sites: Iterable[Site]) -> tuple[Site, ...]:
    """`sites` about `variable`."""
    return tuple(site.on(variable) for site in sites)


ON_N, IF_N = on("n", MAPS), on("n", CONDITIONS)
STARTS: tuple[Site, ...] = over(range(1, 10), "@", "@", "0", "omission")
"""The start value of a total."""
