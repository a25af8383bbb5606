"""`Folder`: an environment from a folder of tasks with tests. Its user writes no code.

[[environments]]
environment = "folder"
options = { folder = "tasks" }

Each task is a folder: see `agent_rl.formats.task_folders`. The agent answers with a script that is run in its sandbox
or, with `tools = true`, works in the sandbox with a shell. Then the declared files are taken out and judged in another
place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from agent_rl import (
    Agent,
    ConfigError,
    Environment,
    EnvironmentConfig,
    InvalidRows,
    OnInvalid,
    Sandbox,
    ScriptTests,
    Submission,
    Task,
    Verifier,
    prepare_all,
    read_tasks,
    take_files,
)

_SCRIPT = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})(?P<shell>sh|bash|shell)?[ \t]*\n(?P<text>.*?)(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)
_SCRIPT_SECONDS = 300.0
_BASH = 'if command -v bash > /dev/null; then exec bash -c "$0"; else exec sh -c "$0"; fi'
_WITH_FILE = 'file=$(mktemp) && cat > "$file" && exec "$@" "$file"'
_LONGEST_ARGUMENT = 30_000
"""Characters of a script that is given to its shell on the command line; the kernel allows 128 KiB."""
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})


class FolderConfig(EnvironmentConfig):
    """`folder`: where the tasks are. `tools`: true gives the agent a shell for `max_turns` turns, false one script.

    `invalid` "skip" leaves out tasks that cannot be used, and says which and why.
    """

    folder: str
    tools: bool = False
    invalid: OnInvalid = "error"


class Folder(Environment):
    """Tasks of a folder. Each has a sandbox to work in, and a script or pytest files that judge the resulting files."""

    config_class = FolderConfig

    def __init__(self, config: FolderConfig, verifier: Verifier) -> None:
        super().__init__(config, verifier)
        self.config: FolderConfig = config
        self._left_out: dict[str, list[str]] = {}

    async def load(self, split: str) -> Sequence[Task]:
        invalid = InvalidRows() if self.config.invalid == "skip" else None
        tasks = await asyncio.to_thread(read_tasks, self._folder(), split, invalid=invalid)
        prepared = await prepare_all(self.verifier, tasks, invalid)
        self._left_out[split] = [row.line() for row in invalid.rows] if invalid is not None else []
        return prepared

    def left_out(self, split: str) -> Sequence[str]:
        return self._left_out.get(split, ())

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        await sandbox.write_files(task.files)
        if self.config.tools:
            reply = await agent.run(task.prompt, tools=[sandbox.bash], max_turns=self.config.max_turns)
        else:
            reply = await agent.say(task.prompt)
        return await self.submission(task, [reply], sandbox)

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        """The declared files of the sandbox, after the last script of the last reply (if any) was run there."""
        scripts = list(_SCRIPT.finditer(replies[-1]))
        if scripts:
            command, stdin = script_command(scripts[-1]["text"], scripts[-1]["shell"] or "sh")
            await sandbox.exec(command, stdin=stdin, timeout=_SCRIPT_SECONDS)
        return Submission.of_files(await take_files(sandbox, _artifacts(task)))

    def _folder(self) -> str:
        """The folder. Raises ConfigError if it is not a folder."""
        if not self.config.folder or not Path(self.config.folder).is_dir():
            raise ConfigError(f"there is no folder {self.config.folder!r}", key="folder", value=self.config.folder)
        return self.config.folder


def script_command(script: str, shell: str) -> tuple[list[str], bytes]:
    """(the command that runs a script, its standard input). `shell` is the block's tag.

    The script's first line decides; else ```bash is run by bash, where there is one, and everything else by /bin/sh.
    """
    first = script.partition("\n")[0]
    named = first[2:].split() if first.startswith("#!") else []
    if named[:2] == ["/usr/bin/env", "-S"]:
        del named[1]
    if not named and len(script) > _LONGEST_ARGUMENT:
        named = ["/bin/bash" if shell == "bash" else "/bin/sh"]
    elif any(PurePosixPath(word).name in _SHELLS for word in named[:2]) and len(script) <= _LONGEST_ARGUMENT:
        return [*named, "-c", script], b""
    if named:
        return ["/bin/sh", "-c", _WITH_FILE, "sh", *named], script.encode("utf-8", "replace")
    return (["/bin/sh", "-c", _BASH, script] if shell == "bash" else ["/bin/sh", "-c", script]), b""


def _artifacts(task: Task) -> tuple[str, ...]:
    return task.tests.artifacts if isinstance(task.tests, ScriptTests) else ()
