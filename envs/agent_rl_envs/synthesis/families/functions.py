"""Families of recursive functions, and of functions composed of steps."""

from __future__ import annotations

from agent_rl_envs.synthesis.primitives import CONDITIONS, MAPS, ON_N, PLUS, REPEATS, SLICES, STARTS, UPPER, on
from agent_rl_envs.synthesis.sites import Family, Site, over

RECURSION = (
    Family(
        "recursive_sum",
        "recursion",
        "number",
        "<0> if n is below 1, else n <1> plus f of n minus <2>",
        "def f(n):\n    if n < 1:\n        return <0>\n    return <1> + f(n - <2>)",
        (STARTS, ON_N, over((1, 3), "@", "@", "#", "constant")),
    ),
    Family(
        "recursive_list",
        "recursion",
        "list",
        "<0> if x is empty, else its first <1> plus f of x <2>",
        "def f(x):\n    if not x:\n        return <0>\n    return <1> + f(x[<2>])",
        (STARTS, on("x[0]", MAPS), over((1, 3), "from place @ on", "@:", "#:", "bound")),
    ),
    Family(
        "recursive_string",
        "recursion",
        "string",
        "'<2>' if s is empty, else <0> <1>",
        'def f(s):\n    if not s:\n        return "<2>"\n    return <0>',
        (
            (Site("f of the rest, then the first letter", "f(s[1:]) + s[0]<1>", "s[0]<1> + f(s[1:])", "order"),),
            (UPPER, *REPEATS),
            over(("-", "+", ".", "_", "a", "b", "c", "d"), "@", "@", "", "omission"),
        ),
    ),
    Family(
        "recursive_digits",
        "recursion",
        "number",
        "n <0> if n is below 10, else <1> plus f of the rest, <2>",
        "def f(n):\n    if n < 10:\n        return <0>\n    return <1> + f(n // 10)<2>",
        (ON_N, (Site("its last digit", "n % 10", "n % 9", "constant"),), PLUS),
    ),
)

COMPOSITION = (
    Family(
        "helper",
        "composition",
        "list",
        "with g of v being v <1>, the sum of g of every v in x that is <0>",
        "def g(v):\n    return <1>\ndef f(x):\n    return sum([g(v) for v in x if <0>])",
        (CONDITIONS, MAPS),
    ),
    Family(
        "steps",
        "composition",
        "number",
        "n <0>, then <1>, then <2>",
        "def f(n):\n    n = <0>\n    n = <1>\n    return <2>",
        (ON_N, ON_N, ON_N),
    ),
    Family(
        "stages",
        "composition",
        "list",
        "x with each v <0>, then only those that are <1>, then <2>",
        "def f(x):\n    x = [<0> for v in x]\n    x = [v for v in x if <1>]\n    return x<2>",
        (
            MAPS,
            CONDITIONS,
            SLICES,
        ),
    ),
)
