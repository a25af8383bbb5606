"""Families of functions of strings."""

from __future__ import annotations

from agent_rl_envs.synthesis.primitives import (
    CHARACTERS,
    CONDITIONS,
    MAPS,
    PLUS,
    REPEATS,
    SEPARATORS,
    SLICES,
    TIMES,
    UPPER,
    on,
)
from agent_rl_envs.synthesis.sites import Family, Site, over

STRINGS = (
    Family(
        "string_steps",
        "strings",
        "string",
        "s <0>, <1>, <2>",
        "def f(s):\n    return s<0><1><2>",
        (
            SLICES,
            (UPPER, Site("capitalised", ".capitalize()", "", "omission")),
            (*REPEATS, *over(("a", "b", "c", "d", "e"), "then '@'", ' + "@"', "", "omission")),
        ),
    ),
    Family(
        "replace",
        "strings",
        "string",
        "s with <0>, then <1>",
        "def f(s):\n    return s.replace(<0>)<1>",
        (
            tuple(
                Site(f"'{a}' turned to '{b}'", f'"{a}", "{b}"', f'"{b}", "{a}"', "order", (a, b))
                for a, b in ("ab", "ac", "ad", "ae", "bc", "bd", "be", "cd", "ce", "de")
            ),
            (*SLICES, UPPER),
        ),
    ),
    Family(
        "count_letters",
        "strings",
        "string",
        "how many letters of s are <0>, <1>",
        "def f(s):\n    return len([c for c in s if <0>])<1>",
        (on("c", CHARACTERS), (*PLUS, *TIMES)),
    ),
    Family(
        "keep_letters",
        "strings",
        "string",
        "<2>, every letter <1> of s that is <0>",
        'def f(s):\n    return "<2>".join([c<1> for c in s if <0>])',
        (on("c", CHARACTERS), (UPPER, *REPEATS), SEPARATORS),
    ),
    Family(
        "initials",
        "strings",
        "words",
        "<2>, <0> of every word of s, <1>",
        'def f(s):\n    return "<2>".join([<0><1> for w in s.split()])',
        (
            (
                Site("the first letter", "w[0]", "w[-1]", "bound"),
                Site("the last two letters", "w[-2:]", "w[:2]", "bound"),
                Site("all but the first letter", "w[1:]", "w[:1]", "bound"),
            ),
            (UPPER, *REPEATS),
            SEPARATORS,
        ),
    ),
    Family(
        "word_lengths",
        "strings",
        "words",
        "the length <1> of every word of s whose length is <0>",
        "def f(s):\n    return [<1> for w in s.split() if <0>]",
        (on("len(w)", CONDITIONS), on("len(w)", MAPS)),
    ),
)
