"""Runs a program of a tests' script in the child that `script_guard` watches, and says whether its own code has ended.

What a submission raises to skip a test (`pytest.skip`, `unittest.SkipTest`, `pytest.exit`, `pytest.xfail`) fails it.

Standard library only, Python 3.8: this runs inside the sandboxes, from the folder of `guard.settings`.
"""

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
_getpid, _write = os.getpid, os.write


def read(path):
    """The content of a file; None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


class Ending:
    """Knows which code is the submission's, and says once that the tests' own code has ended."""

    def __init__(self, known, secret):
        self.root = known["root"]
        self.theirs = {os.path.join(self.root, path) for path in known["theirs"]}
        self.hidden = {os.path.join(self.root, path) for path in known["hidden"]}
        self.own = set()
        self.source = ""
        self.copies = {}
        child, said, here, opened, closed = _getpid(), [], HERE, os.open, os.close

        def tell(word):
            if _getpid() == child and not said:
                said.append(word)
                descriptor = opened(here + "/" + secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                _write(descriptor, f"{word} {child}".encode())
                closed(descriptor)

        self.say = lambda: tell("ended")
        self.fail = lambda: tell("failed")

    def know(self, code, source):
        """The code of a main program that has no file."""
        self.own.add(code)
        self.source = source
        for inner in code.co_consts:
            if isinstance(inner, type(code)):
                self.know(inner, source)

    def is_theirs(self, code):
        path = os.path.realpath(os.path.join(self.root, code.co_filename))
        if path not in self.theirs and path not in self.copies:
            self.copies[path] = self.is_copy(path)
        return path in self.theirs or self.copies[path]

    def is_copy(self, path):
        """Whether tests have put a file of the submission there."""
        alike = [theirs for theirs in self.theirs if os.path.basename(theirs) == os.path.basename(path)]
        content = read(path) if alike else None
        return content is not None and any(read(theirs) == content for theirs in alike)

    def is_tests(self, code):
        return code in self.own or os.path.realpath(os.path.join(self.root, code.co_filename)) in self.hidden

    def is_executed_text(self, code):
        """Whether it was given to exec: perhaps a program that tests read and run."""
        name = code.co_filename
        return name.startswith("<") and not name.startswith("<frozen") and code not in self.own

    def raised_by_theirs(self, trace):
        while trace is not None:
            if self.is_theirs(trace.tb_frame.f_code):
                return True
            trace = trace.tb_next
        return False

    def is_regular_exit(self, trace):
        """Whether SystemExit was raised where the code says so, and not by the submission."""
        if trace is None or self.raised_by_theirs(trace):
            return False
        while True:
            code, line = trace.tb_frame.f_code, trace.tb_lineno
            if self.is_executed_text(code):
                return False
            if trace.tb_next is None:
                break
            trace = trace.tb_next
        return self.says(code, line)

    def says(self, code, line):
        """Whether the line itself ends the program: a builtin such as sys.exit can be called by other names."""
        try:
            if code in self.own:
                text = self.source
            else:
                with open(code.co_filename, encoding="utf-8", errors="replace") as file:
                    text = file.read()
        except OSError:  # a frozen module
            return code.co_filename.startswith("<frozen")
        lines = text.split("\n")[line - 1 : line]
        return any(word in "".join(lines) for word in ("exit", "Exit", "quit", "exec"))

    def allow(self, function):
        """`function` ends this process or replaces its program; tests may call it too, at their end."""

        def called(*arguments):
            frame = sys._getframe(1)
            while frame is not None and frame.f_globals is os.__dict__:
                frame = frame.f_back
            if frame is not None and self.is_tests(frame.f_code) and self.says(frame.f_code, frame.f_lineno):
                while frame is not None and not (self.is_theirs(frame.f_code) or self.is_executed_text(frame.f_code)):
                    frame = frame.f_back
                if frame is None:
                    self.say()
            return function(*arguments)

        return called


class StrictSkips:
    """A pytest plugin: a test that the submission's own code skips, or expects to fail, is not passed."""

    def __init__(self, ending):
        self.ending = ending
        self.found = False

    def look(self, call):
        if call is not None and call.excinfo is not None and self.ending.raised_by_theirs(call.excinfo.tb):
            self.found = True

    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None and type(call.excinfo.value).__name__ in ("Skipped", "XFailed", "SkipTest", "Exit"):
            self.look(call)

    def pytest_collectreport(self, report):
        if report.skipped:
            self.look(getattr(report, "call", None))

    def pytest_keyboard_interrupt(self, excinfo):
        if self.ending.raised_by_theirs(excinfo.tb):
            self.found = True

    def pytest_sessionfinish(self, session, exitstatus):
        if self.found and int(exitstatus) == 0:
            sys.stderr.write("a test was skipped, or the tests were ended, by the program under test\n")
            session.exitstatus = 1


