"""The corpus's tasks at tier `proxied`: the same cases, asserted in a hidden test file."""

from __future__ import annotations

import dataclasses

from agent_rl.vocabulary import CallTests, PytestTests, Task
from tests.system.attacks.corpus import LIMITS

ADD_FORMS = """
import math
import unittest

import pytest
import solution
from solution import add

CASES = {cases!r}


@pytest.mark.parametrize("arguments, expected", CASES)
def test_equal(arguments, expected):
    assert add(*arguments) == expected
    assert expected == add(*arguments)
    assert not add(*arguments) != expected


def test_in_all_the_ways_that_a_lying_value_could_like():
    for (a, b), expected in CASES:
        assert abs(solution.add(a, b) - expected) < 1e-9
        assert math.isclose(solution.add(a, b), expected)
        assert solution.add(a, b) == pytest.approx(expected)
        assert add(a, b) in (expected,) and add(a, b) in {{expected}}
        assert expected - 1 < add(a, b) < expected + 1
        assert not add(a, b) - expected
        assert [add(a, b), (add(a, b),)] == [expected, (expected,)]
        assert round(add(a, b)) == expected


class Sums(unittest.TestCase):
    def test_sums(self):
        for arguments, expected in CASES:
            self.assertEqual(add(*arguments), expected)
            self.assertAlmostEqual(add(*arguments), expected)
            self.assertTrue(add(*arguments) == expected)


assert add(*CASES[0][0]) == CASES[0][1]
"""
STAR = """
from solution import *

CASES = {cases!r}

assert sum([add(*arguments) for arguments, _ in CASES]) == sum([expected for _, expected in CASES])
assert not [None for arguments, expected in CASES if abs(add(*arguments) - expected) > 1e-9]
"""
PLAIN = """
from pytest import approx
from solution import {entry_point}


def test_cases():
    for arguments, expected in {cases!r}:
        value = {entry_point}(*arguments)
        assert {comparison}
"""
COMPARISONS = {
    "python": "value == expected",
    "exact": "value == expected and type(value) is type(expected)",
    "float": "value == approx(expected)",
    "tokens": "value.split() == expected.split()",
    "any_order": "sorted(value) == sorted(expected)",
}


def proxied(task: Task) -> Task | None:
    """`task` as a proxied one; None where its cases cannot be asserted so."""
    tests = task.tests
    if not isinstance(tests, CallTests) or any(dataclasses.is_dataclass(case.expected) for case in tests.cases):
        return None
    cases = [(case.args, case.expected) for case in tests.cases]
    files: dict[str, str] = {}
    if task.id == "add":
        source = ADD_FORMS.format(cases=cases)
        files["test_star.py"] = STAR.format(cases=cases)
    elif tests.comparison in COMPARISONS:
        source = PLAIN.format(entry_point=tests.entry_point, cases=cases, comparison=COMPARISONS[tests.comparison])
    else:
        return None
    table = {repr(case.args): case.expected for case in tests.cases}
    oracle = f"def {tests.entry_point}(*args):\n    return {table!r}[repr(args)]\n"
    files["test_it.py"] = source
    pytest_tests = PytestTests(
        {name: text.encode() for name, text in files.items()}, oracle={"solution.py": oracle.encode()}
    )
    return dataclasses.replace(task, id=f"{task.id}-proxied", tests=pytest_tests, tier="proxied", limits=LIMITS)
