"""`Judge`: what `TaskVerifier` calls to judge one kind of tests."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from agent_rl.vocabulary import Submission, Task, Tests, Verdict


class Judge(Protocol):
    """Judges one kind of tests. `tests` are the hidden or the public tests of `task`.

    A submission of the wrong kind for these tests gets the verdict `invalid_submission`.
    """

    def check(self, task: Task, tests: Any) -> bytes:
        """A digest of all that a judging depends on except the submission; equal digests share their verdicts.

        Raises ConfigError (naming the task) if the tests cannot be judged, or not as strictly as demanded.
        """
        ...

    async def prepare(self, task: Task, tests: Any) -> Task:
        """The task ready to be judged. Tests that stay code are run on the oracle solution. Raises ConfigError."""
        ...

    async def judge(self, task: Task, tests: Any, submission: Submission, *, public: bool) -> Verdict:
        """The verdict of `tests`; with `public` it tells the agent what failed.

        Raises SandboxError for an infrastructure failure, after `blame` has ruled out that the submission caused it.
        """
        ...


def digest_of(task: Task, tests: Tests) -> bytes:
    """A digest of the tests and of every part of the task that a judging's sandbox may hold."""
    judged = dataclasses.replace(task, tests=tests, prompt=(), oracle=None, public=None, metadata={})
    return judged.hash.encode()
