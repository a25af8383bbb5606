"""All families, as data. Requests are completed to "Write f(x) that returns <request>."."""

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

_ON_N, _IF_N = on("n", MAPS), on("n", CONDITIONS)
_STARTS = over(range(1, 10), "@", "@", "0", "omission")
_DESCENDING = (Site("in descending order", ", reverse=True", "", "omission"),)

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
            _STARTS,
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
            _ON_N,
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
        (_IF_N, _ON_N, _ON_N),
    ),
    Family(
        "if_both",
        "conditions",
        "number",
        "n <2> if n is <0> <3> <1>, else 0",
        "def f(n):\n    return <2> if <0> <3> <1> else 0",
        (_IF_N, _IF_N, _ON_N, (Site("and", "and", "or", "operator"),)),
    ),
    Family(
        "ladder",
        "conditions",
        "number",
        "0 if n is <0>, 1 if n is <1>, else n <2>",
        "def f(n):\n    if <0>:\n        return 0\n    if <1>:\n        return 1\n    return <2>",
        (_IF_N, _IF_N, _ON_N),
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
        (_STARTS, (Site("plus", "+=", "-=", "operator"),), CONDITIONS, MAPS),
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
        (_STARTS, MAPS, (Site("running totals", "t", "v", "operator"),)),
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
            _STARTS,
            (Site("its count", " + 1", " + 2", "constant"), Site("its total", " + v", " - v", "operator")),
        ),
    ),
)

RECURSION = (
    Family(
        "recursive_sum",
        "recursion",
        "number",
        "<0> if n is below 1, else n <1> plus f of n minus <2>",
        "def f(n):\n    if n < 1:\n        return <0>\n    return <1> + f(n - <2>)",
        (_STARTS, _ON_N, over((1, 3), "@", "@", "#", "constant")),
    ),
    Family(
        "recursive_list",
        "recursion",
        "list",
        "<0> if x is empty, else its first <1> plus f of x <2>",
        "def f(x):\n    if not x:\n        return <0>\n    return <1> + f(x[<2>])",
        (_STARTS, on("x[0]", MAPS), over((1, 3), "from place @ on", "@:", "#:", "bound")),
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
        (_ON_N, (Site("its last digit", "n % 10", "n % 9", "constant"),), PLUS),
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
        (_ON_N, _ON_N, _ON_N),
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

FAMILIES: tuple[Family, ...] = (
    *ARITHMETIC,
    *CONDITIONAL,
    *STRINGS,
    *LISTS,
    *DICTIONARIES,
    *RECURSION,
    *COMPOSITION,
)
