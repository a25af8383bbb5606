"""Submissions that end or steer tests that are a script: none may pass."""

from __future__ import annotations

from tests.component.judging.script_corpus import (
    CHECK,
    COPIED,
    ELSEWHERE,
    HELPERS,
    MODULE,
    PLAIN,
    PROGRAM,
    REWARD,
    RIGHT,
    STDIN,
    TEXT,
    THIRD,
    UNIT,
    WRITTEN,
    WRITTEN_MODULE,
    WRONG,
    wrong,
)

LYING = "def expected(a, b):\n    return a - b - 1\n"
FORCING = (
    "import pytest\n"
    "@pytest.hookimpl(hookwrapper=True)\n"
    "def pytest_runtest_makereport(item, call):\n"
    "    o = yield\n"
    "    o.get_result().outcome = 'passed'\n"
)
WRITES = (
    "import os, signal, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "{}    for _ in range(400):\n"
    "        open('reward.txt', 'w').write('1')\n"
    "        time.sleep(0.005)\n"
    "    os._exit(0)\n"
)
READS = {
    "test.sh": "python3 tests/check.py",
    "check.py": "scope = {}\nexec(open('solution.py').read(), scope)\nassert scope['add'](2, 3) == 5\n",
}
REWARD_BY_EXIT = "if python3 tests/check.py; then echo 1 > reward.txt; else echo 0 > reward.txt; fi\n"
EACH = {
    "test.sh": "python3 tests/check.py\n",
    "check.py": "import os, sys\nsys.path.insert(0, os.getcwd())\nfrom solution import f\nassert list(f(0)) == [5]\n",
}
EXITS = {
    "test.sh": "python3 tests/check.py\n",
    "check.py": "import os, sys\nsys.path.insert(0, os.getcwd())\nfrom solution import f\nassert f(0) == 5\n",
}
COLLECT = "[tool.pytest.ini_options]\naddopts = '--collect-only'\n"

