"""Watches tests and oracle solutions while they run in a sandbox: do they use a network, and do they test anything?

A probe is a program around the data set's own code. Its report is only shown to the user; nothing depends on it.
"""

from __future__ import annotations

import ast
import re
import secrets
from dataclasses import dataclass
from typing import TypeGuard

from agent_rl.audit.oracle_program import parsed
from agent_rl.contracts import SandboxProvider
from agent_rl.judging import Returned, Tampered, pytest_for, read_frames, run_or_blame, run_pair_or_blame, value_of
from agent_rl.vocabulary import (
    AssertTests,
    CallTests,
    Limits,
    PairRequest,
    PairResult,
    PytestTests,
    RunCall,
    RunRequest,
    RunResult,
    StdioTests,
    Tests,
)
from agent_rl.vocabulary.canonical import NotCanonical, encode
from agent_rl.vocabulary.wording import printable

NETWORK_MODULES = frozenset(
    {"socket", "ssl", "urllib", "http", "ftplib", "smtplib", "poplib", "imaplib", "telnetlib", "requests", "httpx"}
    | {"aiohttp", "urllib3", "websocket", "websockets", "paramiko", "boto3", "wget", "huggingface_hub"}
)
PROBE_LIMITS = Limits(wall_seconds=20.0, cpu_seconds=20.0, memory_bytes=2**30)
_NETWORK_PROGRAM = re.compile(r"\b(curl|wget|pip3? install|apt-get|git clone|npm install)\b")
_MOST_CALLS, _MOST_RUNS = 64, 4
_HOOK = """
def __agent_rl_watch__(token):
    import os
    import sys

    def local(host):
        return isinstance(host, (str, bytes)) and str(host).strip("b'").startswith(("127.", "localhost", "::1"))

    def hook(event, args):
        try:
            where = None
            if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
                where = args[1][0]
            elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
                where = args[0]
            elif event == "subprocess.Popen" and os.path.basename(str(args[0])) in ("curl", "wget", "ping"):
                where = os.path.basename(str(args[0]))
            if where is not None and not local(where):
                os.write(2, ("\\n%s %s %s\\n" % (token, event, ascii(where)[:100])).encode())
        except Exception:
            pass

    sys.addaudithook(hook)

__agent_rl_watch__({token!r})
del __agent_rl_watch__
"""
_LOAD = "exec(compile({source!r}, 'solution.py', 'exec', dont_inherit=True), globals())\n"
_ASSERTS = """
def __agent_rl_asserts__():
    import ast
    import random

    source = {source!r}
    tree = ast.parse(source)
    outcomes = {{}}

    class Noted(ast.NodeTransformer):
        def visit_Assert(self, node):
            self.generic_visit(node)
            note = ast.Expr(ast.Call(ast.Name("__agent_rl_note__", ast.Load()), [
                ast.Constant(node.lineno), ast.Constant(node.col_offset),
                ast.Call(ast.Name("bool", ast.Load()), [node.test], []),
            ], []))
            passing = ast.ExceptHandler(ast.Name("Exception", ast.Load()), None, [ast.Pass()])
            return ast.Try([note], [passing], [], [])

    def note(line, column, outcome):
        outcomes.setdefault((line, column), []).append((kind, outcome))

    code = compile(ast.fix_missing_locations(Noted().visit(tree)), "tests.py", "exec", dont_inherit=True)

    def impostor(make):
        answers = {{}}

        def candidate(*args, **kwargs):
            key = repr((args, kwargs))
            if key not in answers:
                answers[key] = make()
            return answers[key]

        return candidate

    class Thing:
        # Has every attribute and item, can be called, and equals itself alone.
        def __init__(self, parts=None):
            self.__dict__["parts"] = {{}} if parts is None else parts

        def part(self, key):
            return self.parts.setdefault(key, self if "itself" in self.parts else Thing())

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return self.part(name)

        def __getitem__(self, key):
            return self.part(repr(key))

        def __call__(self, *args, **kwargs):
            return self.part(repr((args, kwargs)))

    one = Thing({{"itself": True}})

    def numbers(draw):
        return [draw.randrange(1000) for _ in range(5)]

    kinds = {{
        "None": lambda draw: None,
        "object": lambda draw: object(),
        "thing": lambda draw: Thing(),
        "one thing": lambda draw: one,
        "int": lambda draw: draw.randrange(10**6),
        "str": lambda draw: "".join(map(str, numbers(draw))),
        "list": numbers,
    }}
    try:
        globals()["check"](globals().get({entry_point!r}))
    except Exception:
        pass
    for kind, make in kinds.items() if {impostors!r} else ():
        for seed in range(4):
            draw = random.Random(seed)
            random.seed(0)
            module = {{**globals(), "__agent_rl_note__": note}}
            try:
                exec(code, module)
                module["check"](impostor(lambda: make(draw)))
            except Exception:
                continue
    return [
        [line, column]
        for (line, column), seen in sorted(outcomes.items())
        if len(set(kind for kind, _ in seen)) > 1 and all(outcome for _, outcome in seen)
    ]
"""

