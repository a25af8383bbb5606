"""Families of functions of lists and dictionaries."""

from __future__ import annotations

from agent_rl_envs.synthesis.primitives import CONDITIONS, MAPS, PLUS, REPEATS, STARTS, TIMES, UPPER, on
from agent_rl_envs.synthesis.sites import Family, Site, over

_DESCENDING = (Site("in descending order", ", reverse=True", "", "omission"),)

LISTS = (
    Family(
        "filter_map",
        "lists",
        "list",
        "the list of v <1> for every v in x that is <0>",
        "def f(x):\n    return [<1> for v in x if <0>]",
        (CONDITIONS, MAPS),
    ),
    Family(
        "filter_sum",
        "lists",
        "list",
        "the sum of v <1> for every v in x that is <0>, <2>",
        "def f(x):\n    return sum([<1> for v in x if <0>]<2>)",
        (CONDITIONS, MAPS, over((1, 3, 5, 7, 9), "plus @", ", @", "", "omission")),
    ),
    Family(
        "filter_count",
        "lists",
        "list",
        "how many v in x are <0>, <1>",
        "def f(x):\n    return len([v for v in x if <0>])<1>",
        (CONDITIONS, (*PLUS, *TIMES)),
    ),
    Family(
        "filter_sort",
        "lists",
        "list",
        "v <1> for every v in x that is <0>, <2>",
        "def f(x):\n    return sorted([<1> for v in x if <0>]<2>)",
        (CONDITIONS, MAPS, _DESCENDING),
    ),
    Family(
        "extremes",
        "lists",
        "list",
        "v <0> for every v of <2> x, the <1>",
        "def f(x):\n    return [<0> for v in <2>[<1>]]",
        (
            MAPS,
            (
                *over((2, 3), "first @", ":@", "@:", "bound"),
                *over((2, 3), "last @", "-@:", ":-@", "bound"),
            ),
            (Site("sorted", "sorted(x)", "x", "omission"),),
        ),
    ),
    Family(
        "slice_sum",
        "lists",
        "list",
        "the sum of v <0> for every v in x <1>",
        "def f(x):\n    return sum([<0> for v in x[<1>]])",
        (
            MAPS,
            (
                *over((1, 3), "from place @ on", "@:", ":@", "bound"),
                Site("at an even place", "::2", "1::2", "bound"),
                Site("but the last", ":-1", "-1:", "bound"),
            ),
        ),
    ),
    Family(
        "filter_loop",
        "lists",
        "list",
        "<0> and, for each v in x that is <2>, <1> v <3>",
        "def f(x):\n    t = <0>\n    for v in x:\n        if <2>:\n            t <1> <3>\n    return t",
        (STARTS, (Site("plus", "+=", "-=", "operator"),), CONDITIONS, MAPS),
    ),
    Family(
        "neighbours",
        "lists",
        "list",
        "<1> <2> for neighbours a and b of x where a is <0>",
        "def f(x):\n    return [<1><2> for a, b in zip(x, x[1:]) if <0>]",
        (
            on("a", CONDITIONS),
            (Site("b minus a", "b - a", "a - b", "order"), Site("a plus b", "a + b", "a * b", "operator")),
            PLUS,
        ),
    ),
    Family(
        "running",
        "lists",
        "list",
        "from <0> on, every v <1> in x, as <2>",
        "def f(x):\n    t = <0>\n    r = []\n    for v in x:\n        t += <1>\n        r.append(<2>)\n    return r",
        (STARTS, MAPS, (Site("running totals", "t", "v", "operator"),)),
    ),
    Family(
        "places",
        "lists",
        "list",
        "<1> for every place i from <2> and v in x that is <0>",
        "def f(x):\n    return [<1> for i, v in enumerate(x<2>) if <0>]",
        (
            CONDITIONS,
            (Site("i times v", "i * v", "i + v", "operator"), Site("v minus i", "v - i", "i - v", "order")),
            over((1, 2, 3), "@", ", @", "", "omission"),
        ),
    ),
)

DICTIONARIES = (
    Family(
        "keys",
        "dictionaries",
        "dictionary",
        "sorted, every key <1> of d whose v is <0>",
        "def f(d):\n    return sorted([k<1> for k, v in d.items() if <0>])",
        (CONDITIONS, (UPPER, *REPEATS)),
    ),
    Family(
        "values",
        "dictionaries",
        "dictionary",
        "the sum of v <1> for every value v of d that is <0>",
        "def f(d):\n    return sum([<1> for v in d.values() if <0>])",
        (CONDITIONS, MAPS),
    ),
    Family(
        "changed",
        "dictionaries",
        "dictionary",
        "d with v <1> for every value v that is <0>",
        "def f(d):\n    return {k: <1> for k, v in d.items() if <0>}",
        (CONDITIONS, MAPS),
    ),
    Family(
        "table",
        "dictionaries",
        "list",
        "the dictionary from v to v <1> for every v in x that is <0>",
        "def f(x):\n    return {v: <1> for v in x if <0>}",
        (CONDITIONS, MAPS),
    ),
    Family(
        "tally",
        "dictionaries",
        "list",
        "for every v <0> in x, from <1>, <2>",
        "def f(x):\n    d = {}\n    for v in x:\n        k = <0>\n        d[k] = d.get(k, <1>)<2>\n    return d",
        (
            MAPS,
            STARTS,
            (Site("its count", " + 1", " + 2", "constant"), Site("its total", " + v", " - v", "operator")),
        ),
    ),
)
