"""Runs a task's tests in the process of a variant of its oracle solution: one child process for each variant.

This module runs inside the sandboxes, as the program of a run: standard library only, Python 3.9. It decides nothing
about a submission: no submission is anywhere near it.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

from agent_rl.judging.blind_spots import oracle_variants
from agent_rl.judging.proxied.tests_runner import HiddenTestsRunner, write_files

_MOST_BYTES = 1 << 16


class _InProcess:
    """What `HiddenTestsRunner` needs of a session: here the solution is a module of the same process."""

    def __init__(self, program: str) -> None:
        self.tampered = None
        self.spoiled: list[str] = []
        self.reduced: list[str] = []
        self.seen: set[str] = set()
        self.loaded = types.ModuleType("")
        self._program = program

    def patch(self, module: str, name: str, value: Any) -> None:
        """Nothing: what the tests patch is patched for the solution already."""

    def undo(self) -> None:
        """Nothing."""

    def module(self, name: str, watched: "list[str]", *, concurrent: bool = False) -> types.ModuleType:
        module = self.create_module(ModuleSpec(name, self))  # pyright: ignore[reportArgumentType]
        # Set before it is executed: dataclasses and others look their module up.
        sys.modules[name] = module
        self.exec_module(module)
        return module

    # The loader of the solution, as the import system calls it

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        self.loaded = types.ModuleType(spec.name)
        self.loaded.__file__ = "solution.py"
        self.loaded.__spec__ = spec
        return self.loaded

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._program, "solution.py", "exec", dont_inherit=True), module.__dict__)


def run_variants(
    files: "dict[str, bytes]", tests: "list[str]", module: str, oracle: str, ending: str, seconds: float
) -> "tuple[list[str], bool]":
    """(the kinds of variants of the oracle solution that the tests fail, whether all were tried).

    No kind is tried if the tests fail the oracle solution itself. `ending` is code that turns the oracle solution
    before it into a variant: `{kind}` stands for the kind. All runs together take `seconds` at most, and one a sixth of
    it, so that a variant which hangs leaves time for the others.
    """
    write_files(files)
    end = time.monotonic() + seconds
    late: list[str] = []

    def outcome(kind: str) -> "dict[str, Any]":
        program = oracle + ending.replace("{kind}", repr(kind))
        left = min(seconds / 6, end - time.monotonic())
        found = _in_child(lambda: _outcome(files, tests, module, program), left) if left > 0 else {}
        if not found:
            late.append(kind)
        return found

    looked = outcome(oracle_variants.LOOKS)
    if looked.get("failed", True):
        return [], not late
    kinds = [kind for kind in oracle_variants.VALUES if kind in looked["applies"]]
    kinds += [oracle_variants.CALLS_PATCHED, oracle_variants.RETURNS_SAME]
    if outcome(oracle_variants.ALL_EFFECTS).get("failed", True):
        kinds += oracle_variants.EFFECTS
    late.clear()
    failed = [kind for kind in kinds if outcome(kind).get("failed", False)]
    return failed, not late


def _outcome(files: "dict[str, bytes]", tests: "list[str]", module: str, program: str) -> "dict[str, Any]":
    """failed: whether a test fails, or does not run. applies: what the variant `LOOKS` found."""
    reports: list[dict[str, Any]] = []
    session: Any = _InProcess(program)
    HiddenTestsRunner(files, frozenset(tests), session, lambda text: reports.append(json.loads(text))).run(module)
    outcomes = {report["test"]: report["outcome"] for report in reports if "test" in report}
    failed = any(outcomes.get(test) != "passed" for test in tests)
    return {"failed": failed, "applies": sorted(session.loaded.__dict__.get("__agent_rl_applies__", ()))}


def _in_child(work: "Callable[[], dict[str, Any]]", seconds: float) -> "dict[str, Any]":
    """What `work` returns in a child process; failed if the child dies, empty if it takes longer than `seconds`."""
    source, target = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(source)
        answer = {"failed": True}
        try:
            answer = work()
        finally:
            os.write(target, json.dumps(answer).encode())
            os._exit(0)
    os.close(target)
    ready, _, _ = select.select([source], [], [], seconds)
    answer = os.read(source, _MOST_BYTES) if ready else b"{}"
    os.close(source)
    for group in (-child, child):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(group, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(answer) if answer else {"failed": True}
