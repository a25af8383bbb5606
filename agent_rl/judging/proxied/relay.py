"""Passes frames between the hidden tests' process and the candidate's, in strict turns on each lane.

A frame begins with the number of its lane: "[3,...". Nothing but whose turn it is there is checked; the process that
receives a frame checks its content. A candidate that sends a frame without having been asked has tampered.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Protocol

from agent_rl.judging.proxied.proxy_messages import MAX_FRAME_BYTES

MAX_REPORTS = 1 << 14
_LANE = re.compile(r"\[(\d{1,6}),")


class Voice(Protocol):
    """One end of the conversation: a run that sends and receives frames."""

    async def say(self, frame: str) -> None:
        """Sends the frame to the run; no error if the run has ended. Raises SandboxError."""
        ...

    async def hear(self) -> str | None:
        """The run's next frame; None once the run has ended or sent something that is not a frame. Raises SandboxError.

        A cancelled call has taken no frame.
        """
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """The result of a conversation: the tests' reports for the judge, and how the candidate broke the rules, or ""."""

    reports: tuple[str, ...]
    candidate_due: bool
    """Whether the candidate had been asked something and had not answered yet."""
    tampered: str = ""


async def relay(candidate: Voice, tests: Voice) -> Heard:
    """Returns once the tests have ended, or the candidate has tampered or ended while the tests wait for it."""
    reports: list[str] = []
    hearing = {"tests": asyncio.ensure_future(tests.hear()), "candidate": asyncio.ensure_future(candidate.hear())}
    due: set[str] = set()
    """Lanes on which the candidate has to answer."""
    candidate_ended = False
    try:
        while True:
            await asyncio.wait(hearing.values(), return_when=asyncio.FIRST_COMPLETED)
            if "candidate" in hearing and hearing["candidate"].done():
                frame = hearing["candidate"].result()
                if frame is None:
                    candidate_ended = True
                    del hearing["candidate"]
                elif not (lane := _lane(frame)) or lane not in due or len(frame) > MAX_FRAME_BYTES:
                    return Heard(tuple(reports), bool(due), "a frame that nobody asked for")
                else:
                    due.remove(lane)
                    hearing["candidate"] = asyncio.ensure_future(candidate.hear())
                    await tests.say(frame)
            if hearing["tests"].done():
                frame = hearing["tests"].result()
                if frame is None or len(reports) >= MAX_REPORTS:
                    return Heard(tuple(reports), bool(due))
                hearing["tests"] = asyncio.ensure_future(tests.hear())
                if frame.startswith("{"):
                    reports.append(frame)
                elif (lane := _lane(frame)) not in due:
                    due.add(lane)
                    await candidate.say(frame)
            if candidate_ended and due:
                return Heard(tuple(reports), True)
    finally:
        for task in hearing.values():
            task.cancel()
        await asyncio.gather(*hearing.values(), return_exceptions=True)


def _lane(frame: str) -> str:
    """The lane of a frame, as it is written; "" for what is no frame."""
    found = _LANE.match(frame)
    return "" if found is None else found.group(1)
