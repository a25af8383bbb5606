"""The feedback that an agent gets about its program on the public examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agent_rl import Case, call_feedback
from agent_rl_envs.synthesis.problems import ENTRY_POINT, outcome


def public_feedback(variant: Callable[..., Any], cases: Sequence[Case]) -> str:
    """The feedback of `Verifier.run_public_tests` for one of our own variants; empty if all cases pass.

    It uses the judge's wording, so that demonstrations show exactly the text that a rollout shows.
    """
    lines: list[str] = []
    for case in cases:
        value, error = outcome(variant, case.args)
        if error or value != case.expected:
            lines.append(call_feedback(ENTRY_POINT, case, value, error))
    return "\n".join(lines)
