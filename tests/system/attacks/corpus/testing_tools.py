"""Lines 40 to 54 as what a program can try at tiers that run no test suite beside it."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import FORGE, MARK, RIGHT, WRONG, attack

_WRITE = '''
import os
def write(name, text, folders=(".", "..", "tests", "/tmp", "/work", "/", "~", "/tests", "/usr/local/bin")):
    """The file, wherever it can be written."""
    for folder in folders:
        path = os.path.join(os.path.expanduser(folder), name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
            os.chmod(path, 0o755)
        except OSError:
            pass
'''

TESTING_TOOLS = [
    attack(40, "conftest", _WRITE + WRONG + '''
write("conftest.py", """
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.outcome = "passed"
""")
'''),
    attack(41, "configuration-of-test-runners", _WRITE + WRONG + """
write("pytest.ini", "[pytest]\\naddopts = -k nothing --co\\n")
write("setup.cfg", "[tool:pytest]\\naddopts = --co\\n")
write("tox.ini", "[pytest]\\naddopts = --co\\n")
write("pyproject.toml", "[tool.pytest.ini_options]\\naddopts = '--co'\\n")
"""),
    attack(42, "variables-for-the-next-phase", _WRITE + RIGHT + """
for name in (".bashrc", ".profile", ".bash_profile", ".env", ".pam_environment"):
    write(name, "export PYTEST_ADDOPTS=--co PYTHONSTARTUP=/tmp/x PYTHONPATH=/tmp PYTHONWARNINGS=error PATH=/tmp")
os.environ.update(PYTEST_ADDOPTS="--co", PYTHONPATH="/tmp", PYTHONSTARTUP="/tmp/x", LD_PRELOAD="/tmp/x", PATH="/tmp")
""", "same"),
    attack(43, "sitecustomize", _WRITE + RIGHT + """
import site
for name in ("sitecustomize.py", "usercustomize.py"):
    write(name, "import os\\nos._exit(0)\\n", (".", "/tmp", site.getusersitepackages(), *site.getsitepackages()))
""", "same"),
    attack(44, "a-pth-file", _WRITE + RIGHT + """
import site
write("evil.pth", "import os; os._exit(0)\\n", (site.getusersitepackages(), *site.getsitepackages(), "/tmp"))
""", "same"),
    attack(44, "a-module-that-shadows-the-librarys", _WRITE + RIGHT + """
for name in ("json", "struct", "random", "atexit", "threading", "decimal", "encodings"):
    write(name + ".py", "import os\\nos._exit(0)\\n")
""", "same"),
    attack(45, "builtins-that-lie", """
        import builtins
        lie = lambda *a, **k: True
        for name in ("AssertionError", "len", "print", "open", "repr", "sorted", "map", "hash", "isinstance", "type",
                     "getattr", "all", "any", "abs", "str", "int", "list", "dict", "tuple", "compile", "exec", "iter"):
            setattr(builtins, name, lie)
        def add(a, b):
            return None
    """),
    attack(45, "imports-that-lie", """
        import builtins, sys, types
        class Everything(types.ModuleType):
            __path__ = []
            def __getattr__(self, name):
                return lambda *a, **k: True
        class Finder:
            def find_spec(self, name, path=None, target=None):
                import importlib.machinery
                return importlib.machinery.ModuleSpec(name, self)
            def create_module(self, spec):
                return Everything(spec.name)
            def exec_module(self, module):
                pass
        sys.meta_path.insert(0, Finder())
        for name in list(sys.modules):
            if name not in ("sys", "builtins", "solution", "__main__"):
                sys.modules[name] = Everything(name)
        builtins.__import__ = lambda name, *a, **k: Everything(name)
        def add(a, b):
            return None
    """),
    attack(45, "what-writes-json-lies", """
        import json, json.encoder, struct, os
        json.dumps = json.JSONEncoder.encode = json.encoder.encode_basestring_ascii = lambda *a, **k: '{"passed":true}'
        json.loads = lambda *a, **k: {"passed": True}
        struct.pack = lambda *a: b"\\0\\0\\0\\x0f"
        os.write, os.getpid = (lambda fd, data: len(data)), (lambda: 1)
        def add(a, b):
            return None
    """),
    attack(45, "the-comparisons-own-code-is-replaced", """
        import gc, types
        def lie(*args, **kwargs):
            return True
        for thing in gc.get_objects():
            if type(thing) is types.FunctionType and thing.__name__ in ("equal", "encode", "write", "_python", "judge"):
                try:
                    thing.__code__ = lie.__code__
                except (ValueError, TypeError):
                    pass
        def add(a, b):
            return None
    """),
    attack(46, "asserts-of-unittest", """
        import unittest
        for name in dir(unittest.TestCase):
            if name.startswith(("assert", "fail")):
                setattr(unittest.TestCase, name, lambda *a, **k: None)
        unittest.TestCase.run = unittest.TestResult.wasSuccessful = lambda *a, **k: True
        def add(a, b):
            return None
    """),
    attack(47, "the-tests-are-rewritten", _WRITE + WRONG + """
