"""Property checks: a checker program of the data set sees recorded inputs and outputs, in a sandbox run of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent_rl.judging.result_frames import Answers, Returned
from agent_rl.vocabulary import Case, Limits, RunCall, RunRequest
from agent_rl.vocabulary.canonical import encode

ENTRY_POINT = "__agent_rl_replay__"
SEED = 164
"""Seed of every recording and checker run, so that a test body draws the same random inputs as were recorded."""

Recorded = tuple[tuple[Any, ...], dict[str, Any], str | None, Any]
"""(args, kwargs, error, value): `error` is "Type: message" if the call raised, else None."""

_REPLAY = """

def __agent_rl_replay__(recorded):
    import builtins
    import copy

    def key(value):
        if isinstance(value, (list, tuple)):
            return (type(value).__name__, tuple(map(key, value)))
        if isinstance(value, (set, frozenset)):
            return (type(value).__name__, frozenset(map(key, value)))
        if isinstance(value, dict):
            return ("dict", frozenset((key(k), key(v)) for k, v in value.items()))
        return (type(value).__name__, repr(value))

    answers = {}
    for args, kwargs, error, value in recorded:
        answers.setdefault(key((args, kwargs)), []).append((error, value))
    unknown = []

    def candidate(*args, **kwargs):
        queue = answers.get(key((args, kwargs)))
        if not queue:
            unknown.append(1)
            raise AssertionError("a call that was not recorded")
        error, value = queue.pop(0) if len(queue) > 1 else queue[0]
        if error is not None:
            name, _, message = error.partition(": ")
            kind = getattr(builtins, name, None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            # Raised inside `map`, this one would end a check's loop early, as if all of it had been seen.
            known = known and not issubclass(kind, (StopIteration, StopAsyncIteration))
            try:
                raised = kind(message) if known else Exception(error)
            except TypeError:
                raised = Exception(error)
            raise raised
        return copy.deepcopy(value)

    check(candidate)
    if unknown:
        raise AssertionError("a call that was not recorded")
    return True
"""


def checker_request(checker: str, recorded: Sequence[Recorded], limits: Limits, call_id: str) -> RunRequest:
    """A run of `checker` (a module that defines `check(candidate)`) on recorded outputs; only answer True is success.

    `candidate` gives the recorded outcome of a recorded call and raises for any other call. A call that was recorded
    several times gives its outcomes in the order of recording. Raises NotCanonical if all outputs together are too
    large.
    """
    call = RunCall(call_id, encode([(list(recorded),), {}]))
    return RunRequest(checker + _REPLAY, entry_point=ENTRY_POINT, calls=(call,), limits=limits, seed=SEED)


def satisfied(answers: Answers, call_id: str) -> bool:
    """Whether the checker ran to its end without raising."""
    return answers.by_id.get(call_id) == Returned("true")


def recorded_call(case: Case, error: str | None, value: Any) -> Recorded:
    """What the checker sees of one call."""
    return case.args, dict(case.kwargs), error, value
