"""Turns tests written as code into cases, once, at load: the test body calls a recorder around the oracle solution.

All code of a data set runs in a sandbox; this module only parses the test source. Recordings are kept on disk by the
task's hash, under `~/.cache/agent-rl/recorded` (`AGENT_RL_CACHE` replaces `~/.cache/agent-rl`).
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent_rl.cache import cache_folder
from agent_rl.errors import ConfigError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.call_judge import CallJudge
from agent_rl.judging.checker_programs import SEED, Recorded, answers_of, bare_request, following_request, satisfied
from agent_rl.judging.judging_runs import Runs, check_room
from agent_rl.judging.recorder_program import ENTRY_POINT, REFUSED, checker_of, recorder_of
from agent_rl.judging.result_frames import Answer, Raised, Returned, Tampered, Unheld, read_frames, value_of
from agent_rl.vocabulary import (
    AssertTests,
    CallTests,
    Case,
    Limits,
    RunCall,
    RunRequest,
    RunResult,
    Submission,
    Task,
    wording,
)
from agent_rl.vocabulary.canonical import NotCanonical, decode, encode
from agent_rl.vocabulary.stand_ins import Derived, EnumMember, Items, Record

VERSION = 5
"""Version of the recorded content and of its format; part of a recording's key on disk."""
RECORDING_LIMITS = Limits(wall_seconds=60.0, cpu_seconds=60.0, memory_bytes=2**30, output_bytes=4 * 2**20)
_FOLLOWING_LIMITS = Limits(wall_seconds=30.0, cpu_seconds=30.0, memory_bytes=2**30, output_bytes=4 * 2**20)
MAX_SOURCE_CHARS = 1 << 20
NOT_CASES = "its tests cannot be recorded as cases"
_SEEDS = range(2)
"""The oracle solution must pass with the order of calls from each seed: a case cannot depend on earlier calls."""
_APPROXIMATE = frozenset({"approx", "isclose", "allclose", "ANY", "assertAlmostEqual"})
_REPLACING = re.compile(r"patch|sleep|\btime\.\w+ =")
_MOST_SECONDS = RECORDING_LIMITS.wall_seconds / 6
"""Tests that take longer than this many seconds are not run again to find out what they look at."""
_CHECK_FAILED = re.compile(r"__agent_rl_check_failed__: (\d+) (.*)", re.DOTALL)


class NotRecordable(ConfigError):
    """The oracle solution passes its tests as they are written, but no list of cases can express them.

    Either a value cannot be copied or put in canonical form, or the tests look at more than values: an argument's state
    after the call, an object's identity, earlier calls, what a class of the solution defines. Or what they call depends
    on answers, so that a right program that answers otherwise would be called as nobody has recorded.
    """


async def record_tests(task: Task, runs: Runs, *, cache: bool = True) -> Task:
    """`task` with its `AssertTests` as `CallTests`, and without the public cases that the oracle solution fails.

    If every use of the tested function is one side of an asserted `==`, the recorded values are the expected ones
    (comparison `python`). Otherwise the data set's own check, with the oracle's definitions, becomes the checker.
    Raises ConfigError (naming the task) if the oracle solution fails its tests or nothing was recorded, and
    NotRecordable if the tests are good but cannot become cases.
    """
    tests = task.tests
    if not isinstance(tests, AssertTests):
        return task
    file = cache_folder() / "recorded" / f"{task.hash}-{VERSION}.json"
    if cache:
        kept = _read(file, task, tests)
        if kept is not None:
            return kept
    calls, plain, seconds = await _record(task.id, tests, runs)
    if not plain and (why := await _follows_answers(tests, calls, runs)):
        raise NotRecordable(f"task {task.id}: {NOT_CASES} ({why})")
    if not plain and await _uses_own_classes(tests, calls, runs):
        raise NotRecordable(f"task {task.id}: {NOT_CASES} (they use what a class of the solution defines)")
    # A case knows nothing of what the tests replace while they call, such as `time.sleep`.
    replaced = seconds < task.limits.wall_seconds / 2 and _REPLACING.search(tests.source) is not None
    recorded = dataclasses.replace(task, tests=_as_cases(task.id, tests, calls, plain))
    for seed in _SEEDS:
        recorded = await _checked(recorded, tests.oracle, CallJudge(runs, seed=seed), replaced=replaced)
    await _refuse_vacuous(recorded, CallJudge(runs))
    if cache:
        _write(file, task, recorded)
    return recorded


