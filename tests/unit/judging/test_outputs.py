"""How what a program printed is compared with what it is to print."""

from typing import Any

import pytest

from agent_rl.judging.compare_outputs import same_output


@pytest.mark.parametrize(
    ("comparison", "actual", "expected", "same"),
    [
        ("tokens", b"1  2\n3\n", b"1 2 3", True),
        ("tokens", b"1 2", b"12", False),
        ("tokens", b"1.0", b"1", False),
        ("tokens", b"\xff\xfe\n", b"\xff\xfe", True),
        ("tokens", b"\xff", b"\xfe", False),
        ("exact", b"1\n", b"1\n", True),
        ("exact", b"1", b"1\n", False),
        ("float", b"0.3333333", b"0.33333333333", True),
        ("float", b"1e-9", b"0", True),
        ("float", b"1000001.0", b"1000000.0", True),  # within 1e-6 of the larger
        ("float", b"1000003.0", b"1000000.0", False),
        ("float", b"1000001", b"1000000", False),  # integers are compared exactly
        ("float", b"2.9999999999", b"3", True),
        ("float", b"+007 -0 1e3", b"7 0 1000", True),
        ("float", b"1" * 309 + b"2", b"1" * 309 + b"3", False),  # both are infinite as floats
        ("float", b"1" * 500, b"1" * 500, True),
        ("float", b"yes 1.0", b"yes 1", True),
        ("float", b"no 1", b"yes 1", False),
        ("float", b"1_000", b"1000", False),  # Python reads this as a number, nobody else does
        ("float", b"nan", b"1", False),
        ("float", b"nan", b"NaN", True),
        ("float", b"inf", b"+Infinity", True),
        ("float", b"inf", b"-inf", False),
        # No float holds these. They are no infinities, and two integers that no float tells apart are not equal.
        ("float", b"inf", b"1e999", False),
        ("float", b"1" * 400, b"1" + b"2" * 399, False),
        ("float", b"1" + b"0" * 400, b"2" + b"0" * 400, False),
        ("float", b"-1" + b"0" * 400, b"1" + b"0" * 400, False),
        ("float", b"+001" + b"0" * 400, b"1" + b"0" * 400, True),
        ("float", b"1" + b"0" * 400 + b".0", b"1" + b"0" * 400, True),
        ("float", b"1e400", b"1" + b"0" * 400, True),
        ("float", b"1.0000001e400", b"1e400", True),  # 1e-7 of the larger
        ("float", b"1.00001e400", b"1e400", False),
        ("float", b"9007199254740993", b"9007199254740992", False),  # 2**53 + 1
        ("float", b"9007199254740992.0", b"9007199254740992", True),
        ("float", b"1e99999999999999999999", b"2e99999999999999999999", False),  # beyond decimals too
        ("float", b"1e-99999999999999999999", b"0", True),
        ("float", b"1 2", b"1", False),
        ("any_order", b"b 2\na  1\n", b"a 1\nb 2", True),
        ("any_order", b"a\na\nb", b"a\nb\nb", False),
        ("any_order", b"2 a\n", b"a 2\n", False),
    ],
)
def test_outputs_are_compared_by_the_tasks_own_rule(
    comparison: Any, actual: bytes, expected: bytes, same: bool
) -> None:
    assert same_output(actual, expected, comparison) is same


def test_a_token_of_a_million_digits_is_compared_as_text() -> None:
    digits = b"9" * 10**6
    assert same_output(digits, digits, "float")
    assert not same_output(digits, digits[:-1] + b"8", "float")
