"""The judge of final answers: compares numbers and expressions, and never runs any part of a reply."""

from __future__ import annotations

import asyncio
import time

from agent_rl.judging.answer_comparison import AnswerComparison, AnswerOutcome
from agent_rl.judging.judge import digest_of
from agent_rl.vocabulary import AnswerTests, Submission, Task, Verdict
from agent_rl.vocabulary.final_answer import final_answer
from agent_rl.vocabulary.verdict import VerdictStatus

_STATUS: dict[AnswerOutcome, VerdictStatus] = {"equal": "passed", "different": "failed", "timeout": "timeout"}


class AnswerJudge:
    """Judges `AnswerTests` without a sandbox; its verdicts have no isolation level."""

    def __init__(self) -> None:
        self._comparison = AnswerComparison()

    def check(self, task: Task, tests: AnswerTests) -> bytes:
        return digest_of(task, tests)

    async def prepare(self, task: Task, tests: AnswerTests) -> Task:
        return task

    async def judge(self, task: Task, tests: AnswerTests, submission: Submission, *, public: bool) -> Verdict:
        """The verdict on the final answer in the reply; `invalid_submission` if it holds none.

        The status is `timeout` if the comparison exceeds its limit of time or memory. Raises SandboxError if the
        process that compares does not work.
        """
        if submission.kind != "answer":
            why = f"a submission of kind {submission.kind!r}, where a final answer is judged"
            return Verdict.invalid_submission(task.tier, why, public=public)
        started = time.monotonic()
        answer = final_answer(submission.text)
        if answer is None:
            why = "there is no final answer after #### or in \\boxed{}" if public else ""
            return Verdict.invalid_submission(task.tier, why, public=public)
        outcome = self._comparison.plain(tests.answer, answer)
        if outcome is None:
            outcome = await asyncio.to_thread(self._comparison.compare, tests.answer, answer)
        status = _STATUS[outcome]
        seconds = time.monotonic() - started
        feedback = f"the answer {answer!r} is not right" if public and status != "passed" else ""
        return Verdict(status == "passed", status, task.tier, None, seconds, feedback=feedback)
