"""Rows of pytest files: `task_id`, `prompt`, `test_files` ({path: text}), and `solution` (a program, or {path: text}).

Optional: `module` (default "solution"), `tests` (node ids; by default found with the solution), `tier` ("proxied", the
default, or "in_process"), `files` ({path: text}: files next to the submission), `starter_code` (shown in the prompt),
and limits (`time_limit`, `memory_limit`, ...). The tests compare by themselves: a row with `comparison` is refused.
"""

from __future__ import annotations

from agent_rl.formats.judging_keys import check_keys, limits_of, refuse_rules
from agent_rl.formats.row_fields import CODE_REQUEST, Fields, Settings, fenced
from agent_rl.formats.starter_code import shown
from agent_rl.formats.vacuous_tests import check_pytest_files
from agent_rl.vocabulary import Limits, Message, PytestTests, Task

LIMITS = Limits(wall_seconds=60.0, cpu_seconds=60.0)


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    check_keys(row, ("module", "starter_code"))
    refuse_rules(row, "pytest files compare by themselves")
    module = row.text("module", default="solution")
    path = f"{module.replace('.', '/')}.py"
    program: str | None = None
    files: dict[str, bytes] = {}
    if isinstance(row.content.get("solution"), str):
        program = row.text("solution")
        files = {path: row.encoded("solution", program)}
    elif "solution" in row:
        files = row.files("solution")
        program = files[path].decode() if set(files) == {path} else None
    tests = row.texts("tests") if "tests" in row else []
    tier = row.choice("tier", ("proxied", "in_process"), "proxied")
    hidden = row.files("test_files")
    check_pytest_files(row, hidden, tests, module if tier == "proxied" else None)
    parts = (row.text("prompt").strip(), shown(row.text("starter_code", default="")))
    prompt = "\n\n".join([*filter(None, parts), f"{CODE_REQUEST} It is imported as `{module}`."])
    return Task(
        id=row.task_id("task_id"),
        prompt=(Message.user(prompt),),
        tests=PytestTests(hidden, tuple(tests), module, oracle=files),
        oracle=None if program is None else fenced(program),
        files=row.files("files"),
        limits=limits_of(row, settings.limits or LIMITS),
        split=settings.split,
        tier=tier,
        metadata={"format": "pytest"},
    )
