"""Finds the modules that an oracle solution needs and its sandbox lacks, before honest programs fail for want of them.

Tests that are cases are compared without the oracle solution, so nothing else says at load that a package is missing.
"""

from __future__ import annotations

import ast
import asyncio
import re
import secrets
import sys
from collections.abc import Iterator

from agent_rl.errors import SandboxError
from agent_rl.joined_programs import parsed
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.missing_package import is_ours
from agent_rl.judging.result_frames import Returned, Tampered, read_frames, value_of
from agent_rl.vocabulary import RunCall, RunRequest, StdioTests, Task
from agent_rl.vocabulary.canonical import encode

_FENCE = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*)\n```\s*", re.DOTALL | re.IGNORECASE)
_LOOK = """
import sys
from importlib.util import find_spec

def missing(names):
    return [name for name in names if name not in sys.modules and find_spec(name) is None]
"""


class ImportedModules:
    """Says which modules the workers lack; each is looked for once. No module is imported for that."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._there: dict[str, bool] = {}
        self._one_at_a_time = asyncio.Lock()

    async def missing(self, task: Task) -> list[str]:
        """The modules that the oracle solution imports and the workers lack. Raises SandboxError."""
        programs = [str(task.metadata.get("before", "")), "" if task.oracle is None else _program(task.oracle)]
        as_main = isinstance(task.tests, StdioTests)
        names = sorted({name for program in programs for name in imported(program, as_main=as_main)})
        async with self._one_at_a_time:
            unknown = [name for name in names if name not in self._there]
            if unknown:
                lacking = await self._look(unknown)
                self._there.update({name: name not in lacking for name in unknown})
        return [name for name in names if not self._there[name]]

    async def _look(self, names: list[str]) -> list[str]:
        call = RunCall(secrets.token_hex(8), encode([(names,), {}]))
        result = await self._runs.run(RunRequest(_LOOK, "missing", (call,)))
        try:
            answer = read_frames(getattr(result, "frames", ()), [call.id]).by_id.get(call.id)
            found = value_of(answer) if isinstance(answer, Returned) else None
        except Tampered:
            found = None
        if not isinstance(found, list):
            raise SandboxError(f"a worker did not say which of these modules it has: {', '.join(names)}")
        return [name for name in names if name in found]


def imported(program: str, *, as_main: bool = True) -> set[str]:
    """The top-level modules outside the standard library that a run of `program` has to import.

    What may be left out is not among them: an import below `if`, inside `try` or where errors are suppressed, and,
    unless it is run `as_main`, below `if __name__ == "__main__"`. Nothing if it is not Python.
    """
    tree = parsed(program)
    if isinstance(tree, SyntaxError):
        return set()
    names = {name.partition(".")[0] for statement in _certain(tree, as_main) for name in _names(statement)}
    return {name for name in names if name not in sys.stdlib_module_names and not is_ours(name)}


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and not statement.level:
        return [statement.module or ""]
    return []


def _certain(tree: ast.Module, as_main: bool) -> Iterator[ast.stmt]:
    """The statements that no other one guards; the bodies of functions and classes are among them."""
    left: list[ast.stmt] = [*tree.body]
    while left:
        statement = left.pop()
        yield statement
        if isinstance(statement, ast.If):
            left += statement.body if as_main and "__name__" in ast.unparse(statement.test) else []
        elif isinstance(statement, ast.With):
            suppresses = any("suppress" in ast.unparse(item.context_expr) for item in statement.items)
            left += [] if suppresses else statement.body
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While)):
            left += statement.body


def _program(oracle: str) -> str:
    """The program in a reply, as data sets' readers write it: one fenced block, or nothing else."""
    fence = _FENCE.fullmatch(oracle.strip())
    return fence[1] if fence else oracle
