"""Checks the output of a run frame by frame. Nothing on a result channel is believed before it is checked here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent_rl.vocabulary.canonical import MAX_CHARS, NotCanonical, decode

_VALUE = re.compile(r'\{"id": ?"([0-9a-f]{1,64})", ?"value": ?(.*)\}', re.DOTALL)


class Tampered(Exception):
    """The frames are not ones that an honest run writes; the message says why."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A call returned a value, held as its canonical text, which is not decoded yet."""

    text: str


@dataclass(frozen=True, slots=True)
class Raised:
    """A call raised, or returned a value without a canonical form; `error` is the candidate's own text."""

    error: str


Answer = Returned | Raised


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
        match = _VALUE.fullmatch(frame)
        if match is not None:
            call_id, answer = match[1], Returned(match[2])
        else:
            content = _object(frame)
            if content == {"loaded": True} and not loaded and not answers:
                loaded = True
                continue
            if set(content) == {"load_error"} and not loaded and not answers and load_error is None:
                load_error = _string(content["load_error"])
                continue
            if set(content) != {"id", "error"}:
                raise Tampered("a frame of unknown form")
            call_id, answer = _string(content["id"]), Raised(_string(content["error"]))
        if call_id not in unanswered:
            raise Tampered("an answer to no open call")
        unanswered.remove(call_id)
        answers[call_id] = answer
    if load_error is not None and answers:
        raise Tampered("answers from a program that did not load")
    return Answers(answers, load_error)


def value_of(answer: Returned) -> Any:
    """The decoded value. Raises Tampered if the text is not canonical, since the worker's own code writes only that."""
    try:
        return decode(answer.text)
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
