"""What is said of a test that did not pass."""

from __future__ import annotations

import pytest

from agent_rl.judging.pytest_report import Phase, PytestReport


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("test_a.py:3: in test_a\n    assert f(1) == 2\nE   assert 1 == 2\nE    +  where 1 = f(1)", "assert 1 == 2"),
        (
            'E     File "/work/solution.py", line 1\nE       def f(x)\nE               ^\nE   SyntaxError: no colon',
            'SyntaxError: no colon (File "/work/solution.py", line 1)',
        ),
        ("While importing\nE   ModuleNotFoundError: No module named 'x'", "ModuleNotFoundError: No module named 'x'"),
        ('E     File "/work/solution.py"', 'File "/work/solution.py"'),
        ("no line is marked\nthis is the last\n", "this is the last"),
    ],
)
def test_why_a_test_did_not_pass_is_one_line(text: str, why: str) -> None:
    phases = {"a": [Phase("setup", "passed", False, ""), Phase("call", "failed", False, text)]}
    assert PytestReport(1, ("a",), (), phases).why_not_passed("a") == why
    assert PytestReport(1, (), (("test_a.py", text),), {}).why_not_passed("a") == why
