"""Attacks on tests that run beside the candidate (tier `in_process`), as data.

The task is `add(a, b)` with hidden pytest files; the programs are wrong unless their outcome is "same". Outcomes:

    fails       not passed
    same        the same verdict as the equivalent honest submission (which here is right)
    labelled    passes: this tier cannot stop it, and says so by its name on the verdict
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Literal

from agent_rl.vocabulary import Limits, PytestTests, Submission, Task
from agent_rl.vocabulary.verdict import VerdictStatus

TEST_FILE = b"""
import unittest

import pytest

import solution


def test_small():
    assert solution.add(1, 2) == 3


@pytest.mark.parametrize(("a", "b"), [(10, 20), (-5, 5)])
def test_many(a, b):
    assert solution.add(a, b) == a + b


class TestAdd(unittest.TestCase):
    def test_zero(self):
        self.assertEqual(solution.add(0, 7), 7)
"""
OTHER_FILE = b"""
from helpers import twice

from solution import add


def test_twice():
    assert add(4, 4) == twice(4)
"""
HIDDEN = {
    "tests/test_add.py": TEST_FILE,
    "tests/test_twice.py": OTHER_FILE,
    "tests/helpers.py": b"def twice(x):\n    return 2 * x\n",
}
NODE_IDS = (
    "tests/test_add.py::test_small",
    "tests/test_add.py::test_many[10-20]",
    "tests/test_add.py::test_many[-5-5]",
    "tests/test_add.py::TestAdd::test_zero",
    "tests/test_twice.py::test_twice",
)
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b - 1\n"
LIMITS = Limits(wall_seconds=30.0, cpu_seconds=30.0)
TASK = Task(
    "add",
    (),
    PytestTests(HIDDEN, oracle={"solution.py": RIGHT.encode()}),
    files={"README": b"Write solution.py.\n", "solution.py": b""},
    limits=LIMITS,
    tier="in_process",
)
Outcome = Literal["fails", "same", "labelled"]


@dataclass(frozen=True, slots=True)
class Attack:
    """One submission, what must become of it, and how its verdict may read (empty: in any way)."""

    number: int
    name: str
    program: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    outcome: Outcome = "fails"
    statuses: tuple[VerdictStatus, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.number}-{self.name}"

    @property
    def submission(self) -> Submission:
        files = {"solution.py": self.program, **self.files}
        return Submission.of_files({path: content.encode() for path, content in files.items()})


def attack(
    number: int,
    name: str,
    program: str = WRONG,
    outcome: Outcome = "fails",
    *statuses: VerdictStatus,
    files: Mapping[str, str] | None = None,
) -> Attack:
    texts = {path: dedent(content).lstrip("\n") for path, content in (files or {}).items()}
    return Attack(number, name, dedent(program).lstrip("\n"), texts, outcome, statuses)


FORCING = """
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().outcome = "passed"
"""
PLUGIN = "[pytest11]\nevil = evil_plugin\n"

CORPUS = [
    attack(1, "exit-at-import", "import sys\nsys.exit(0)"),
    attack(2, "os-exit-at-import", "import os\nos._exit(0)", "fails", "failed"),
    attack(4, "os-exit-in-a-call", "import os\ndef add(a, b):\n    os._exit(0)", "fails", "failed"),
    attack(5, "skip-in-a-call", "import unittest\ndef add(a, b):\n    raise unittest.SkipTest", "fails", "failed"),
    attack(6, "skip-the-module", "import pytest\npytest.skip('no', allow_module_level=True)", "fails", "failed"),
    attack(7, "pytest-exit", "import pytest\npytest.exit('ok', returncode=0)", "fails", "failed"),
    attack(7, "pytest-exit-in-a-call", "import pytest\ndef add(a, b):\n    pytest.exit('ok', returncode=0)"),
    attack(14, "prints-a-summary", WRONG + "print('5 passed in 0.01s')"),
    attack(16, "writes-to-all-descriptors", WRONG + "import os\nfor fd in range(3, 64):\n    try:\n"
           "        os.write(fd, b'PASS')\n    except OSError:\n        pass\n"),
    attack(17, "leaves-results", files={
        "reward.txt": "1", "logs/verifier/reward.txt": "1", "report.xml": "<testsuite tests='5' failures='0'/>",
        "results.json": '{"passed": true}', ".report.json": '{"exit": 0}',
    }),
    attack(40, "conftest", files={"conftest.py": FORCING}),
    attack(40, "conftest-beside-the-tests", files={"tests/conftest.py": FORCING}),
    attack(40, "conftest-beside-a-right-program", RIGHT, "same", files={"conftest.py": "1 / 0"}),
    attack(41, "pytest-ini", files={"pytest.ini": "[pytest]\naddopts = --collect-only\n"}),
    attack(41, "pytest-ini-beside-a-right-program", RIGHT, "same", files={
        "pytest.ini": "[pytest]\naddopts = --nonsense\n", "tests/pytest.ini": "[pytest]\naddopts = -k nothing\n",
    }),
    attack(41, "setup-cfg", files={"setup.cfg": "[tool:pytest]\naddopts = -k nothing\n"}),
    attack(41, "tox-ini", files={"tox.ini": "[pytest]\naddopts = -k nothing\n"}),
    attack(41, "pyproject", RIGHT, "same", files={
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-k nothing'\n",
    }),
    attack(42, "start-up-files", RIGHT, "same", files={
        ".bashrc": "export PYTEST_ADDOPTS=--co", ".profile": "export PYTHONPATH=/tmp", ".env": "PYTEST_ADDOPTS=--co",
    }),
    attack(42, "sets-the-environment", WRONG + "import os\nos.environ['PYTEST_ADDOPTS'] = '--co'\n"),
    attack(43, "sitecustomize", RIGHT, "same", files={
        "sitecustomize.py": "import os\nos._exit(0)\n", "usercustomize.py": "import os\nos._exit(0)\n",
    }),
    attack(43, "sitecustomize-that-patches", files={
        "sitecustomize.py": "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n",
    }),
    attack(44, "pth", RIGHT, "same", files={"evil.pth": "import os; os._exit(0)\n"}),
    attack(44, "plugin-by-entry-point", files={
        "evil-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
        "evil-1.0.dist-info/entry_points.txt": PLUGIN,
        "evil_plugin.py": FORCING,
    }),
    attack(45, "builtins", """
        import builtins
        class Never(Exception):
            pass
        builtins.AssertionError = Never
        builtins.print = lambda *a, **k: None
        def add(a, b):
            return a - b - 1
    """),
    attack(45, "builtins-that-nothing-works-without", """
        import builtins
        def add(a, b):
            return a - b - 1
        builtins.len = lambda x: 0
        builtins.open = None
        builtins.__import__ = None
    """),
    attack(46, "assert-equal", "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n" + WRONG,
           "fails", "tampered"),
    attack(46, "a-module-that-shadows-unittest", files={
        "unittest.py": "class TestCase:\n    def assertEqual(self, a, b):\n        pass\n",
        "tests/unittest.py": "class TestCase:\n    def assertEqual(self, a, b):\n        pass\n",
    }),
    attack(46, "a-module-that-shadows-pytest", files={"pytest.py": "1 / 0", "_pytest/__init__.py": "1 / 0"}),
    attack(40, "reports-patched-at-import", """
        import _pytest.reports
        def add(a, b):
            return a - b - 1
        old = _pytest.reports.TestReport.from_item_and_call.__func__
        def forced(cls, item, call):
            report = old(cls, item, call)
            report.outcome = "passed"
            return report
        _pytest.reports.TestReport.from_item_and_call = classmethod(forced)
    """, "fails", "tampered"),
    attack(40, "calls-patched-in-a-call", """
        def add(a, b):
            import _pytest.runner
            from_call = _pytest.runner.CallInfo.from_call.__func__
            def silent(cls, func, *a, **k):
                def quiet():
                    try:
                        func()
                    except Exception:
                        pass
                return from_call(cls, quiet, *a, **k)
            _pytest.runner.CallInfo.from_call = classmethod(silent)
            return a - b - 1
    """, "fails", "tampered"),
    attack(47, "weakened-tests", files={"tests/test_add.py": "def test_small():\n    pass\n"}),
    attack(47, "a-file-in-the-tests-way", RIGHT, "same", files={"tests": "not a folder"}),
    attack(47, "rewrites-tests", WRONG + "open('tests/test_twice.py', 'w').write('def test_twice():\\n    pass\\n')",
           "fails", "tampered"),
    attack(47, "deletes-tests", WRONG + "import os\nos.remove('tests/test_twice.py')", "fails", "tampered"),
    attack(47, "appends-to-a-helper", WRONG
           + "open('tests/helpers.py', 'a').write('\\ndef twice(x):\\n    return -1\\n')",
           "fails", "tampered"),
    attack(47, "compiled-tests", files={"tests/__pycache__/helpers.cpython-311.pyc": "x", "tests/helpers.pyc": "x"}),
    attack(48, "git-hooks", RIGHT, "same", files={".git/hooks/post-checkout": "#!/bin/sh\nexit 1\n", ".git/HEAD": "x"}),
    attack(49, "trojans", RIGHT, "same", files={
        "python3": "#!/bin/sh\nexit 0\n", "pytest": "#!/bin/sh\nexit 0\n", "bin/python3": "#!/bin/sh\nexit 0\n",
    }),
    attack(50, "parser", files={"parser.py": "def parse(log):\n    return 'PASSED'\n"}),
    attack(51, "xfail-in-a-call", "import pytest\ndef add(a, b):\n    pytest.xfail('known')", "fails", "failed"),
    attack(51, "marks-from-the-solution", """
        import sys
        import pytest
        def add(a, b):
            return a - b - 1
        class Lenient(type(sys)):
            def __getattr__(self, name):
                raise pytest.xfail.Exception("known")
        del add
        sys.modules[__name__].__class__ = Lenient
    """),
    attack(52, "nothing-is-collected", files={"conftest.py": "collect_ignore_glob = ['*']\n"}),
    attack(53, "audit-hook", WRONG + "import os, sys\n"
           "sys.addaudithook(lambda event, args: event == 'open' and '.report' in str(args) and os._exit(0))"),
    attack(53, "trace", WRONG + "import sys\nsys.settrace(lambda *a: sys.exit(0))\n"),
    attack(54, "run-tests", WRONG + "def run_tests():\n    return True\nmain = test = run_tests\n"),
    attack(55, "looks-for-a-solution", """
        import glob
        found = glob.glob('/solution*') + glob.glob('solution/*') + glob.glob('/tests*')
        def add(a, b):
            return found or 'nothing'
    """),
    attack(56, "imports-the-reference", "from reference import add"),
    attack(57, "git-log", "import subprocess\nout = subprocess.run(['git', 'log', '--all'], capture_output=True)\n"
           "def add(a, b):\n    return out.stdout\n"),
    attack(13, "abort", "import os\nos.abort()"),
    attack(55, "reads-the-tests-beside-it", """
        import re
        text = open('tests/test_add.py').read()
        def add(a, b):
            known = re.search(r'add\\(%d, %d\\) == (\\d+)' % (a, b), text)
            if known:
                return int(known[1])
            other = re.search(r'add\\(%d, %d\\), (\\d+)' % (a, b), text)
            return int(other[1]) if other else sum([a, b])
    """, "labelled"),
    attack(18, "walks-the-frames-to-the-reporter", """
        import gc
        def add(a, b):
            for found in gc.get_objects():
                if type(found).__name__ == "Reporter" and hasattr(found, "phases"):
                    class Generous(list):
                        def append(self, phase):
                            canary = phase[0].startswith("test_t")
                            super().append(phase if canary else phase[:2] + ["passed", False, ""])
                    found.phases = Generous(found.phases)
            return None
    """, "labelled"),
]  # fmt: skip
