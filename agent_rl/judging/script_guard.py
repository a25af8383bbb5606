"""Tells whether a Python program of the tests ran to its end, inside a sandbox, where the program's own code runs too.

Each Python program that a tests' script starts (`python3 tests/check.py`, `pytest`, `python3 -c ...`) imports this file
as `sitecustomize`. It then starts the same program again as its child and waits. The child's main program is
`child_main`; it says that the tests' code has ended, and only then may the exit code be 0. So `os._exit(0)`,
`sys.exit(0)` and another program started in the tests' place do not end tests that would fail. A program of the
submission itself is left alone, since its exit code is its own business.

What a submission raises to skip a test (`pytest.skip`, `unittest.SkipTest`, `pytest.exit`, `pytest.xfail`) fails it.
Everything here can be forged by code that is written against it: it runs in the same process.

`guard.settings` beside this file: {"root", "hidden": [paths], "theirs": [paths], "reward": path or ""}, marshalled.
`guard.log` gets a line "start PID" and "end PID" for each watched program, and "early PID" if its own code did not come
to an end.

Standard library only, Python 3.8: this runs inside the sandboxes. An older interpreter is not watched. It is read at
the start of each interpreter, twice for each program: so nothing is imported at its head that takes time.
"""

import marshal
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
CHILD = "AGENT_RL_GUARD_CHILD"
EARLY = 97
_exit, _getpid, _write, _read = os._exit, os.getpid, os.write, os.read


def settings():
    with open(os.path.join(HERE, "guard.settings"), "rb") as file:
        return marshal.load(file)


def command_line(words):
    """(interpreter's options, kind, what is run, its arguments). Kinds: script, c, m, stdin; "" where none is run."""
    at = 1
    while at < len(words):
        word = words[at]
        if word == "-" or not word.startswith("-"):
            return words[1:at], "stdin" if word == "-" else "script", word, words[at + 1 :]
        if word.startswith("--"):
            at += 2 if word == "--check-hash-based-pycs" else 1
            continue
        for position, letter in enumerate(word[1:], 1):
            if letter in "cmWX":
                rest = word[position + 1 :]
                value = rest or (words[at + 1] if at + 1 < len(words) else "")
                after = at + (1 if rest else 2)
                if letter in "cm":
                    flags = [word[:position]] if position > 1 else []
                    return words[1:at] + flags, letter, value, words[after:]
                at = after - 1
                break
            if letter in "hV?":
                return words[1:], "", "", []
        at += 1
    return words[1:], "stdin", "-", []


def is_made_by_tests(path, known):
    """Whether the file was written after the tests had begun, such as a copy of a hidden one."""
    theirs = {os.path.join(known["root"], theirs) for theirs in known["theirs"]}
    begun = os.stat(os.path.join(HERE, "guard.settings")).st_mtime_ns
    return os.path.isfile(path) and path not in theirs and os.stat(path).st_mtime_ns > begun


def is_watched(kind, what, known):
    """Whether this program belongs to the tests, and is not one of the submission's."""
    root = known["root"]
    hidden = {os.path.join(root, path) for path in known["hidden"]}
    if kind == "script":
        path = os.path.realpath(what)
        inside = path.startswith(root + os.sep)
        if os.path.isdir(path):
            return any(h.startswith(path + os.sep) for h in hidden)
        return path in hidden or not inside or is_made_by_tests(path, known)
    if kind == "m":
        parts = what.split(".")
        found = [os.path.join(base, *parts) for base in (os.getcwd(), root, os.path.join(root, "src"))]
        files = [path + ending for path in found for ending in (".py", os.sep + "__main__.py", os.sep + "__init__.py")]
        if any(path in hidden or is_made_by_tests(path, known) for path in files):
            return True
        return not any(os.path.exists(path) for path in files)
    if kind == "c":
        return not what.startswith("from multiprocessing.")
    return kind == "stdin" and not sys.stdin.isatty()