_ONCE = """
def __agent_rl_once__():
    globals()["check"](globals()[{entry_point!r}])
    return True


def __agent_rl_uncalled__():
    def candidate(*args, **kwargs):
        raise AssertionError

    globals()["check"](candidate)
    return True
"""


async def network_use(provider: SandboxProvider, program: str, tests: Tests, limits: Limits) -> str:
    """The host that the program tries to reach, on the tests' inputs and without a network; empty if there is none.

    Tests of tier `in_process` are not tried: they run the program in places of their own.
    """
    if isinstance(tests, StdioTests):
        return await _network_use_of_runs(provider, program, tests, limits)
    if isinstance(tests, PytestTests):
        return await _Probe(provider).pair(program, tests, limits)
    if not isinstance(tests, CallTests):
        return ""
    try:
        calls = tuple(
            RunCall(secrets.token_hex(8), encode([c.args, dict(c.kwargs)])) for c in tests.cases[:_MOST_CALLS]
        )
    except NotCanonical:
        return ""
    probe = _Probe(provider)
    await probe.run(_LOAD.format(source=program), tests.entry_point, calls, limits)
    return probe.network


async def _network_use_of_runs(provider: SandboxProvider, program: str, tests: StdioTests, limits: Limits) -> str:
    probe = _Probe(provider)
    for case in tests.cases[:_MOST_RUNS]:
        stdin = case.stdin.encode("utf-8", "replace") if isinstance(case.stdin, str) else case.stdin
        await probe.run(_LOAD.format(source=program), None, (), limits, stdin=stdin)
    return probe.network


async def vacuous_asserts(
    provider: SandboxProvider, source: str, oracle: str, entry_point: str
) -> tuple[list[str], str]:
    """(the assertions of `check` in `source` that compare the candidate with itself, the host that its run asks for).

    Such an assertion has the tested function on both sides of a comparison, and holds for every deterministic
    function: this is tried with functions that return objects, numbers, texts and lists. `oracle` is the program that
    defines `entry_point` and the other names that the tests use.
    """
    suspects = _suspects(source)
    program = _LOAD.format(source=oracle) + pytest_for(source) + _LOAD.format(source=source)
    program += _ASSERTS.format(source=source, entry_point=entry_point, impostors=bool(suspects))
    probe = _Probe(provider)
    value = await probe.call(program, "__agent_rl_asserts__", 0)
    found = {tuple(place) for place in value if isinstance(place, list)} if isinstance(value, list) else set()
    return [text for place, text in suspects.items() if place in found], probe.network


@dataclass(frozen=True, slots=True)
class AsWritten:
    """The behaviour of tests that are run unchanged, without recording.

    passed: how often the oracle solution passed. uncalled: whether they pass a candidate that only raises. network: the
    host that they or the oracle solution try to reach.
    """

    passed: int
    uncalled: bool
    network: str


async def run_as_written(provider: SandboxProvider, tests: AssertTests, times: int) -> AsWritten:
    """The behaviour of the tests with their oracle solution in `times` runs, each with another seed."""
    program = _LOAD.format(source=tests.oracle) + pytest_for(tests.source) + _LOAD.format(source=tests.source)
    program += _ONCE.format(entry_point=tests.entry_point)
    passed, network = 0, ""
    for seed in range(times):
        probe = _Probe(provider)
        passed += await probe.call(program, "__agent_rl_once__", seed) is True
        network = network or probe.network
    uncalled = await _Probe(provider).call(program, "__agent_rl_uncalled__", 0) is True
    return AsWritten(passed, uncalled, network)


