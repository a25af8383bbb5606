"""Rows of pytest files: `task_id`, `prompt`, `test_files` ({path: text}), and `solution` (a program, or {path: text}).

Optional: `module` (default "solution"), `tests` (node ids; by default found with the solution), `tier` ("proxied", the
default, or "in_process"), `files` ({path: text}: files next to the submission).
"""

from __future__ import annotations

from agent_rl.formats.row_fields import CODE_REQUEST, Fields, Settings, fenced
from agent_rl.vocabulary import Limits, Message, PytestTests, Task

LIMITS = Limits(wall_seconds=60.0, cpu_seconds=60.0)


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    module = row.text("module", default="solution")
    path = f"{module.replace('.', '/')}.py"
    program: str | None = None
    files: dict[str, bytes] = {}
    if isinstance(row.content.get("solution"), str):
        program = row.text("solution")
        files = {path: program.encode()}
    elif "solution" in row:
        files = row.files("solution")
        program = files[path].decode() if set(files) == {path} else None
    tests = row.texts("tests") if "tests" in row else []
    return Task(
        id=row.task_id("task_id"),
        prompt=(Message.user(f"{row.text('prompt').strip()}\n\n{CODE_REQUEST} It is imported as `{module}`."),),
        tests=PytestTests(row.files("test_files"), tuple(tests), module, oracle=files),
        oracle=None if program is None else fenced(program),
        files=row.files("files"),
        limits=settings.limits or LIMITS,
        split=settings.split,
        tier=row.choice("tier", ("proxied", "in_process"), "proxied"),
        metadata={"format": "pytest"},
    )