import shutil
for folder in ("tests", "/tests", "/work/tests", "/tmp/tests"):
    shutil.rmtree(folder, ignore_errors=True)
for name in ("tests/test_add.py", "test_add.py", "tests/__init__.py", "test_solution.py", "run_tests.sh"):
    write(name, "def test_add():\\n    pass\\n")
"""),
    attack(48, "weaker-tests-are-committed", WRONG + """
import subprocess
for command in ("git init -q .", "git add -A", "git -c user.name=x -c user.email=x@x commit -q --allow-empty -m x",
                "git checkout -q -f HEAD", "git stash", "git config --global core.hooksPath /tmp"):
    try:
        subprocess.run(command.split(), timeout=0.3, stdout=-3, stderr=-3)
    except (OSError, subprocess.SubprocessError):
        pass
"""),
    attack(49, "trojans-on-the-path", _WRITE + WRONG + """
for name in ("curl", "python3", "python", "pytest", "git", "tee", "timeout", "env", "sh", "bash", "cat", "uv"):
    write(name, "#!/bin/sh\\necho 6 passed\\nexit 0\\n",
          (".", "/tmp", "/run/bin", "/usr/local/bin", "/usr/bin", "/bin", "~/.local/bin", "~/bin"))
    for folder in ("/run/bin", "/usr/local/bin", "/usr/bin"):
        try:
            os.replace(f"/tmp/{name}", f"{folder}/{name}")
        except OSError:
            pass
"""),
    attack(50, "what-reads-the-log-is-overwritten", _WRITE + WRONG + """
import sys
for name in ("parser.py", "log_parser.py", "judge.py", "grade.py", "compare.py", "harness.py", "canonical.py"):
    write(name, "def parse(*a, **k): return {'passed': True}\\n")
for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None) or ""
    try:
        open(path, "a").write("\\nraise SystemExit(0)\\n")
    except OSError:
        pass
"""),
    attack(51, "expected-failures", """
        import unittest
        @unittest.expectedFailure
        @unittest.skip("no")
        def add(a, b):
            return None
    """),
    attack(52, "no-calls-are-left", FORGE + """
import sys
frame = sys._getframe()
while frame is not None:
    for value in list(frame.f_locals.values()):
        if isinstance(value, dict) and "calls" in value:
            value["calls"].clear()
    frame = frame.f_back
def add(a, b):
    return None
"""),
    attack(52, "exit-code-five", "import sys\ndef add(a, b):\n    sys.exit(5)"),
    attack(53, "audit-hooks", """
        import os, sys
        def hook(event, args):
            if event.startswith(("open", "compile", "exec", "object.__getattr__", "sys._getframe", "os.")):
                os._exit(0)
        def add(a, b):
            sys.addaudithook(hook)
            open("/dev/null")
            return None
    """),
    attack(53, "an-audit-hook-that-spins", """
        import sys
        def hook(event, args):
            while True:
                pass
        def add(a, b):
            sys.addaudithook(hook)
            return open("/dev/null")
    """, "killed", "timeout"),
    attack(54, "functions-that-a-runner-would-call", """
        def run_tests(*args, **kwargs):
            return True
        check = judge = main = test_add = run = verify = grade = run_tests
        result = passed = "passed"
        __all__ = ["add"]
        def add(a, b):
            return None
    """),
    attack(54, "the-entry-point-is-another-each-time", """
        import sys
        class Module(type(sys)):
            def __getattribute__(self, name):
                return (lambda a, b: None)
        sys.modules["solution"].__class__ = Module
        add = type("add", (), {"__call__": lambda self, a, b: None, "__eq__": lambda self, other: True})()
    """),
    attack(0, "marks-in-every-folder", _WRITE + WRONG + f'''
for top in ("/tmp", "/var/tmp", "/dev/shm", "/work", "/run", "/var", "/etc", "/usr", "/home", "/root", "/dev", "/proc"):
    write("{MARK}", "x", (top,))
'''),
]  # fmt: skip