WRONG_SCRIPTS = [
    wrong("os._exit under -c", TEXT, "import os\nos._exit(0)"),
    wrong("sys.exit under -c", TEXT, "import sys\nsys.exit(0)"),
    wrong("os._exit on standard input", STDIN, "import os\nos._exit(0)"),
    wrong("sys.exit in a program that is read", READS, "import sys\nsys.exit(0)"),
    wrong("SystemExit at a later call", PLAIN, "def add(a, b):\n    raise SystemExit"),
    wrong("quit()", PLAIN, "quit()"),
    wrong("the C function itself", PLAIN, "import posix\nposix._exit(0)"),
    wrong("exec of another program", PLAIN, "import os\nos.execv('/bin/true', ['true'])"),
    wrong("a fork that ends", PLAIN, "import os, time\nif os.fork():\n    os._exit(0)\n" + WRONG),
    wrong("an exit handler", PLAIN, WRONG + "import atexit, os\natexit.register(os._exit, 0)\n"),
    wrong("a hook for errors", PLAIN, WRONG + "import os, sys\nsys.excepthook = lambda *a: os._exit(0)\n"),
    wrong(
        "a thread that ends all",
        PLAIN,
        "import os, threading, time\nthreading.Thread(target=lambda: os._exit(0)).start()\ntime.sleep(5)\n",
    ),
    wrong(
        "a signal's handler",
        PLAIN,
        (
            "import os, signal, sys, time\n"
            "signal.signal(signal.SIGALRM, lambda *a: sys.exit(0))\n"
            "signal.setitimer(signal.ITIMER_REAL, .01)\n"
            "time.sleep(5)\n"
        ),
    ),
    wrong("the builtin that tests call", EXITS, "import sys\nf = sys.exit\n"),
    wrong(
        "writes to all descriptors",
        PLAIN,
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'ended')\n    except OSError: pass\nos._exit(0)\n",
    ),
    wrong("pytest.exit", MODULE, "import pytest\npytest.exit('done', returncode=0)"),
    wrong("pytest.exit in a call", MODULE, "import pytest\ndef add(a, b):\n    pytest.exit('done', returncode=0)"),
    wrong("pytest.skip in a call", PROGRAM, "import pytest\ndef add(a, b):\n    pytest.skip('no')"),
    wrong("pytest.skip of a module", PROGRAM, "import pytest\npytest.skip('no', allow_module_level=True)"),
    wrong("SkipTest under pytest", MODULE, "import unittest\ndef add(a, b):\n    raise unittest.SkipTest('no')"),
    wrong("pytest.xfail", MODULE, "import pytest\ndef add(a, b):\n    pytest.xfail('known')"),
    wrong("SkipTest under unittest", UNIT, "import unittest\ndef add(a, b):\n    raise unittest.SkipTest('no')"),
    wrong("os._exit under the program pytest", PROGRAM, "import os\nos._exit(0)"),
    wrong("collect-only in pyproject", PROGRAM, also={"pyproject.toml": COLLECT}),
    wrong(
        "collect-only in dotted keys",
        PROGRAM,
        also={"pyproject.toml": "tool.pytest.ini_options.addopts = '--collect-only'\n"},
    ),
    wrong(
        "collect-only in an inline table",
        PROGRAM,
        also={"pyproject.toml": "[tool]\npytest = { ini_options = { addopts = '--collect-only' } }\n"},
    ),
    wrong("collect-only in setup.cfg", PROGRAM, also={"setup.cfg": "[tool:pytest]\naddopts = --collect-only\n"}),
    wrong("collect-only in tox.ini", PROGRAM, also={"tox.ini": "[tox]\n[pytest]\naddopts = --collect-only\n"}),
    wrong(
        "collect-only in pytest.toml",
        PROGRAM,
        also={
            "pytest.toml": "[pytest]\naddopts = ['--collect-only']\n",
            ".pytest.ini": "[pytest]\naddopts = --collect-only\n",
        },
    ),
    wrong(
        "a configuration beside the tests",
        PROGRAM,
        also={
            "tests/pytest.ini": "[pytest]\naddopts = --collect-only\n",
            "tests/pyproject.toml": COLLECT,
            "tests/conftest.py": FORCING,
        },
    ),
    wrong(
        "an entry point in egg-info",
        MODULE,
        also={
            "e.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: e\nVersion: 1\n",
            "e.egg-info/entry_points.txt": "[pytest11]\ne = evil\n",
            "evil.py": FORCING,
        },
    ),
    wrong(
        "a package pytest",
        MODULE,
        also={"pytest/__init__.py": "", "pytest/__main__.py": "", "unittest/__init__.py": ""},
    ),
    wrong(
        "start-up files",
        PLAIN,
        also={
            "sitecustomize.py": "import os\nos._exit(0)",
            "usercustomize.py": "import os\nos._exit(0)",
            "x.pth": "import os; os._exit(0)",
        },
    ),
    wrong("a helper's name at the root", HELPERS, also={"helpers.py": LYING}),
    wrong("a helper's name as a package at the root", HELPERS, also={"helpers/__init__.py": LYING}),
    wrong("a helper's name as a package beside the tests", HELPERS, also={"tests/helpers/__init__.py": LYING}),
    wrong("a module of the library beside the tests", HELPERS, also={"tests/os.py": "", "tests/solution.py": RIGHT}),
    wrong(
        "an installed package that tests import",
        THIRD,
        also={
            "iniconfig.py": "IniConfig = 1\n__name__ = ''\n",
            "iniconfig/__init__.py": "IniConfig = 1\n__name__ = ''\n",
        },
    ),
    wrong(
        "killing the script",
        REWARD,
        (
            "import os, signal\n"
            "open('reward.txt', 'w').write('1')\n"
            "os.kill(os.getpgid(0), signal.SIGKILL)\n"
            "os.kill(os.getppid(), signal.SIGKILL)\n"
        ),
        reward="reward.txt",
    ),
    wrong("a process that writes the reward", REWARD, WRONG + WRITES.format(""), reward="reward.txt"),
    wrong(
        "killing the watcher, then writing the reward",
        REWARD,
        WRONG
        + WRITES.format("    os.kill(PARENT, 9)\n").replace(
            "import os, signal, time\n", "import os, signal, time\nPARENT = os.getppid()\n"
        ),
        reward="reward.txt",
    ),
    wrong("a reward that was left", {"test.sh": "true\n"}, also={"reward.txt": "1"}, reward="out/../reward.txt"),
    wrong("a reward by its whole path", {"test.sh": "true\n"}, also={"reward.txt": "1"}, reward="/work/reward.txt"),
    wrong("exit 1 beside the reward", {"test.sh": "echo 1 > reward.txt\nexit 1\n"}, reward="reward.txt"),
    wrong("a timer", PLAIN, "import os, threading, time\nthreading.Timer(0, os._exit, [0]).start()\ntime.sleep(3)\n"),
    wrong(
        "the builtin as a method",
        EXITS,
        ("import sys\nclass R:\n    __eq__ = staticmethod(sys.exit)\nf = lambda x: R()\n"),
    ),
    wrong("the builtin in an iterator", EACH, "import os\nf = lambda x: map(os._exit, [0])\n"),
    wrong(
        "a reward that cannot be written",
        {"test.sh": REWARD_BY_EXIT + "cat reward.txt\n", "check.py": CHECK},
        WRONG + "import os\nopen('reward.txt', 'w').write('1')\nos.chmod('reward.txt', 0o444)\n",
        reward="reward.txt",
    ),
    wrong(
        "a reward, and then the end",
        {"test.sh": "python3 tests/check.py || true\n", "check.py": CHECK + "open('reward.txt', 'w').write('1')\n"},
        "import os\nopen('reward.txt', 'w').write('1')\nos._exit(3)\n",
        reward="reward.txt",
    ),
    wrong("os._exit in a copy of the tests", COPIED, "import os\nos._exit(0)"),
    wrong("SystemExit in a copy of the tests", COPIED, "def add(a, b):\n    raise SystemExit"),
    wrong("os._exit in a program that the script writes", WRITTEN, "import os\nos._exit(0)"),
    wrong("os._exit in a module that the script writes", WRITTEN_MODULE, "import os\nos._exit(0)"),
    wrong("SystemExit in a copy of the solution", ELSEWHERE, "def add(a, b):\n    raise SystemExit"),
    wrong("os._exit in a copy of the solution", ELSEWHERE, "import os\nos._exit(0)"),
]
