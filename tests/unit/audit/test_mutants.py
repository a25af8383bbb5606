"""Mutants of a reference: which mistakes are made, that they are the same each time, and where none is made."""

import ast

import pytest

from agent_rl.audit.mutants import draw_mutants
from agent_rl.audit.oracle_program import normal_form, program_in

ALL = 10**6


def mutants(oracle, entry_point="f", count=ALL, seed="task"):
    program = program_in(oracle)
    assert program is not None
    return draw_mutants(program, entry_point, count, seed)


def bodies(oracle, **given):
    """The last line of each mutant, without `return`."""
    return {m.reply.strip().splitlines()[-1].strip().removeprefix("return ") for m in mutants(oracle, **given)}


@pytest.mark.parametrize(
    ("expression", "mistakes"),
    [
        ("a < b", {"a <= b", "a > b", "None", "not a < b"}),
        ("a + b", {"a - b", "a * b", "a", "b", "None"}),
        ("a and b", {"a or b", "a", "b", "None", "not (a and b)"}),
        ("not a", {"a", "None"}),
        ("a + 3", {"a - 3", "a * 3", "a", "3", "a + 4", "a + 2", "a + 0", "None"}),
        ("True", {"False", "None"}),
        ("'ab'", {"''", "'abx'", "None"}),
        ("g(a, b)", {"g(b, a)", "g(a)", "a", "None"}),
        ("max(a, b)", {"min(a, b)", "max(a)", "a", "None"}),
        ("a[i]", {"a[i + 1]", "a[i - 1]", "None"}),
        ("a[i:]", {"a[:]", "a[i + 1:]", "a[i - 1:]", "None"}),
        ("a if b else c", {"a if not b else c", "a if True else c", "a if False else c", "None"}),
        ("[v for v in a if v]", {"[v for v in a]", "[v for v in a if not v]", "None"}),
        ("list(range(a))", {"list(range(a + 1))", "list(range(a - 1))", "range(a)", "None"}),
    ],
)
def test_the_mistakes_at_an_expression(expression, mistakes):
    assert bodies(f"def f(a, b, c, i):\n    return {expression}\n") == mistakes


def test_the_mistakes_of_statements():
    found = mutants("def f(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n")
    kinds = {m.kind for m in found}
    assert {"statement removed", "operator", "assignment", "first round dropped", "last round dropped"} <= kinds
    assert {m.kind for m in mutants("def f(x):\n    while x:\n        break\n")} >= {"break/continue"}


def test_every_mutant_is_a_program_and_none_is_the_reference_or_stands_twice():
    oracle = (
        'import math\n\n\ndef f(xs: list, n: int = 2) -> int:\n    """Says f."""\n    def more():\n'
        "        nonlocal n\n        n += 1\n        return n\n"
        "    if not xs or n < 0:\n        raise ValueError(f'{n:>3}')\n"
        "    while n > 10:\n        n -= 1\n    return max(len(xs), more(), math.floor(xs[0]))\n"
    )
    found = mutants(oracle)
    forms = [normal_form(ast.parse(m.reply)) for m in found]
    assert len(found) > 30
    assert len({*forms, normal_form(ast.parse(oracle))}) == len(found) + 1
    for mutant in found:
        compile(mutant.reply, "mutant", "exec")
        assert "import math" in mutant.reply
        assert "xs: list" in mutant.reply
        assert "Says f." in mutant.reply
        assert ":>3}" in mutant.reply or "raise" not in mutant.reply


def test_mutants_are_drawn_by_the_seed_alone():
    oracle = "def f(a, b):\n    return a + b * 2 - 1 if a < b else a\n"
    drawn = mutants(oracle, count=5)
    assert drawn == mutants(oracle, count=5)
    assert drawn != mutants(oracle, count=5, seed="another task")
    assert drawn == mutants(oracle, count=7)[:5]


def test_only_what_the_entry_point_uses_is_changed():
    oracle = "LIMIT = 3\nOTHER = 4\ndef helper(x):\n    return x - LIMIT\ndef unused(x):\n    return x * 7\n"
    oracle += "def f(x):\n    return helper(x)\n"
    replies = [m.reply for m in mutants(oracle)]
    assert all("OTHER = 4" in r and "return x * 7" in r for r in replies)
    assert any("LIMIT = 3" not in r for r in replies)
    assert any("x - LIMIT" not in r for r in replies)
    # Without an entry point that it defines, the whole program is what is tested.
    assert any("return x * 7" not in m.reply for m in mutants(oracle, entry_point=None))


@pytest.mark.parametrize(
    ("oracle", "mutant"),
    [
        ("def f(x):\n    return -x\n", "def f(x):\n    return x\n"),
        (
            "So:\n```python\ndef f(x):\n    return -x\n```\nDone.",
            "So:\n```python\ndef f(x):\n    return x\n\n```\nDone.",
        ),
        ("\n  return -x\n", "\n  return x\n"),
        ("print(-int(input()))", "print(int(input()))\n"),
        (
            "```sh\ncat > 'a.py' <<'END'\nX = 1\nEND\ncat > 'b/f.py' <<'END'\ndef f(x):\n    return -x\nEND\nls\n```",
            "```sh\ncat > 'a.py' <<'END'\nX = 1\nEND\ncat > 'b/f.py' <<'END'\ndef f(x):\n    return x\nEND\nls\n```",
        ),
    ],
)
def test_a_mutant_has_the_form_of_its_reference(oracle, mutant):
    assert mutant in [m.reply for m in mutants(oracle)]


def test_a_mutants_diff_shows_its_one_mistake():
    (found,) = [m for m in mutants("def f(x):\n    return -x\n") if m.kind == "sign or not dropped"]
    assert found.diff.splitlines()[-2:] == ["-    return -x", "+    return x"]


@pytest.mark.parametrize(
    "oracle", ["#### 42", "42", "yes", "", "#!/bin/sh\necho $1\n", "```sh\nf(1)\n```", "def f(:\n", "x" * (1 << 18)]
)
def test_what_is_no_program_has_no_mutants(oracle):
    assert program_in(oracle) is None


def test_a_program_that_is_nested_too_deeply_is_none():
    assert program_in("def f(x):\n    return " + "-" * 50_000 + "x\n") is None
    assert program_in("def f(x):\n    return " + "+".join(["x"] * 2000) + "\n") is None
    assert len(mutants("def f(x):\n    return " + "+".join(["x"] * 50) + "\n", count=3)) == 3