async def _record(task_id: str, tests: AssertTests, runs: Runs) -> tuple[list[Recorded], bool, float]:
    """Every call that the test body makes, with the oracle solution's outcome; whether it is the expected value of a
    case: the tests do nothing but compare it, and whatever equals it equals what it was compared with; and how long the
    recording took."""
    if not tests.entry_point.isidentifier():
        raise ConfigError(f"task {task_id}: {tests.entry_point!r} is not the name of a function", key="entry_point")
    program = recorder_of(tests, _MOST_SECONDS)
    call_id = secrets.token_hex(8)
    call = RunCall(call_id, encode([(), {}]))
    request = RunRequest(program, ENTRY_POINT, (call,), limits=RECORDING_LIMITS, seed=SEED)
    result = await runs.run(request)
    failed = f"task {task_id}: the tests could not be recorded with the oracle solution:"
    if isinstance(result, Blamed):
        raise ConfigError(f"{failed} {result.detail}")
    try:
        answers = read_frames(result.frames, [call_id])
        answer = answers.by_id.get(call_id)
        value = value_of(answer) if isinstance(answer, Returned) else None
    except Tampered as error:
        raise ConfigError(f"{failed} {error}") from None
    if value is None or result.status != "completed":
        if refusal := _refusal(answer):
            raise NotRecordable(f"task {task_id}: {NOT_CASES} ({refusal})")
        raise ConfigError(f"{failed} {_why(result, answers.load_error, answer, program)}")
    calls, unlike, arguments_asserted = value
    if not calls:
        raise ConfigError(f"task {task_id}: its tests never call {tests.entry_point}, so that every program would pass")
    if arguments_asserted:
        raise NotRecordable(f"task {task_id}: {NOT_CASES} (they look at what a call has left in its arguments)")
    plain = asserts_equality_only(tests.source) and not unlike and all(failure is None for _, _, failure, _ in calls)
    return calls, plain, result.seconds


async def _follows_answers(tests: AssertTests, calls: Sequence[Recorded], runs: Runs) -> str:
    """Why the check cannot be known to make no other calls than those recorded once it gets other answers, or "".

    It is tried with a few. Where that fails, nothing is known.
    """
    call_id = secrets.token_hex(8)
    try:
        request = following_request(checker_of(tests), tests.source, calls, _FOLLOWING_LIMITS, call_id)
    except NotCanonical as error:
        return f"they cannot be tried with other answers: {error}"
    answers, missing = answers_of(await runs.run(request), [call_id])
    if missing:
        return f"they cannot be tried with other answers: {missing}"
    return "" if answers[call_id] == Returned("false") else "what they call depends on earlier answers"


async def _uses_own_classes(tests: AssertTests, calls: Sequence[Recorded], runs: Runs) -> bool:
    """Whether the check needs more of an answer than what it holds: a method, a field's name, a member of an enum.

    A replay could take that from the oracle solution's class only, whatever the candidate's class does.
    """
    if not any(_of_own_class(value) for _, _, failure, value in calls if failure is None):
        return False
    call_id = secrets.token_hex(8)
    try:
        result = await runs.run(bare_request(checker_of(tests), calls, _FOLLOWING_LIMITS, call_id))
        return isinstance(result, Blamed) or not satisfied(read_frames(result.frames, [call_id]), call_id)
    except (NotCanonical, Tampered):
        return True


def _of_own_class(value: Any) -> bool:
    """Whether `value` is, or holds, an instance of a class that is not a built-in one."""
    if isinstance(value, (Derived, EnumMember, Record)):
        return True
    if isinstance(value, Mapping):
        pairs: Any = value.items()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return any(_of_own_class(part) for pair in pairs for part in pair)
    if isinstance(value, Items):
        return _of_own_class(value.content)
    return isinstance(value, (list, tuple, set, frozenset, deque)) and any(map(_of_own_class, value))  # pyright: ignore


