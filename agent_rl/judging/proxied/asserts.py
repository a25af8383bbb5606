"""Turns asserts that no list of cases can express into a hidden pytest file: the same task, at tier `proxied`.

    AssertTests ──> record_tests ──> CallTests, tier values
                        │ NotRecordable
                        └──> as_proxied ──> PytestTests, tier proxied

The tier is decided here, once, when the task is loaded, and only from its tests and its oracle solution. The decision
is kept on disk by the task's hash, beside the recordings.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_rl.cache import cache_folder
from agent_rl.errors import ConfigError
from agent_rl.joined_programs import joined
from agent_rl.judging.call_judge import CallJudge
from agent_rl.judging.judging_runs import Runs, TooSlow
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.judging.recording import NotRecordable, shown_rightly
from agent_rl.python_names import defined_by, names_used
from agent_rl.vocabulary import AssertTests, CallTests, PytestTests, Submission, Task

VERSION = 2
_FILE = "test_check.py"
_SEEDS = range(2)
"""The oracle solution has to pass with each seed: a test must not depend on one draw of random numbers."""


class NotCarried(ConfigError):
    """The oracle solution does not pass its tests at tier `proxied`: they, or it, do what does not cross."""


def kept_as_proxied(task: Task) -> Task | None:
    """The task as an earlier `as_proxied` made it; None if none is kept."""
    tests = task.tests
    try:
        kept: Any = json.loads(_path(task).read_text())
        form, shown = int(kept["form"]), {int(index) for index in kept["public"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(tests, AssertTests) or kept.get("schema_version") != VERSION or form not in (0, 1):
        return None
    public = task.public
    if isinstance(public, CallTests):
        cases = tuple(c for i, c in enumerate(public.cases) if i in shown)
        public = dataclasses.replace(public, cases=cases) if cases else None
    made = list(forms_of(tests))
    return dataclasses.replace(task, tests=made[form], tier="proxied", public=public) if form < len(made) else None


async def as_proxied(task: Task, runs: Runs, why: NotRecordable) -> Task:
    """`task` with its `AssertTests`, which cannot become cases because of `why`, as `PytestTests` of tier `proxied`.

    Raises NotCarried (naming the task) if its oracle solution does not pass them at that tier with each of two seeds.
    """
    tests = task.tests
    assert isinstance(tests, AssertTests)
    refused = ""
    for form, made in enumerate(forms_of(tests)):
        proxied = dataclasses.replace(task, tests=made, tier="proxied")
        try:
            await _passes(proxied, made, tests.oracle, runs)
        except TooSlow:
            raise
        except ConfigError as error:
            refused = refused or str(error).removeprefix(f"task {task.id}: ")
            continue
        shown = await shown_rightly(task, tests.oracle, CallJudge(runs))
        _keep(task, form, shown)
        return dataclasses.replace(proxied, public=shown.public)
    raise NotCarried(f"{why}; at tier 'proxied' {refused}")


async def _passes(task: Task, tests: PytestTests, program: str, runs: Runs) -> None:
    """Ensures that the oracle solution passes with every seed. Raises ConfigError."""
    for seed in _SEEDS:
        verdict = await ProxiedJudge(runs, seed=seed).judge(task, tests, Submission.code(program), public=True)
        if not verdict.passed:
            raise ConfigError(
                f"the oracle solution does not pass them each time ({verdict.status}): {verdict.feedback}"
            )


def forms_of(tests: AssertTests) -> Iterator[PytestTests]:
    """The asserts as a file, in two forms to try, the stricter one first.

    The first form puts the oracle's definitions into the tests' own process, as for a checker: a candidate cannot reach
    what the tests use beside the tested function. The oracle solution itself may fail this form, because its objects
    then are of other classes than the tests'. The second form takes classes and helpers from the candidate.
    """
    call = f"\n\ndef test_check():\n    import solution\n\n    check(solution.{tests.entry_point})\n"
    for source in (joined(tests.oracle, tests.source), _with_solutions_names(tests)):
        if source is not None:
            yield PytestTests(
                {_FILE: (source + call).encode()},
                (f"{_FILE}::test_check",),
                oracle={"solution.py": tests.oracle.encode()},
            )


def _with_solutions_names(tests: AssertTests) -> str | None:
    """The tests' source, which imports the oracle's names that it uses from the solution; None if it uses none."""
    try:
        module, oracle = ast.parse(tests.source), ast.parse(tests.oracle)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    known = {name for statement in oracle.body for name in defined_by(statement)}
    # A class that the oracle defines too (since every program is given it) is taken from the solution.
    module.body = [s for s in module.body if not (isinstance(s, ast.ClassDef) and s.name in known)]
    own = {name for statement in module.body for name in defined_by(statement)}
    wanted = sorted((names_used(module) & known) - own)
    if not wanted:
        return None
    imports = [s for s in oracle.body if isinstance(s, (ast.Import, ast.ImportFrom))]
    lines = [*map(ast.unparse, imports), f"from solution import {', '.join(wanted)}", ast.unparse(module)]
    future = [line for line in lines if line.startswith("from __future__")]
    return "\n".join([*future, *(line for line in lines if line not in future)])


def _path(task: Task) -> Path:
    return cache_folder() / "recorded" / f"{task.hash}-proxied-{VERSION}.json"


def _keep(original: Task, form: int, made: Task) -> None:
    """Writes the decision to disk, whole or not at all; a cache that cannot be written is not an error."""
    shown = made.public.cases if isinstance(made.public, CallTests) else ()
    public = original.public.cases if isinstance(original.public, CallTests) else ()
    content = {
        "schema_version": VERSION,
        "task": original.id,
        "form": form,
        "public": [index for index, case in enumerate(public) if case in shown],
    }
    file = _path(original)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{secrets.token_hex(4)}.part")
        part.write_text(json.dumps(content))
        part.replace(file)
    except OSError:
        return
