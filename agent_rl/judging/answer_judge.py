"""The judge of final answers: compares numbers and expressions, and never runs any part of a reply."""

from __future__ import annotations

import time

from agent_rl.judging.answer_comparison import AnswerComparison, AnswerOutcome, plain
from agent_rl.judging.judge import digest_of
from agent_rl.judging.judging_runs import Runs
from agent_rl.vocabulary import AnswerTests, Submission, Task, Verdict
from agent_rl.vocabulary.final_answer import final_answer
from agent_rl.vocabulary.verdict import VerdictStatus

_STATUS: dict[AnswerOutcome, VerdictStatus] = {
    "equal": "passed",
    "different": "failed",
    "timeout": "timeout",
    "out_of_memory": "out_of_memory",
    "crashed": "crashed",
}


class AnswerJudge:
    """Judges `AnswerTests` without a sandbox; its verdicts have no isolation level.

    Equal texts and plain numbers are compared here. Every other comparison is a run, in a process of its own.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._comparison = AnswerComparison()

    def close(self) -> None:
        """The process that compares has ended. Blocks. Idempotent."""
        self._comparison.close()

    def check(self, task: Task, tests: AnswerTests) -> bytes:
        return digest_of(task, tests)

    async def prepare(self, task: Task, tests: AnswerTests) -> Task:
        return task

    async def judge(self, task: Task, tests: AnswerTests, submission: Submission, *, public: bool) -> Verdict:
        """The verdict on the final answer in the reply; `invalid_submission` if it holds none.

        The comparison has the task's limits of time and memory. Raises SandboxError if the process that compares does
        not work.
        """
        if submission.kind != "answer":
            why = f"a submission of kind {submission.kind!r}, where a final answer is judged"
            return Verdict.invalid_submission(task.tier, why, public=public)
        started = time.monotonic()
        answer = final_answer(submission.text)
        if answer is None:
            why = "there is no final answer after #### or in \\boxed{}" if public else ""
            return Verdict.invalid_submission(task.tier, why, public=public)
        outcome, seconds = plain(tests.answer, answer), time.monotonic() - started
        if outcome is None:
            outcome, seconds = await self._runs.outside_sandboxes(
                lambda: self._comparison.timed(tests.answer, answer, task.limits)
            )
        status = _STATUS[outcome]
        feedback = f"the answer {answer!r} is not right" if public and status != "passed" else ""
        return Verdict(status == "passed", status, task.tier, None, seconds, feedback=feedback)
