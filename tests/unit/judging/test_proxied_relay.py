"""The relay between two runs: strict turns, reports kept, and an end in every case. Both ends are played."""

from __future__ import annotations

import asyncio

import pytest

from agent_rl.errors import SandboxError
from agent_rl.judging.proxied.relay import Heard, relay

UNASKED = "a frame that nobody asked for"


class Voice:
    """Plays a script: a text is said, an exception raised, a number waits until so many frames have been heard.

    At the end of its script the run has ended, unless it is `silent`.
    """

    def __init__(self, *script: str | int | Exception, silent: bool = False) -> None:
        self._script = list(script)
        self._silent = silent
        self._told = asyncio.Event()
        self.heard: list[str] = []

    async def say(self, frame: str) -> None:
        self.heard.append(frame)
        self._told.set()

    async def hear(self) -> str | None:
        while self._script:
            step = self._script[0]
            if isinstance(step, int) and len(self.heard) < step:
                self._told.clear()
                await self._told.wait()
                continue
            self._script.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, str):
                return step
        if self._silent:
            await asyncio.Event().wait()
        return None


async def heard(candidate: Voice, tests: Voice) -> Heard:
    async with asyncio.timeout(30):
        return await relay(candidate, tests)


async def test_frames_are_handed_on_in_turns_and_reports_are_kept() -> None:
    tests = Voice('[0,"load"]', 1, '{"test": 1}', '[0,"get"]', 2, '{"done": 1}')
    candidate = Voice(1, '[0,"return",null]', 2, '[0,"return",5]', silent=True)
    assert await heard(candidate, tests) == Heard(('{"test": 1}', '{"done": 1}'), False)
    assert candidate.heard == ['[0,"load"]', '[0,"get"]']
    assert tests.heard == ['[0,"return",null]', '[0,"return",5]']


@pytest.mark.parametrize("frame", ['[0,"return",1]', "{}", ""])
async def test_a_frame_before_any_question_is_tampering(frame: str) -> None:
    tests = Voice(silent=True)
    assert await heard(Voice(frame, silent=True), tests) == Heard((), False, UNASKED)
    assert tests.heard == []


async def test_a_second_answer_is_tampering_and_is_not_handed_on() -> None:
    tests = Voice('[0,"load"]', silent=True)
    assert await heard(Voice(1, "[0,1]", "[0,2]", silent=True), tests) == Heard((), False, UNASKED)
    assert tests.heard == ["[0,1]"]


@pytest.mark.parametrize("frame", ["{}", "", "x", '"[]"', "[1,2]", "[]", '["return",5]', "[-0,1]", "[00,1]", "[0]"])
async def test_an_answer_that_is_no_list_is_tampering(frame: str) -> None:
    tests = Voice('[0,"load"]', silent=True)
    assert await heard(Voice(1, frame, silent=True), tests) == Heard((), True, UNASKED)
    assert tests.heard == []


async def test_an_answer_beyond_the_limit_is_tampering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_rl.judging.proxied.relay.MAX_FRAME_BYTES", 10)
    tests = Voice('[0,"load"]', silent=True)
    assert (await heard(Voice(1, "[0," + "1" * 10, silent=True), tests)).tampered == UNASKED
    assert tests.heard == []


async def test_a_candidate_that_ends_while_it_is_asked_ends_the_conversation() -> None:
    assert await heard(Voice(1), Voice('[0,"load"]', silent=True)) == Heard((), True)


async def test_a_candidate_that_has_ended_is_missed_only_where_it_is_asked_again() -> None:
    assert await heard(Voice(1, "[0,1]"), Voice("[0,0]", 1, "{1}")) == Heard(("{1}",), False)
    assert await heard(Voice(1, "[0,1]"), Voice("[0,0]", 1, "{1}", "[0,2]", silent=True)) == Heard(("{1}",), True)


async def test_no_more_reports_are_kept_than_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_rl.judging.proxied.relay.MAX_REPORTS", 2)
    tests = Voice("{1}", "{2}", "{3}", "{4}", silent=True)
    assert (await heard(Voice(silent=True), tests)).reports == ("{1}", "{2}")


async def test_a_place_that_dies_is_raised() -> None:
    error = SandboxError("a worker died")
    for candidate, tests in ((Voice(error), Voice(silent=True)), (Voice(silent=True), Voice(error))):
        with pytest.raises(SandboxError, match="a worker died"):
            await heard(candidate, tests)


async def test_each_lane_has_its_own_turns() -> None:
    tests = Voice("[0,1]", "[1,2]", 2, "[0,3]", 3, "{1}")
    candidate = Voice(2, "[1,4]", "[0,5]", 3, "[0,6]", silent=True)
    assert await heard(candidate, tests) == Heard(("{1}",), False)
    assert (candidate.heard, tests.heard) == (["[0,1]", "[1,2]", "[0,3]"], ["[1,4]", "[0,5]", "[0,6]"])
    again = Voice(2, "[1,4]", "[1,5]", silent=True)
    assert await heard(again, Voice("[0,1]", "[1,2]", silent=True)) == Heard((), True, UNASKED)
