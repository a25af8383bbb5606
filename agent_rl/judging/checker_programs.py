"""Property checks: a checker program of the data set sees recorded inputs and outputs, in a sandbox run of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agent_rl.errors import ConfigError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.result_frames import Answer, Answers, Raised, Returned, Tampered, read_frames
from agent_rl.vocabulary import Case, Limits, RunCall, RunRequest, RunResult, Task, wording
from agent_rl.vocabulary.canonical import encode
from agent_rl.vocabulary.stand_ins import HeldException

ENTRY_POINT = "__agent_rl_replay__"
SEED = 164
"""Seed of every recording and checker run, so that a test body draws the same random inputs as were recorded."""

_BROKEN = frozenset({"NameError", "ImportError"})
"""What a checker raises that uses a name or a module which there is not."""

Recorded = tuple[tuple[Any, ...], dict[str, Any], HeldException | None, Any]
"""(args, kwargs, failure, value): `failure` is what the call raised, or None."""

_REPLAY = """

def __agent_rl_replay__({parameters}):
    from agent_rl.judging import replay

    return replay.{call}
"""
"""Sandboxes have the module `replay`."""


def checker_request(checker: str, recorded: Sequence[Recorded], limits: Limits, call_id: str) -> RunRequest:
    """A run of `checker` (a module that defines `check(candidate)`) on recorded outputs; only answer True is success.

    `candidate` gives the recorded outcome of a recorded call and raises for any other call. A call that was recorded
    several times gives its outcomes in the order of recording. Raises NotCanonical if all outputs together are too
    large.
    """
    program = checker + _driver("recorded", "replay(check, globals(), recorded)")
    return _request(program, [list(recorded)], limits, call_id)


def bare_request(checker: str, recorded: Sequence[Recorded], limits: Limits, call_id: str) -> RunRequest:
    """A run of `checker` on recorded outputs in which no class of the program's has anything but its content."""
    program = checker + _driver("recorded", "replay(check, {}, recorded)")
    return _request(program, [list(recorded)], limits, call_id)


def following_request(
    checker: str, source: str, recorded: Sequence[Recorded], limits: Limits, call_id: str
) -> RunRequest:
    """A run that answers True if the check in `source`, a part of `checker`, makes other calls after other answers."""
    program = checker + _driver("source, recorded", "follows_answers(source, globals(), recorded)")
    return _request(program, [source, list(recorded)], limits, call_id)


def _driver(parameters: str, call: str) -> str:
    return _REPLAY.format(parameters=parameters, call=call)


def _request(program: str, arguments: list[Any], limits: Limits, call_id: str) -> RunRequest:
    call = RunCall(call_id, encode([tuple(arguments), {}]))
    return RunRequest(program, entry_point=ENTRY_POINT, calls=(call,), limits=limits, seed=SEED)


def answers_of(result: RunResult | Blamed, ids: Sequence[str]) -> tuple[dict[str, Answer], str]:
    """(what a checker's run answered, why an answer is missing: "" if none is).

    A checker may reject an output by an exception too, but it must answer: one that ends, hangs or is broken says
    nothing about an output.
    """
    if isinstance(result, Blamed):
        return {}, result.detail
    try:
        answers = read_frames(result.frames, ids)
    except Tampered as error:
        return {}, str(error)
    if answers.load_error is not None:
        return {}, wording.last_line(answers.load_error)
    if all(i in answers.by_id for i in ids):
        return answers.by_id, ""
    early = "it ended early" if result.status == "completed" else result.status.replace("_", " ")
    return answers.by_id, early


def fault_of(answers: Iterable[Answer], why_missing: str, *, given: bool) -> str:
    """What is wrong with a checker that answered so about expected outputs; "" if nothing can be said.

    `given`: whether the task gives all of them. Else it may raise on what stands for one.
    """
    if why_missing:
        return why_missing
    for answer in answers:
        failure = answer.failure if isinstance(answer, Raised) else None
        if failure is None or "AssertionError" in failure.kinds:
            continue
        if given or not _BROKEN.isdisjoint(failure.kinds):
            return wording.last_line(str(failure))
    return ""


def refused(task: Task, fault: str) -> ConfigError:
    """The error of a task whose checker has this fault."""
    why = f"its checker does not work, even on the expected outputs: {fault}"
    return ConfigError(f"task {task.id}: {why}", key="checker")


def satisfied(answers: Answers, call_id: str) -> bool:
    """Whether the run answered True: a checker ran to its end without raising."""
    return answers.by_id.get(call_id) == Returned("true")


def recorded_call(case: Case, failure: HeldException | None, value: Any) -> Recorded:
    """What the checker sees of one call."""
    return case.args, dict(case.kwargs), failure, value