def _refusal(answer: Answer | None) -> str:
    """What could not be recorded, in words: `no canonical value: type function`; empty if that was not the reason."""
    if isinstance(answer, Unheld):
        return f"no canonical value: {wording.last_line(answer.why)}"
    if isinstance(answer, Raised) and answer.error.startswith(REFUSED):
        return wording.last_line(answer.failure.text)
    return ""


def _why(result: RunResult, load_error: str | None, answer: Any, program: str) -> str:
    if load_error is not None:
        return wording.last_line(load_error)
    if isinstance(answer, Raised):
        found = _CHECK_FAILED.match(answer.error)
        if found is None:
            return wording.last_line(answer.error)
        line = program.splitlines()[int(found[1]) - 1 :][:1] if int(found[1]) else []
        return f"{wording.last_line(found[2])}{''.join(f' ({wording.printable(text.strip())})' for text in line)}"
    return result.status.replace("_", " ") if result.status != "completed" else "the program ended early"


def _as_cases(task_id: str, tests: AssertTests, calls: Sequence[Recorded], plain: bool) -> CallTests:
    """The calls as cases: each distinct call once if values are compared (`plain`), all of them for a checker."""
    if not plain:
        cases = tuple(Case(args, value, kwargs) for args, kwargs, _, value in calls)
        return CallTests(tests.entry_point, cases, "checker", checker=checker_of(tests))
    distinct = {encode([args, kwargs, value]): Case(args, value, kwargs) for args, kwargs, _, value in calls}
    if len({encode([case.args, dict(case.kwargs)]) for case in distinct.values()}) < len(distinct):
        raise NotRecordable(f"task {task_id}: {NOT_CASES} (equal calls give different values)")
    return CallTests(tests.entry_point, tuple(distinct.values()), "python")


async def _checked(task: Task, oracle: str, judge: CallJudge, *, replaced: bool) -> Task:
    """`task` without the public cases that its oracle solution fails.

    replaced: the tests may replace what the oracle solution waits for.
    Raises ConfigError (naming the task) if the oracle solution fails the hidden cases or is too close to the time
    limit.
    """
    assert isinstance(task.tests, CallTests)
    verdict = await judge.judge(task, task.tests, Submission.code(oracle), public=False)
    if not verdict.passed:
        reasons = "; ".join(t.detail for t in verdict.tests if not t.passed)
        if verdict.status == "timeout" and replaced:
            why = "the oracle solution waits for what they replace"
            raise NotRecordable(f"task {task.id}: {NOT_CASES} ({why}: {reasons})")
        check_room(task, verdict.limited_seconds)
        if verdict.status == "failed":
            raise NotRecordable(f"task {task.id}: {NOT_CASES} (the oracle solution does not pass these: {reasons})")
        raise ConfigError(
            f"task {task.id}: the oracle solution does not pass its own tests ({verdict.status}): {reasons}"
        )
    check_room(task, verdict.limited_seconds)
    return await shown_rightly(task, oracle, judge)


async def _refuse_vacuous(task: Task, judge: CallJudge) -> None:
    """Raises ConfigError (naming the task) if a function that does nothing passes its tests: they test nothing."""
    tests = task.tests
    assert isinstance(tests, CallTests)
    if tests.comparison != "checker" and any(case.expected is not None for case in tests.cases):
        return
    nothing = Submission.code(f"def {tests.entry_point}(*args, **kwargs):\n    return None\n")
    if (await judge.judge(task, tests, nothing, public=False)).passed:
        raise ConfigError(f"task {task.id}: a function that does nothing passes its tests, so that they test nothing")