def read(path):
    """The content of a file; None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def log(word):
    with open(os.path.join(HERE, "guard.log"), "a") as file:
        file.write(f"{word} {_getpid()}\n")


def prctl(option, value):
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass


def signal_to(pid, number):
    try:  # noqa: SIM105 - contextlib takes too long to import
        os.kill(pid, number)
    except OSError:
        pass


def end_leftovers():
    """The processes that the tests' program left behind are gone, before the script's next command runs."""
    import signal
    import time

    until = time.monotonic() + 5
    while time.monotonic() < until:
        parents = {}
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{int(name)}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                parents[int(name)] = int(fields[1])
            except (ValueError, OSError, IndexError):
                continue
        below = {_getpid()}
        for _ in parents:
            more = {pid for pid, parent in parents.items() if parent in below} - below
            if not more:
                break
            below |= more
        below.discard(_getpid())
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in below:
                signal_to(pid, number)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def make_writable(path):
    """The script can write its reward: the program may have put something else there, or taken its permissions."""
    try:
        if os.path.islink(path) or (os.path.exists(path) and not os.path.isfile(path)):
            os.rename(path, os.path.join(HERE, "not-a-reward"))
        elif os.path.isfile(path):
            os.chmod(path, 0o644)
    except OSError:
        pass


def watch(words, options, kind, what, arguments, known):
    """Runs the program in a child, and ends as it ends; with exit code 97 if it ended before its own code did."""
    import signal

    if known["reward"]:
        prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what the child leaves behind stays below this process
    log("start")
    # Not through the environment, which any code of the process can read. The answer comes in a file: a program may
    # close descriptors that it does not know.
    secret = os.urandom(16).hex()
    reading, writing = os.pipe()
    _write(writing, secret.encode())
    os.close(writing)
    os.set_inheritable(reading, True)
    child = os.fork()
    if child == 0:
        os.environ[CHILD] = str(reading)
        main = [os.path.join(HERE, "child.py"), kind, what]
        os.execv(sys.executable, [sys.executable, *options, *main, *arguments])
    os.close(reading)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    status = os.waitpid(child, 0)[1]
    if known["reward"]:
        end_leftovers()
        make_writable(os.path.join(known["root"], known["reward"]))
    said = (read(os.path.join(HERE, secret)) or b"").decode("ascii", "replace")
    if os.WIFEXITED(status) and not said.endswith(f" {child}"):
        log("early")
    log("end")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(_getpid(), number)
    code = os.WEXITSTATUS(status)
    if code == 0 and said != f"ended {child}":
        name = " ".join(["python3", *({"c": ["-c"], "m": ["-m"]}.get(kind, [])), what.split("\n")[0][:100]])
        sys.stderr.write(f"the tests' program was ended early, with exit code 0: {name}\n")
        sys.stderr.flush()
        code = EARLY
    _exit(code)


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


def child_main(passed):
    """The main program of a watched child."""
    kind, what, *arguments = sys.argv[1:]
    sys.argv = [{"c": "-c", "m": "-m"}.get(kind, what), *arguments]
    secret = _read(int(passed), 64).decode()
    os.close(int(passed))
    ending = Ending(settings(), secret)
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


def other_sitecustomize():
    """The image's own module of this name is imported as well."""
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("sitecustomize", [p for p in sys.path if os.path.abspath(p) != HERE])
    if spec is not None and spec.loader is not None:
        module = type(sys)("sitecustomize")
        module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
        spec.loader.exec_module(module)


def image_packages():
    """What the image's user has installed for itself is importable, although PYTHONUSERBASE points here."""
    import pwd
    import site

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return
    packages = "{}/.local/lib/python{}.{}/site-packages".format(home, *sys.version_info)
    if site.ENABLE_USER_SITE and os.path.isdir(packages) and not (packages + "/").startswith(settings()["root"] + "/"):
        site.addsitedir(packages)


def begin():
    """Called at the start of each interpreter: a program of the tests goes on in a child of this process."""
    if sys.version_info < (3, 8) or CHILD in os.environ:
        return
    with open("/proc/self/cmdline", "rb") as file:
        words = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    options, kind, what, arguments = command_line(words)
    known = settings()
    if kind and is_watched(kind, what, known):
        watch(words, options, kind, what, arguments, known)


if not hasattr(sys, "agent_rl_guard"):
    sys.agent_rl_guard = sys.modules[__name__]  # pyright: ignore
    image_packages()
    if __name__ == "sitecustomize":
        other_sitecustomize()
    begin()
