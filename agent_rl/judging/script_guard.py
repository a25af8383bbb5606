"""Tells whether a Python program of the tests ran to its end, inside a sandbox, where the program's own code runs too.

Each Python program that a tests' script starts (`python3 tests/check.py`, `pytest`, `python3 -c ...`) imports this file
as `sitecustomize`. It then starts the same program again as its child and waits. The child calls `child_main` (see
`watched_program`); it says that the tests' code has ended, and only then may the exit code be 0. So `os._exit(0)`,
`sys.exit(0)` and another program started in the tests' place do not end tests that would fail. A program of the
submission itself is left alone, since its exit code is its own business.

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
    said = ""
    if os.path.isfile(os.path.join(HERE, secret)):
        with open(os.path.join(HERE, secret), "rb") as file:
            said = file.read().decode("ascii", "replace")
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


def child_main():
    """The main program of a watched child."""
    passed = int(os.environ.pop(CHILD))
    secret = _read(passed, 64).decode()
    os.close(passed)
    # Not among the imported modules: the submission may have a module of this name.
    module = type(sys)("watched_program")
    module.__file__ = os.path.join(HERE, "watched_program.py")
    with open(module.__file__) as file:
        exec(compile(file.read(), module.__file__, "exec"), module.__dict__)
    module.run(settings(), secret)


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