async def shown_rightly(task: Task, oracle: str, judge: CallJudge) -> Task:
    """`task` without the public cases that its oracle solution fails."""
    if not isinstance(task.public, CallTests) or not task.public.cases:
        return task
    shown = await judge.judge(task, task.public, Submission.code(oracle), public=True)
    right = tuple(c for c, t in zip(task.public.cases, shown.tests, strict=False) if t.passed)
    if len(right) == len(task.public.cases):
        return task
    return dataclasses.replace(task, public=dataclasses.replace(task.public, cases=right) if right else None)


def asserts_equality_only(source: str) -> bool:
    """Whether `check(candidate)` uses `candidate` only in `assert candidate(...) == expression` (on either side).

    If so, the oracle solution's return values are the expected values. Loops, helpers and messages are allowed; classes
    (which may define their own ==), handled exceptions and approximate comparisons are not.
    """
    if len(source) > MAX_SOURCE_CHARS:
        return False
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    functions = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "check"]
    if len(functions) != 1 or len(functions[0].args.args) != 1:
        return False
    name = functions[0].args.args[0].arg
    allowed: set[ast.AST] = set()
    uses: list[ast.AST] = []
    for node in ast.walk(module):
        if isinstance(node, (ast.ClassDef, ast.Try, ast.With, ast.Global)):
            return False
        if isinstance(node, (ast.Name, ast.Attribute, ast.alias)) and _named(node) in _APPROXIMATE:
            return False
        if isinstance(node, ast.Name) and node.id == name:
            uses.append(node)
        if isinstance(node, ast.Assert):
            allowed.update(_plain_uses(node, name))
    return all(use in allowed for use in uses)


def _named(node: ast.Name | ast.Attribute | ast.alias) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else node.name


def _plain_uses(statement: ast.Assert, name: str) -> set[ast.AST]:
    """The plain uses of `name`: in the message, or called as one side of an == whose other side does not use it."""
    plain: set[ast.AST] = set() if statement.msg is None else set(_uses(statement.msg, name))
    test = statement.test
    for part in test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]:
        if not (isinstance(part, ast.Compare) and len(part.ops) == 1 and isinstance(part.ops[0], ast.Eq)):
            continue
        sides = part.left, part.comparators[0]
        for side, other in (sides, sides[::-1]):
            if isinstance(side, ast.Call) and len(_uses(side, name)) == 1 and not _uses(other, name):
                plain.update(use for use in _uses(side, name) if use is side.func)
    return plain


def _uses(node: ast.AST, name: str) -> list[ast.AST]:
    return [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == name]


def _read(file: Path, task: Task, tests: AssertTests) -> Task | None:
    """The recorded task, or None if the file is missing or incomplete."""
    try:
        kept = json.loads(file.read_text())
        cases = tuple(Case(args, value, kwargs) for args, kwargs, value in decode(kept["cases"]))
        public = task.public
        if isinstance(public, CallTests):
            indices = set(kept["public"])
            right = tuple(c for i, c in enumerate(public.cases) if i in indices)
            public = dataclasses.replace(public, cases=right) if right else None
        plain = kept["comparison"] == "python"
    except (OSError, ValueError, KeyError, TypeError, NotCanonical):
        return None
    if not cases:
        return None
    checker = "" if plain else checker_of(tests)
    recorded = CallTests(tests.entry_point, cases, "python" if plain else "checker", checker=checker)
    return dataclasses.replace(task, tests=recorded, public=public)


def _write(file: Path, original: Task, recorded: Task) -> None:
    """Writes the recording to disk, whole or not at all; a cache that cannot be written is not an error."""
    tests, public = recorded.tests, original.public
    assert isinstance(tests, CallTests)
    shown = recorded.public.cases if isinstance(recorded.public, CallTests) else ()
    indices = [i for i, c in enumerate(public.cases) if c in shown] if isinstance(public, CallTests) else []
    try:
        content = {
            "schema_version": VERSION,
            "task": original.id,
            "comparison": tests.comparison,
            "cases": encode([(c.args, dict(c.kwargs), c.expected) for c in tests.cases]),
            "public": indices,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{secrets.token_hex(4)}.part")
        part.write_text(json.dumps(content))
        part.replace(file)
    except (OSError, NotCanonical):
        return
