"""Verdicts: one verifier (`task_verifier`), a judge for each kind of tests, blame, tiers, recording.

This is the door: other rooms import from here. Only who carries judging's own programs into a sandbox (the sandboxes,
and `agent_rl.testing`) reaches behind it.
"""

from agent_rl.judging.answer_comparison import AnswerComparison
from agent_rl.judging.archives import read_archive, take_files
from agent_rl.judging.blame import Blamed, run_or_blame, run_pair_or_blame
from agent_rl.judging.judging_runs import TIERS, TooSlow
from agent_rl.judging.recorder_program import pytest_for
from agent_rl.judging.result_frames import Returned, Tampered, read_frames, value_of
from agent_rl.judging.task_verifier import TaskVerifier, make_verifier

__all__ = [
    "AnswerComparison",
    "Blamed",
    "Returned",
    "TIERS",
    "Tampered",
    "TaskVerifier",
    "TooSlow",
    "make_verifier",
    "pytest_for",
    "read_archive",
    "read_frames",
    "run_or_blame",
    "run_pair_or_blame",
    "take_files",
    "value_of",
]