def strict_pytest(ending):
    """pytest's sessions in this process have `StrictSkips`."""
    try:
        from importlib import import_module

        import pytest

        config = import_module("_pytest.config")

        prepare = config._prepareconfig
        # Before pytest's own hook makes its own exception of unittest's.
        StrictSkips.pytest_runtest_makereport = pytest.hookimpl(tryfirst=True)(StrictSkips.pytest_runtest_makereport)
    except (ImportError, AttributeError):
        return

    def prepared(args=None, plugins=None):
        return prepare(args, [*(plugins or ()), StrictSkips(ending)])

    config.__dict__["_prepareconfig"] = prepared


def strict_unittest(ending):
    """A test that the submission's own code skips has failed, under unittest too."""
    from unittest.result import TestResult

    skip = TestResult.addSkip

    def add(self, test, reason):
        error = sys.exc_info()
        if error[2] is not None and ending.raised_by_theirs(error[2]):
            self.addFailure(test, error)
        else:
            skip(self, test, reason)

    TestResult.addSkip = add


def first_on_path(folder):
    """`folder` replaces this file's own at the start of sys.path, unless the interpreter put none there (-P)."""
    if sys.path and os.path.realpath(sys.path[0]) == HERE and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def run_main(ending, kind, what):
    """Runs the program as the interpreter would have run it. Its SystemExit and its errors are passed on."""
    scope = sys.modules["__main__"].__dict__
    for name in [name for name in scope if not name.startswith("__")]:
        del scope[name]
    if kind == "m" or (kind == "script" and os.path.isdir(what)):
        import runpy

        if kind == "m":
            first_on_path(os.getcwd())
            runpy._run_module_as_main(what)  # pyright: ignore
        else:
            first_on_path(what)
            runpy._run_module_as_main("__main__", False)  # pyright: ignore
        return
    if kind == "script":
        with open(what, "rb") as file:
            source = file.read()
        first_on_path(os.path.dirname(os.path.realpath(what)))
        scope.update(__file__=what, __spec__=None, __cached__=None)
        code = compile(source, what, "exec")
    else:
        source = what if kind == "c" else sys.stdin.read()
        first_on_path("")
        scope.pop("__file__", None)
        code = compile(source, "<string>" if kind == "c" else "<stdin>", "exec")
        ending.know(code, source)
    exec(code, scope)


def run(known, secret):
    """The program that the command line names is run, and how its own code ended is said in the file `secret`."""
    kind, what, *arguments = sys.argv[1:]
    sys.argv = [{"c": "-c", "m": "-m"}.get(kind, what), *arguments]
    ending = Ending(known, secret)
    os._exit, os.execv, os.execve = map(ending.allow, (os._exit, os.execv, os.execve))
    about = " ".join([what, *arguments])
    if kind == "script" and os.path.isfile(what):
        with open(what, encoding="utf-8", errors="replace") as file:
            about += file.read()
    if "pytest" in about or "py.test" in about:
        strict_pytest(ending)
    if "unittest" in about:
        strict_unittest(ending)
    try:
        run_main(ending, kind, what)
    except SystemExit as end:
        if ending.is_regular_exit(end.__traceback__):
            ending.say()
        raise
    except BaseException:
        ending.fail()
        raise
    ending.say()
