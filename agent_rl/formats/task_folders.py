"""Folders of tasks. Each task is a folder with instructions and tests.

    NAME/
      instruction.md            what the agent is asked (or `instruction` in task.toml)
      task.toml                 optional, see below
      environment/Dockerfile    the task's image, built once; or `image` in task.toml; else the default image
      files/                    what the agent starts with
      tests/                    hidden: test.sh (or `command`), and what it needs; or pytest files and no script
      solution/                 solve.sh, run as the oracle solution; or the files that solve the task
    Scripts run under the shell that their first line (`#!/bin/bash`) names, else under /bin/sh.

    # task.toml, every key optional
    id = "name"                            # else the folder's name
    split = "test"                         # if no task of the folder names one: whichever split is asked for
    [environment]
    image = "python:3.12-slim"
    memory_mb = 2048
    [verifier]
    command = ["/bin/sh", "tests/test.sh"]
    reward_file = "reward.txt"             # a number from 0 to 1, instead of the exit code
    timeout_sec = 120
    artifacts = ["src", "answer.txt"]      # what is taken from the agent's sandbox; else all of its working directory

Tests and solution are never put into the agent's sandbox. A task's own image has a writable root
(`hardening = "task_image"`), and its WORKDIR, USER and ENV hold for the agent and for the tests.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_rl.errors import ConfigError
from agent_rl.file_sets import ArchiveLimits, InvalidArchive, checked_files
from agent_rl.formats.invalid_rows import InvalidRows, usable
from agent_rl.formats.judging_keys import RULES
from agent_rl.formats.row_fields import Fields, Settings
from agent_rl.formats.vacuous_tests import check_collected
from agent_rl.vocabulary import Limits, Message, PytestTests, SandboxSpec, ScriptTests, Task

_SCRIPTS = ("test.sh", "run-tests.sh", "run_tests.sh")
_TICKS = re.compile("`+")
_FOLDER_LIMITS = ArchiveLimits()
_OUTPUT_BYTES = 16 << 20
"""Bytes that a task's sandbox may print. This also limits how much can be taken from it."""
_SPLIT = "test"
_KEYS = {
    "": {"id", "split", "instruction", "environment", "verifier"},
    "environment": {"image", "memory_mb"},
    "verifier": {"command", "reward_file", "timeout_sec", "artifacts"},
}
_TABLES = ("environment", "verifier", *RULES, "limits", "test", "tests", "judge", "grader", "reward", "scoring")
"""Names of tables about judging. Another one means that something was to be judged in a way that is not read."""
_SCRIPT_REQUEST = (
    "You work in a Linux sandbox. Answer with one ```sh block: it is run once in your working directory, and what it "
    "leaves there is judged."
)


def read_folder(folder: Path, split: str | None, settings: Settings, invalid: InvalidRows | None = None) -> list[Task]:
    """The tasks of `folder` in `split` (None: in all splits), in the order of their names. Raises ConfigError.

    If no task names a split, all are in the one that is asked for, as are the rows of a file. With `invalid`, tasks
    that cannot be used are left out and added to it.
    """
    paths = [
        p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".") and (p / "tests").is_dir()
    ]
    if not paths:
        raise ConfigError(f"{folder} holds no folder of a task (one with tests/ and instruction.md)")
    seen: dict[str, Path] = {}

    def read(path: Path, where: str) -> tuple[Task, bool]:
        top = _options(path)
        task = _task(path, top, settings)
        if task.id in seen:
            raise ConfigError(f"{folder}: the id {task.id!r} is given twice", key="id", value=task.id)
        seen[task.id] = path
        return task, "split" in top

    read_tasks = list(usable([(str(p), p) for p in paths], read, invalid, lambda path: path.name))
    if invalid is not None:
        invalid.places.update({name: str(path) for name, path in seen.items()})
    if not any(named for _, named in read_tasks):
        return _some([dataclasses.replace(task, split=settings.split) for task, _ in read_tasks], folder, invalid)
    tasks = [task for task, _ in read_tasks if split in (None, task.split)]
    if not tasks and read_tasks:
        found = Counter(task.split for task, _ in read_tasks)
        among = ", ".join(f"{name!r} ({count})" for name, count in sorted(found.items()))
        raise ConfigError(
            f"{folder} holds no task of the split {split!r}; its tasks are of {among}. Write split = {split!r} into "
            f"the task.toml of those that belong to it; since others name a split, one without it is of {_SPLIT!r}",
            key="split",
            value=split,
            valid=found,
        )
    return _some(tasks, folder, invalid)


def _some(tasks: list[Task], folder: Path, invalid: InvalidRows | None) -> list[Task]:
    if not tasks and invalid is not None and invalid.rows:
        raise ConfigError(f"{folder} holds no task that can be used; the first: {invalid.rows[0].line()}")
    return tasks


def _task(path: Path, top: Fields, settings: Settings) -> Task:
    environment = Fields(dict(top.mapping("environment")) if "environment" in top else {}, f"{top.where} [environment]")
    verifier = Fields(dict(top.mapping("verifier")) if "verifier" in top else {}, f"{top.where} [verifier]")
    hidden = {f"tests/{name}": content for name, content in _files(path / "tests").items()}
    solution = _files(path / "solution") if (path / "solution").is_dir() else {}
    seconds = _positive(verifier, "timeout_sec", 120.0)
    instruction = _instruction(path, top)
    return Task(
        id=top.text("id", default=path.name),
        prompt=(Message.user(f"{instruction}\n\n{_SCRIPT_REQUEST}"),),
        tests=_tests(top.where, verifier, hidden, solution),
        oracle=_oracle(solution),
        files=_files(path / "files") if (path / "files").is_dir() else {},
        limits=settings.limits or Limits(wall_seconds=seconds, cpu_seconds=seconds, output_bytes=_OUTPUT_BYTES),
        split=top.text("split", default=_SPLIT),
        sandbox=_sandbox(path, environment),
        tier="in_process",
        metadata={"format": "folders", "instruction": instruction},
    )


