import math
from typing import Any

import pytest

from agent_rl.judging.compare_values import equal
from agent_rl.vocabulary.canonical import Record, decode, encode
from agent_rl.vocabulary.task import Comparison

NAN = math.nan

CASES: list[tuple[Comparison, Any, Any, bool]] = [
    ("python", 1, 1.0, True),
    ("python", 1, True, True),
    ("python", [1], (1,), False),
    ("python", NAN, NAN, False),
    ("python", -0.0, 0.0, True),
    ("python", {"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ("python", "1", 1, False),
    ("exact", 1, 1.0, False),
    ("exact", 1, True, False),
    ("exact", [1], (1,), False),
    ("exact", [NAN], [NAN], True),
    ("exact", -0.0, 0.0, False),
    ("exact", {"a": 1, "b": (2,)}, {"b": (2,), "a": 1}, True),
    ("exact", {1: "a"}, {True: "a"}, False),
    ("exact", {1, 2}, frozenset({1, 2}), False),
    ("exact", Record("P", (("x", 1),)), Record("P", (("x", 1),)), True),
    ("exact", Record("P", (("x", 1),)), Record("P", (("x", 1.0),)), False),
    ("float", 1.0 + 1e-7, 1.0, True),  # 1e-7 <= 1e-6 absolute
    ("float", 1e9 + 100, 1e9, True),  # 100 / 1e9 = 1e-7 relative
    ("float", 1.0 + 1e-5, 1.0, False),
    ("float", [1, (2.0000001, "a")], [1.0, (2, "a")], True),
    ("float", [1, 2], (1, 2), False),
    ("float", [1], [1, 1], False),
    ("float", {"a": 0.1 + 0.2}, {"a": 0.3}, True),
    ("float", {"a": 1}, {"b": 1}, False),
    ("float", {0.1 + 0.2, 1.0}, {0.3, 1.0}, True),
    ("float", {1.0}, {1.0, 2.0}, False),
    ("float", {"a", 1.0}, {"b", 1.0}, False),
    ("float", math.inf, math.inf, True),
    ("float", math.inf, 1e308, False),
    ("float", NAN, NAN, True),
    ("float", NAN, 1.0, False),
    ("float", 10**400, 10**400, True),
    ("float", 10**400, 1.0, False),  # beyond a float's range
    ("float", 1 + 1e-9j, 1, True),
    ("float", complex(math.inf, 0), 1.0, False),  # any distance is within a share of infinity
    ("float", complex(NAN, -math.inf), 1.0, False),
    ("float", complex(math.inf, 0), math.inf, True),
    ("float", 1.7e308 + 1.7e308j, 1.0, False),  # whose distance from 1 is no float
    ("float", {complex(math.inf, 0)}, {1.0}, False),
    ("float", Record("P", (("x", 0.1 + 0.2),)), Record("P", (("x", 0.3),)), True),
    ("float", Record("P", (("x", 0.3),)), Record("Q", (("x", 0.3),)), False),
    ("float", Record("P", (("x", 0.3),)), Record("P", (("y", 0.3),)), False),
    ("float", Record("P", (("x", 0.3),)), Record("P", (("x", 0.4),)), False),
    ("float", "1.0", 1.0, False),
    ("json", {"1": [2, (3,)]}, {1: (2, [3])}, True),
    ("json", {1: 0, "1": 2}, {"1": 2}, False),  # one of two keys is not dropped
    ("json", [{"a": {1: 0, "1": 0}}], [{"a": {"1": 0}}], False),
    ("json", {1, 2}, [1, 2], False),
    ("tokens", " a  b\n", "a b", True),
    ("tokens", "ab", "a b", False),
    ("tokens", 1, 1, False),
    ("any_order", [3, 1.0, 2], [1, 2, 3], True),
    ("any_order", [1, 1, 2], [1, 2, 2], False),
    ("any_order", [[1], {"a": 2}], [{"a": 2}, [1]], True),
    ("any_order", (1, 2), [2, 1], False),
    ("any_order", [True, "1"], ["1", 1], True),
    ("any_order", [[1, 2]], [[2, 1]], False),
    ("any_order", {1, 2}, {2, 1}, True),
    ("any_order", [Record("P", (("x", 1),)), 2], [2, Record("P", (("x", 1.0),))], True),
    ("any_order", 5, 5.0, False),
]


@pytest.mark.parametrize(("comparison", "actual", "expected", "verdict"), CASES)
def test_policies(comparison: Comparison, actual: Any, expected: Any, verdict: bool) -> None:
    # Through the canonical form, as in judging: no object is then the same on both sides.
    assert equal(decode(encode(actual)), decode(encode(expected)), comparison) is verdict
    assert equal(decode(encode(expected)), decode(encode(actual)), comparison) is verdict


JSON_CASES: list[tuple[Comparison, Any, Any, bool]] = [
    ("float", (0.5, 1.5), [0.5, 1.5], True),
    ("float", {1: (0.5 + 1e-9, [2])}, {"1": [0.5, [2]]}, True),
    ("float", {1: 0.5, "1": 0.5}, {"1": 0.5}, False),
    ("float", {1, 2}, [1, 2], False),
    ("any_order", (2, 1), [1, 2], True),
    ("any_order", [(3, 4), {1: 2.0}], [{"1": 2}, [3, 4]], True),
    ("any_order", [(4, 3)], [[3, 4]], False),
    ("json", {True: None, None: 1.5}, {"true": None, "null": 1.5}, True),
    ("json", {True: 1}, {"1": 1}, False),
    ("exact", (1,), [1], False),
    ("python", (1,), [1], False),
]


@pytest.mark.parametrize(("comparison", "actual", "expected", "verdict"), JSON_CASES)
def test_values_that_were_written_as_json(comparison: Comparison, actual: Any, expected: Any, verdict: bool) -> None:
    assert equal(decode(encode(actual)), decode(encode(expected)), comparison, from_json=True) is verdict
    if comparison in ("float", "any_order") and verdict:
        assert not equal(actual, expected, comparison)


@pytest.mark.parametrize(
    ("actual", "expected", "verdict"),
    [
        (10**9 + 1, 10**9, False),
        (1e9 + 1, 10**9, False),  # a float that is an integer, and not this one
        (1e9 + 0.4, 10**9, False),
        (1e9, 10**9, True),
        (2.9999999, 3, True),  # 1e-7 absolute
        (123456789012.00002, 123456789012, True),  # as near as rounding leaves it
        (10**9 + 1, 1e9, True),  # a float is expected
        (math.nan, 1, False),
        (math.inf, 1, False),
        (1.5, 10**400, False),
        ([3, [1e9 + 1]], [3, [10**9]], False),
    ],
)
def test_an_expected_integer_has_no_relative_tolerance(actual: Any, expected: Any, verdict: bool) -> None:
    for from_json in (True, False):
        assert equal(actual, expected, "float", from_json=from_json) is verdict
    assert equal(4, 3, "float", 0.5) is False


def test_tolerance_is_the_tests_own() -> None:
    assert equal(1.05, 1.0, "float", 0.1)
    assert not equal(1.05, 1.0, "float", 0.01)


def test_hostile_hashes_do_not_slow_any_order() -> None:
    # All have hash 0. Equal multisets of 50,000 in opposite order; by hashing this would take 10**9 steps.
    values = [k * (2**61 - 1) for k in range(50_000)]
    assert equal(values, values[::-1], "any_order")