class _Probe:
    """One watched run of a program. `network`: the first host that it tried to reach, and the call that it used."""

    def __init__(self, provider: SandboxProvider) -> None:
        self._provider = provider
        self._token = secrets.token_hex(16)
        # If runs share this process, the hook could not be removed again.
        self._hook = "" if provider.isolation == "memory" else _HOOK.format(token=self._token)
        self.network = ""

    async def run(
        self,
        program: str,
        entry_point: str | None,
        calls: tuple[RunCall, ...],
        limits: Limits,
        seed: int = 0,
        stdin: bytes = b"",
    ) -> RunResult | None:
        """The result of the run; None if the program ended its worker."""
        request = RunRequest(self._hook + program, entry_point, calls, stdin=stdin, limits=limits, seed=seed)
        result = await run_or_blame(self._provider, request, retries=2)
        if not isinstance(result, RunResult):
            return None
        self._look(result)
        return result

    async def pair(self, program: str, tests: PytestTests, limits: Limits) -> str:
        """The host that the program, or tests that use it from outside, try to reach."""
        files = {
            path: _watched(source, self._hook) if path.endswith(".py") else source
            for path, source in tests.files.items()
        }
        # Statements that must come first in the program still come first.
        request = PairRequest(
            _watched(program.encode(), self._hook).decode(), files, tests.tests, tests.module, None, limits
        )
        result = await run_pair_or_blame(self._provider, request, retries=2)
        for run in (result.candidate, result.tests) if isinstance(result, PairResult) else ():
            self._look(run)
        return self.network

    def _look(self, result: RunResult) -> None:
        """Records the hook's report."""
        for line in result.stderr.decode("utf-8", "replace").splitlines():
            if line.startswith(self._token):
                self.network = self.network or printable(line.removeprefix(self._token).strip(), 120)

    async def call(self, program: str, entry_point: str, seed: int) -> object:
        """The value that `entry_point()` returned; None if it raised or was never reached."""
        call_id = secrets.token_hex(8)
        result = await self.run(program, entry_point, (RunCall(call_id, encode([(), {}])),), PROBE_LIMITS, seed)
        if result is None:
            return None
        try:
            answer = read_frames(result.frames, [call_id]).by_id.get(call_id)
            return value_of(answer) if isinstance(answer, Returned) else None
        except Tampered:
            return None


def _watched(source: bytes, hook: str) -> bytes:
    """The source with `hook` run first. The hook is one statement, put on the first line where one is allowed."""
    tree = parsed(source.decode("utf-8", "replace"))
    if not hook or tree is None:
        return source
    first = f"exec({hook!r})\n".encode()
    ends = [s.end_lineno or 0 for s in tree.body if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    lines = source.splitlines(keepends=True)
    at = max(ends, default=0)
    return b"".join([*lines[:at], b"\n" if at and not lines[at - 1].endswith(b"\n") else b"", first, *lines[at:]])


def identical_sides(source: str) -> list[str]:
    """The assertions in `source` that compare a call with the identical expression. `source` is only parsed."""
    tree = parsed(source)
    found: list[str] = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Assert) and _says_equal(node.test):
            sides = node.test.left, node.test.comparators[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) >= 2:
            sides = (node.args[0], node.args[1]) if node.func.attr in ("assertEqual", "assertEquals") else None
        else:
            sides = None
        if sides is None or ast.dump(sides[0]) != ast.dump(sides[1]):
            continue
        if any(isinstance(n, (ast.Call, ast.Name)) for n in ast.walk(sides[0])):
            found.append(printable(ast.unparse(node), 120))
    return found


def _says_equal(test: ast.expr) -> TypeGuard[ast.Compare]:
    """Whether `test` is one comparison that holds for every value with itself."""
    equal = (ast.Eq, ast.Is, ast.LtE, ast.GtE)
    return isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], equal)


def network_calls(script: str) -> list[str]:
    """The network programs that a shell script names. This is only a hint."""
    return sorted(set(_NETWORK_PROGRAM.findall(script)))


def network_imports(*sources: str) -> list[str]:
    """The network modules that the sources import. This is only a hint, because an import alone uses no network."""
    found: set[str] = set()
    for tree in map(parsed, sources):
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return sorted(found & NETWORK_MODULES)


def _suspects(source: str) -> dict[tuple[int, int], str]:
    """(line, column) -> text of the assertions that compare two values which both come from the tested function."""
    tree = parsed(source)
    if tree is None:
        return {}
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    made = {a.arg for f in functions for a in f.args.args}
    before = -1
    while len(made) > before:
        before = len(made)
        for node in ast.walk(tree):
            value = getattr(node, "value", None) or getattr(node, "iter", None)
            targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
            if isinstance(value, ast.AST) and _uses(value, made):
                made |= {
                    n.id for t in targets if isinstance(t, ast.AST) for n in ast.walk(t) if isinstance(n, ast.Name)
                }
    suspects: dict[tuple[int, int], str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and any(_with_itself(n, made) for n in ast.walk(node.test)):
            suspects[node.lineno, node.col_offset] = printable(ast.unparse(node), 120)
    return suspects


def _with_itself(node: ast.AST, made: set[str]) -> bool:
    if not isinstance(node, ast.Compare):
        return False
    return _uses(node.left, made) and all(_uses(c, made) for c in node.comparators)


def _uses(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node))