def _options(path: Path) -> Fields:
    """The content of task.toml, empty if there is no such file. Raises ConfigError for an unknown key."""
    file = path / "task.toml"
    try:
        text = file.read_text() if file.is_file() else ""
        content = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    for section, known in _KEYS.items():
        part: Any = content.get(section, {}) if section else content
        for key in part if isinstance(part, Mapping) else ():
            if key not in known and not (section == "" and _is_other_table(key, content[key])):
                where = f"{file}:{_line(text, key)}"
                raise ConfigError(
                    f"{where}: an unknown key", key=f"{section}.{key}".lstrip("."), value=key, valid=known
                )
    return Fields(content, str(file))


def _is_other_table(key: str, value: object) -> bool:
    """Whether a key begins a table that has nothing to do with judging, such as [metadata]: any is allowed."""
    return isinstance(value, Mapping) and not difflib.get_close_matches(key, _TABLES, n=1, cutoff=0.8)


def _line(text: str, key: str) -> int:
    """The number of the first line that sets `key` or begins its table."""
    sets = re.compile(rf"""^\s*(\[\s*)?["']?{re.escape(key)}["']?\s*[=\].]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if sets.match(line)), 1)


def _positive(fields: Fields, name: str, default: float) -> float:
    number = fields.number(name, default)
    if number <= 0:
        raise fields.wrong(f"{name!r} should be more than 0, got {number:g}")
    return number


def _instruction(path: Path, top: Fields) -> str:
    file = path / "instruction.md"
    if "instruction" in top:
        return top.text("instruction").strip()
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        raise ConfigError(f"{path} has no instruction.md that can be read") from None


def _tests(
    where: str, verifier: Fields, hidden: Mapping[str, bytes], solution: Mapping[str, bytes]
) -> ScriptTests | PytestTests:
    script = next((f"tests/{name}" for name in _SCRIPTS if f"tests/{name}" in hidden), None)
    reward, artifacts = verifier.text("reward_file", default=""), ()
    if "artifacts" in verifier:
        artifacts = tuple(verifier.texts("artifacts"))
    if "command" in verifier:
        return ScriptTests(hidden, tuple(verifier.texts("command")), reward, artifacts)
    if script is not None:
        return ScriptTests(hidden, (*(shebang(hidden[script]) or ("/bin/sh",)), script), reward, artifacts)
    if not any(name.endswith(".py") for name in hidden):
        raise ConfigError(f"{where}: tests/ holds neither {' nor '.join(_SCRIPTS)} nor pytest files", key="command")
    check_collected(Fields({}, where.removesuffix("/task.toml")), hidden)
    return PytestTests(hidden, oracle={n: c for n, c in solution.items() if n != "solve.sh"})


def _oracle(solution: Mapping[str, bytes]) -> str | None:
    """The solution as a reply: its script, or a script that writes its files."""
    if "solve.sh" in solution:
        text = solution["solve.sh"].decode("utf-8", "replace").rstrip()
        fence = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(text))])
        return f"{fence}{'bash' if 'bash' in ' '.join(shebang(solution['solve.sh'])) else 'sh'}\n{text}\n{fence}"
    if not solution:
        return None
    lines: list[str] = []
    for path, content in solution.items():
        folder = path.rpartition("/")[0]
        lines += [f"mkdir -p '{folder}'"] if folder else []
        lines.append(f"cat > '{path}' <<'END_OF_FILE'\n{content.decode('utf-8', 'replace').rstrip()}\nEND_OF_FILE")
    return "```sh\n" + "\n".join(lines) + "\n```"


def shebang(script: bytes) -> tuple[str, ...]:
    """The command that a script's first line names, as the kernel reads it: `#!/bin/bash -e`; empty without one."""
    first = script.partition(b"\n")[0].decode("utf-8", "replace").strip()
    words = first[2:].split(maxsplit=1) if first.startswith("#!") else []
    if words[:1] == ["/usr/bin/env"] and len(words) == 2:
        return ("/usr/bin/env", *words[1].removeprefix("-S").split())
    return tuple(words) if words and words[0].startswith("/") else ()


def _sandbox(path: Path, environment: Fields) -> SandboxSpec:
    memory = int(_positive(environment, "memory_mb", 1024)) << 20
    if "image" in environment:
        image = environment.text("image")
        return SandboxSpec(image, workdir="", hardening="task_image", memory_bytes=memory, output_bytes=_OUTPUT_BYTES)
    folder = path / "environment"
    if (folder / "Dockerfile").is_file():
        return SandboxSpec(
            build_folder=str(folder.resolve()),
            workdir="",
            hardening="task_image",
            memory_bytes=memory,
            output_bytes=_OUTPUT_BYTES,
        )
    return SandboxSpec(memory_bytes=memory, output_bytes=_OUTPUT_BYTES)


def _files(folder: Path) -> dict[str, bytes]:
    """The regular files below `folder`, within limits; links are dropped. Raises ConfigError."""
    found: dict[str, bytes] = {}
    size = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or "__pycache__" in path.parts:
            continue
        size += path.stat().st_size
        if size > _FOLDER_LIMITS.total_bytes:
            raise ConfigError(f"{folder} holds more than {_FOLDER_LIMITS.total_bytes} bytes")
        found[path.relative_to(folder).as_posix()] = path.read_bytes()
    try:
        return checked_files(found, _FOLDER_LIMITS)
    except InvalidArchive as error:
        raise ConfigError(f"{folder}: {error}") from None
