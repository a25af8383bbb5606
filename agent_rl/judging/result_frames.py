"""Checks the output of a run frame by frame. Nothing on a result channel is believed before it is checked here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent_rl.vocabulary.canonical import MAX_CHARS, NotCanonical, decode
from agent_rl.vocabulary.stand_ins import HeldException

_ANSWER = re.compile(r'\{"id": ?"([0-9a-f]{1,64})", ?"(value|error)": ?(.*)\}', re.DOTALL)


class Tampered(Exception):
    """The frames are not ones that an honest run writes; the message says why."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A call returned a value, held as its canonical text, which is not decoded yet."""

    text: str


@dataclass(frozen=True, slots=True)
class Raised:
    """A call raised; what is held of it is the candidate's own claim."""

    failure: HeldException

    @property
    def error(self) -> str:
        """ "Type: message"."""
        return str(self.failure)


@dataclass(frozen=True, slots=True)
class Unheld:
    """A call returned a value without a canonical form. That is neither a value nor an exception: it always fails."""

    why: str


Answer = Returned | Raised | Unheld


@dataclass(frozen=True, slots=True)
class Answers:
    """The answer to each call by its id, or the reason why the program did not load."""

    by_id: dict[str, Answer]
    load_error: str | None = None


def read_frames(frames: Sequence[str], ids: Sequence[str]) -> Answers:
    """At most one answer for each of `ids`; a missing id was not answered. Raises Tampered for any other frame."""
    if len(frames) > len(ids) + 1:
        raise Tampered(f"{len(frames)} frames for {len(ids)} calls")
    unanswered = set(ids)
    answers: dict[str, Answer] = {}
    load_error: str | None = None
    loaded = False
    for frame in frames:
        match = _ANSWER.fullmatch(frame)
        if match is not None:
            call_id, answer = match[1], Returned(match[3]) if match[2] == "value" else Raised(_failure(match[3]))
        else:
            content = _object(frame)
            if content == {"loaded": True} and not loaded and not answers:
                loaded = True
                continue
            if set(content) == {"load_error"} and not loaded and not answers and load_error is None:
                load_error = _string(content["load_error"])
                continue
            if set(content) != {"id", "unheld"}:
                raise Tampered("a frame of unknown form")
            call_id, answer = _string(content["id"]), Unheld(_string(content["unheld"]))
        if call_id not in unanswered:
            raise Tampered("an answer to no open call")
        unanswered.remove(call_id)
        answers[call_id] = answer
    if load_error is not None and answers:
        raise Tampered("answers from a program that did not load")
    return Answers(answers, load_error)


def value_of(answer: Returned) -> Any:
    """The decoded value. Raises Tampered if the text is not canonical, since the worker's own code writes only that."""
    return _decoded(answer.text)


def _failure(text: str) -> HeldException:
    failure = _decoded(text)
    if type(failure) is not HeldException:
        raise Tampered("an error that is no exception")
    return failure


def _decoded(text: str) -> Any:
    try:
        return decode(text)
    except NotCanonical as error:
        raise Tampered(f"a value that is not canonical: {error}") from None


def _object(frame: str) -> dict[str, Any]:
    """The frame as a JSON object with no duplicate key. Raises Tampered."""
    if len(frame) > MAX_CHARS:
        raise Tampered("a frame too long")
    try:
        content = json.loads(frame, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise Tampered("a malformed frame") from None
    if type(content) is not dict:
        raise Tampered("a frame that is not an object")
    return content


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("duplicate keys")
    return content


def _string(value: Any) -> str:
    if type(value) is not str:
        raise Tampered("a field of the wrong type")
    return value
