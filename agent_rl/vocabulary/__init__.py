"""The nouns of the project, one word each, as frozen dataclasses: see the table in the README."""

from agent_rl.vocabulary.sandbox import (
    ExecResult,
    Isolation,
    Limits,
    PairRequest,
    PairResult,
    RunCall,
    RunRequest,
    RunResult,
    SandboxSpec,
)
from agent_rl.vocabulary.task import (
    AnswerTests,
    AssertTests,
    CallTests,
    Case,
    Message,
    PytestTests,
    Task,
    Tests,
    ToolCall,
)
from agent_rl.vocabulary.trajectory import (
    Group,
    LeftOut,
    Segment,
    Timings,
    Trajectory,
    Turn,
)
from agent_rl.vocabulary.verdict import Submission, TestResult, Verdict

__all__ = [
    "AnswerTests",
    "AssertTests",
    "CallTests",
    "Case",
    "ExecResult",
    "Group",
    "Isolation",
    "LeftOut",
    "Limits",
    "Message",
    "PairRequest",
    "PairResult",
    "PytestTests",
    "RunCall",
    "RunRequest",
    "RunResult",
    "SandboxSpec",
    "Segment",
    "Submission",
    "Task",
    "TestResult",
    "Tests",
    "Timings",
    "ToolCall",
    "Trajectory",
    "Turn",
    "Verdict",
]
