"""Tests that are a script, in many forms, and how a submission to them is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from textwrap import dedent

RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b - 1\n"
CHECK = (
    "import os, sys\nsys.path.insert(0, os.getcwd())\nfrom solution import add\nassert add(2, 3) == 5\nprint('ok')\n"
)
TEST = (
    "from solution import add\n"
    "def test_small():\n"
    "    assert add(2, 3) == 5\n"
    "def test_large():\n"
    "    assert add(10, 20) == 30\n"
)
CASES = (
    "import unittest\n"
    "from solution import add\n"
    "class Case(unittest.TestCase):\n"
    "    def test(self):\n"
    "        self.assertEqual(add(2, 3), 5)\n"
)
HELPED = (
    "import os, sys\n"
    "sys.path.insert(0, os.getcwd())\n"
    "from helpers import expected\n"
    "from solution import add\n"
    "assert add(2, 3) == expected(2, 3)\n"
)
HELPER = "def expected(a, b):\n    return a + b\n"

PLAIN = {"test.sh": "python3 tests/check.py\n", "check.py": CHECK}
MODULE = {"test.sh": "python3 -m pytest -q tests/test_add.py\n", "test_add.py": TEST}
PROGRAM = {"test.sh": "PYTHONPATH=. pytest -q tests\n", "test_add.py": TEST}
UNIT = {"test.sh": "python3 -m unittest discover -s tests -t .\n", "__init__.py": "", "test_add.py": CASES}
TEXT = {"test.sh": "python3 -c 'from solution import add; assert add(2, 3) == 5'\n"}
STDIN = {"test.sh": "python3 - <<END\nfrom solution import add\nassert add(2, 3) == 5\nEND\n"}
REWARD = {
    "test.sh": "if PYTHONPATH=. python3 -m pytest -q tests/test_add.py; then\n"
    "echo 1 > reward.txt; else echo 0 > reward.txt; fi\n",
    "test_add.py": TEST,
}
HELPERS = {"test.sh": "python3 tests/check.py\n", "check.py": HELPED, "helpers.py": HELPER}
THIRD = {
    "test.sh": "python3 tests/check.py\n",
    "check.py": CHECK
    + "import iniconfig\nassert iniconfig.IniConfig\nassert add(1, 1) == 2 * len(iniconfig.__name__) // 9\n",
}
COPIED = {"test.sh": "cp tests/check.py check.py && python3 check.py\n", "check.py": CHECK}
WRITTEN = {"test.sh": f"cat > check.py <<'END'\n{CHECK}END\npython3 check.py\n"}
WRITTEN_MODULE = {"test.sh": f"cat > check.py <<'END'\n{CHECK}END\npython3 -m check\n"}
ELSEWHERE = {"test.sh": "cp -r . /tmp/copy && cd /tmp/copy && python3 tests/check.py\n", "check.py": CHECK}


@dataclass(frozen=True, slots=True)
class Script:
    """One submission to the tests' files `tests`, whose script is test.sh; `files`: what the task gives."""

    name: str
    tests: Mapping[str, str]
    submitted: Mapping[str, str]
    passes: bool = False
    reward: str = ""
    files: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def needs_pytest(self) -> bool:
        """The machine of the local sandbox may have none."""
        return "pytest" in "".join(self.tests.values()) or self.tests is THIRD


def wrong(
    name: str,
    tests: Mapping[str, str],
    solution: str = WRONG,
    *,
    also: Mapping[str, str] | None = None,
    reward: str = "",
    files: Mapping[str, str] | None = None,
) -> Script:
    """One that may not pass; it has `solution`, and the files `also`."""
    return Script(name, tests, {"solution.py": dedent(solution), **(also or {})}, False, reward, files or {})


def honest(
    name: str,
    tests: Mapping[str, str],
    solution: str = RIGHT,
    *,
    also: Mapping[str, str] | None = None,
    reward: str = "",
    files: Mapping[str, str] | None = None,
) -> Script:
    """One that passes."""
    return replace(wrong(name, tests, solution, also=also, reward=reward, files=files), passes=True)
