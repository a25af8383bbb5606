"""Property checks: a checker program of the data set sees recorded inputs and outputs, in a sandbox run of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent_rl.judging.result_frames import Answers, Returned
from agent_rl.vocabulary import Case, Limits, RunCall, RunRequest
from agent_rl.vocabulary.canonical import encode
from agent_rl.vocabulary.stand_ins import HeldException

ENTRY_POINT = "__agent_rl_replay__"
SEED = 164
"""Seed of every recording and checker run, so that a test body draws the same random inputs as were recorded."""

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


def satisfied(answers: Answers, call_id: str) -> bool:
    """Whether the run answered True: a checker ran to its end without raising."""
    return answers.by_id.get(call_id) == Returned("true")


def recorded_call(case: Case, failure: HeldException | None, value: Any) -> Recorded:
    """What the checker sees of one call."""
    return case.args, dict(case.kwargs), failure, value
