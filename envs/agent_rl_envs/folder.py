"""`Folder`: an environment from a folder of tasks with tests. Its user writes no code.

[[environments]]
environment = "folder"
options = { folder = "tasks" }

Each task is a folder: see `agent_rl.formats.task_folders`. The agent answers with a script that is run in its sandbox
or, with `tools = true`, works in the sandbox with a shell. Then the declared files are taken out and judged in another
place. An agent with tools that never called its shell may answer with a script too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from weakref import WeakSet

from agent_rl import (
    Agent,
    ConfigError,
    Environment,
    EnvironmentConfig,
    InvalidRows,
    Message,
    OnInvalid,
    Sandbox,
    ScriptTests,
    ShellScript,
    Submission,
    Task,
    UnfinishedThinking,
    Verifier,
    prepare_all,
    read_tasks,
    script_in,
    take_files,
)

_SCRIPT_SECONDS = 300.0
_BASH = 'if command -v bash > /dev/null; then exec bash -c "$0"; else exec sh -c "$0"; fi'
_WITH_FILE = 'file=$(mktemp) && cat > "$file" && exec "$@" "$file"'
_LONGEST_ARGUMENT = 30_000
"""Characters of a script that is given to its shell on the command line; the kernel allows 128 KiB."""
_LONG = 20_000
"""Characters. A longer reply is read in a thread, off the event loop."""
_TOOLS_REQUEST = "You work in a Linux sandbox, with tools. What you leave in your working directory is judged."
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})


class FolderConfig(EnvironmentConfig):
    """`folder`: where the tasks are. `tools`: true gives the agent a shell for `max_turns` turns, false one script.

    `invalid` "skip" leaves out tasks that cannot be used, and says which and why. `unfinished_thinking`: a reply whose
    thinking never ends is no answer ("invalid"), or is read as if it were one ("read").
    """

    folder: str
    tools: bool = False
    invalid: OnInvalid = "error"
    unfinished_thinking: UnfinishedThinking = "invalid"


class Folder(Environment):
    """Tasks of a folder. Each has a sandbox to work in, and a script or pytest files that judge the resulting files."""

    config_class = FolderConfig

    def __init__(self, config: FolderConfig, verifier: Verifier) -> None:
        super().__init__(config, verifier)
        self.config: FolderConfig = config
        self._left_out: dict[str, list[str]] = {}
        self._worked: WeakSet[Sandbox] = WeakSet()
        """The sandboxes whose agents called their shell."""

    async def load(self, split: str) -> Sequence[Task]:
        invalid = InvalidRows() if self.config.invalid == "skip" else None
        tasks = await asyncio.to_thread(read_tasks, self._folder(), split, invalid=invalid)
        if self.config.tools:
            tasks = [_asked_to_work(task) for task in tasks]
        prepared = await prepare_all(self.verifier, tasks, invalid)
        self._left_out[split] = [row.line() for row in invalid.rows] if invalid is not None else []
        return prepared

    def left_out(self, split: str) -> Sequence[str]:
        return self._left_out.get(split, ())

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        await sandbox.write_files(task.files)
        if self.config.tools:
            shell = _Shell(sandbox, self._worked)
            reply = await agent.run(task.prompt, tools=[shell.bash], max_turns=self.config.max_turns)
        else:
            reply = await agent.say(task.prompt)
        return await self.submission(task, [reply], sandbox)

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        """The declared files of the sandbox, after the script of the last reply (if any) was run there.

        No script is run after work with the shell: a block of the final reply only tells what was done. Raises
        InvalidSubmission.
        """
        script = None if sandbox in self._worked else await self._script(replies[-1])
        if script is not None:
            command, stdin = script_command(script.text, script.shell)
            await sandbox.exec(command, stdin=stdin, timeout=_SCRIPT_SECONDS)
        return Submission.of_files(await take_files(sandbox, _artifacts(task)))

    async def _script(self, reply: str) -> ShellScript | None:
        """The script in a reply. Raises InvalidSubmission."""
        read = functools.partial(script_in, reply, unfinished_thinking=self.config.unfinished_thinking)
        return await asyncio.to_thread(read) if len(reply) > _LONG else read()

    def _folder(self) -> str:
        """The folder. Raises ConfigError if it is not a folder."""
        if not self.config.folder or not Path(self.config.folder).is_dir():
            raise ConfigError(f"there is no folder {self.config.folder!r}", key="folder", value=self.config.folder)
        return self.config.folder


class _Shell:
    """The agent's shell. It adds the sandbox to `worked` when it is called."""

    def __init__(self, sandbox: Sandbox, worked: WeakSet[Sandbox]) -> None:
        self._sandbox = sandbox
        self._worked = worked

    @functools.wraps(Sandbox.bash)
    async def bash(self, command: str) -> str:
        self._worked.add(self._sandbox)
        return await self._sandbox.bash(command)


def script_command(script: str, shell: str) -> tuple[list[str], bytes]:
    """(the command that runs a script, its standard input). `shell` is the script's: "bash" or "sh".

    The script's first line decides; else "bash" is run by bash, where there is one, and everything else by /bin/sh.
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


def _asked_to_work(task: Task) -> Task:
    """The task with a prompt that asks for work with tools instead of a script."""
    return dataclasses.replace(task, prompt=(Message.user(f"{task.metadata['instruction']}\n\n{_TOOLS_REQUEST}"),))
