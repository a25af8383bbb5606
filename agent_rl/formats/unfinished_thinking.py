"""What a reply is whose thinking never ends: the same for programs and for scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from agent_rl.contracts import InvalidSubmission

UnfinishedThinking = Literal["invalid", "read"]
"""What a reply is whose thinking never ends. invalid: no answer, so an invalid submission | read: the thinking is read
as if it were the answer."""


def before_unfinished(
    reply: str, opening: re.Match[str] | None, unfinished: UnfinishedThinking, is_answer: Callable[[str], bool]
) -> str:
    """`reply`, or what stands before the `opening` of a thinking that never ends, if that is an answer.

    Raises InvalidSubmission if it is none, unless `unfinished` is "read".
    """
    if opening is None:
        return reply
    shown, thought = reply[: opening.start()], reply[opening.end() :]
    if unfinished == "read":
        return shown + thought
    if is_answer(shown):
        return shown
    raise InvalidSubmission("the thinking never ends, so that there is no answer")
