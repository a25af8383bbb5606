"""Hands frames from the hidden tests' process to the candidate's and back, in strict turns.

Nothing is looked into but whose turn it is: what a frame says is checked by the process that reads it. A candidate that
speaks when nobody asked it has tampered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from agent_rl.judging.proxied.proxy_messages import MAX_FRAME_BYTES

MAX_REPORTS = 1 << 14


class Voice(Protocol):
    """One end of the conversation: a run that is talked with."""

    async def say(self, frame: str) -> None:
        """The frame is on its way to the run; no error where it has ended. Raises SandboxError."""
        ...

    async def hear(self) -> str | None:
        """The run's next frame; None once it has ended, or said what is no frame. Raises SandboxError.

        A cancelled call has taken nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a conversation: the tests' frames for the judge, and how the candidate broke the rules, or ""."""

    reports: tuple[str, ...]
    candidate_due: bool
    """Whether the candidate had been asked something, and had not answered yet."""
    tampered: str = ""


async def relay(candidate: Voice, tests: Voice) -> Heard:
    """Returns when the tests have ended, or the candidate has where the tests wait for it, or has tampered."""
    reports: list[str] = []
    hearing = {"tests": asyncio.ensure_future(tests.hear()), "candidate": asyncio.ensure_future(candidate.hear())}
    turn = "tests"
    candidate_ended = False
    try:
        while True:
            await asyncio.wait(hearing.values(), return_when=asyncio.FIRST_COMPLETED)
            if "candidate" in hearing and hearing["candidate"].done():
                frame = hearing["candidate"].result()
                if frame is None:
                    candidate_ended = True
                    del hearing["candidate"]
                elif turn != "candidate" or len(frame) > MAX_FRAME_BYTES or not frame.startswith("["):
                    return Heard(tuple(reports), turn == "candidate", "a frame that nobody asked for")
                else:
                    turn = "tests"
                    hearing["candidate"] = asyncio.ensure_future(candidate.hear())
                    await tests.say(frame)
            if hearing["tests"].done():
                frame = hearing["tests"].result()
                if frame is None or len(reports) >= MAX_REPORTS:
                    return Heard(tuple(reports), turn == "candidate")
                hearing["tests"] = asyncio.ensure_future(tests.hear())
                if frame.startswith("{"):
                    reports.append(frame)
                elif turn == "tests":
                    turn = "candidate"
                    await candidate.say(frame)
            if candidate_ended and turn == "candidate":
                return Heard(tuple(reports), True)
    finally:
        for task in hearing.values():
            task.cancel()
        await asyncio.gather(*hearing.values(), return_exceptions=True)
