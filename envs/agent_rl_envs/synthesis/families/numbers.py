"""Families of functions of numbers: arithmetic and conditions."""

from __future__ import annotations

from agent_rl_envs.synthesis.primitives import CONDITIONS, IF_N, MAPS, ON_N, PLUS, STARTS, TIMES, on
from agent_rl_envs.synthesis.sites import Family, Site, over

ARITHMETIC = (
    Family(
        "affine",
        "arithmetic",
        "number",
        "<0> n <1>",
        "def f(n):\n    return <0>n<1>",
        (
            over(range(1, 16), "@ plus", "@ + ", "@ - ", "operator"),
            TIMES,
        ),
    ),
    Family(
        "affine_modulo",
        "arithmetic",
        "number",
        "n <0> <1>, all <2>",
        "def f(n):\n    return (n<0><1>)<2>",
        (
            TIMES,
            PLUS,
            over((7, 9, 11, 13), "modulo @", " % @", "", "omission"),
        ),
    ),
    Family(
        "two_products",
        "arithmetic",
        "numbers",
        "a <0> <1> b <2>",
        "def f(a, b):\n    return a<0><1>b<2>",
        (
            over(range(2, 10), "times @", " * @", " + @", "operator"),
            (Site("minus", " - ", " + ", "operator"),),
            over(range(2, 10), "times @", " * @", " + @", "operator"),
        ),
    ),
    Family(
        "digits",
        "arithmetic",
        "number",
        "the sum of every digit of n <0>, <1>",
        "def f(n):\n    return sum([<0> for c in str(n)]<1>)",
        (on("int(c)", MAPS), over((1, 3, 5, 7, 9), "plus @", ", @", "", "omission")),
    ),
    Family(
        "range_sum",
        "arithmetic",
        "number",
        "the sum of i <0> for i from <1> to n",
        "def f(n):\n    return sum([<0> for i in range(<1>)])",
        (on("i", MAPS), over((1, 2, 3, 4), "@", "@, n + 1", "@, n", "bound")),
    ),
    Family(
        "range_filter",
        "arithmetic",
        "number",
        "the sum of every i from <1> to n that is <0>",
        "def f(n):\n    return sum([i for i in range(<1>) if <0>])",
        (on("i", CONDITIONS), over((1, 2, 3, 4), "@", "@, n + 1", "@, n", "bound")),
    ),
    Family(
        "range_loop",
        "arithmetic",
        "number",
        "<0> and, for each i from <3> to n, <1> i <2>",
        "def f(n):\n    t = <0>\n    for i in range(<3>):\n        t <1> <2>\n    return t",
        (
            STARTS,
            (Site("plus", "+=", "-=", "operator"),),
            on("i", MAPS),
            over((1, 2), "@", "@, n + 1", "@, n", "bound"),
        ),
    ),
    Family(
        "clamp",
        "arithmetic",
        "number",
        "n <0>, but <1>",
        "def f(n):\n    return <1>, <0>)",
        (
            ON_N,
            (
                *over((10, 20, 30), "at most @", "min(@", "max(@", "operator"),
                *over((5, 15, 25), "at least @", "max(@", "min(@", "operator"),
            ),
        ),
    ),
)

CONDITIONAL = (
    Family(
        "if_else",
        "conditions",
        "number",
        "n <1> if n is <0>, else n <2>",
        "def f(n):\n    return <1> if <0> else <2>",
        (IF_N, ON_N, ON_N),
    ),
    Family(
        "if_both",
        "conditions",
        "number",
        "n <2> if n is <0> <3> <1>, else 0",
        "def f(n):\n    return <2> if <0> <3> <1> else 0",
        (IF_N, IF_N, ON_N, (Site("and", "and", "or", "operator"),)),
    ),
    Family(
        "ladder",
        "conditions",
        "number",
        "0 if n is <0>, 1 if n is <1>, else n <2>",
        "def f(n):\n    if <0>:\n        return 0\n    if <1>:\n        return 1\n    return <2>",
        (IF_N, IF_N, ON_N),
    ),
    Family(
        "if_greater",
        "conditions",
        "numbers",
        "if a is <0> than b, a <1>, else b <2>",
        "def f(a, b):\n    if a <0> b:\n        return <1>\n    return <2>",
        ((Site("greater", ">", "<", "operator"),), on("a", MAPS), on("b", MAPS)),
    ),
    Family(
        "larger",
        "conditions",
        "numbers",
        "the <0> of a <1> and b <2>",
        "def f(a, b):\n    return <0>(<1>, <2>)",
        ((Site("larger", "max", "min", "operator"),), on("a", MAPS), on("b", MAPS)),
    ),
)
