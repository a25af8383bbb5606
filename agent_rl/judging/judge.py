"""`Judge`: what stands behind `TaskVerifier`, one for each kind of tests."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from agent_rl.vocabulary import Submission, Task, Tests, Verdict


class Judge(Protocol):
    """Judges tests of its kind (`tests`), which are a task's hidden or public ones.

    A submission that is none for such tests gets the verdict `invalid_submission`.
    """

    def check(self, task: Task, tests: Any) -> bytes:
        """A digest of all that a judging depends on but the submission: where it is equal, verdicts are shared.

        Raises ConfigError that names the task where the tests cannot be judged, or not as strictly as demanded.
        """
        ...

    async def prepare(self, task: Task, tests: Any) -> Task:
        """The task ready to be judged, its tests tried with the reference where they stay code. Raises ConfigError."""
        ...

    async def judge(self, task: Task, tests: Any, submission: Submission, *, public: bool) -> Verdict:
        """The verdict of `tests`; with `public` it says to the agent what failed.

        Raises SandboxError where the machinery failed, after who is to blame has been tested.
        """
        ...


def digest_of(task: Task, tests: Tests) -> bytes:
    """A digest of the tests, and of all of the task that a place of its own may hold."""
    judged = dataclasses.replace(task, tests=tests, prompt=(), oracle=None, public=None, metadata={})
    return judged.hash.encode()
