"""A folder task's scripts run under the shells that they name, and its image's settings hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_rl.contracts import SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.judging.judged_place import started_by
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import SandboxSpec, ScriptTests, Submission
from agent_rl_envs.folder import Folder, FolderConfig, script_command
from tests.component.envs.test_folder import Says, judged
from tests.component.places import PLACES, provider_of

ARRAYS = "a=(1 2)\n[[ ${a[1]} == 2 ]] && [[ $(cat answer.txt) == 42 ]] || { echo told as it is; exit 3; }\n"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / "task" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("place", PLACES)
async def test_scripts_run_under_the_shell_that_they_name(place: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        instruction_DOT_md="Write 42 into answer.txt.",
        tests__test_DOT_sh=f"#!/usr/bin/env bash\n{ARRAYS}",
        solution__solve_DOT_sh="#!/bin/bash -e\nb=(42)\nfalse || [[ ${b[0]} ]] && echo ${b[0]} > answer.txt\n",
    )
    async with provider_of(place) as provider:
        environment = Folder(FolderConfig(folder=str(tmp_path)), TaskVerifier(provider))
        (task,) = await environment.load("test")
        assert isinstance(task.tests, ScriptTests)
        assert task.tests.command == ("/usr/bin/env", "bash", "tests/test.sh")
        assert (task.oracle or "").startswith("```bash\n#!/bin/bash -e\n")
        replies = {
            "oracle": (task.oracle or "", True),
            "tagged": ("```bash\nb=(42); echo ${b[0]} > answer.txt\n```", True),
            "another program": ("```sh\n#!/usr/bin/env python3\nopen('answer.txt', 'w').write('42')\n```", True),
            "long": (f"```bash\n: {'x' * 200_000}\nb=(42); echo ${{b[0]}} > answer.txt\n```", True),
            "wrong": ("```sh\necho 41 > answer.txt\n```", False),
        }
        for name, (reply, passes) in replies.items():
            verdict = await judged(environment, task, Says(reply), provider)
            assert verdict.passed == passes, (name, verdict)
            if not passes:
                assert verdict.tests[0].detail == "exit code 3\ntold as it is"
                assert verdict.feedback == ""


@pytest.mark.parametrize("place", PLACES)
async def test_a_shell_that_the_sandbox_lacks_is_the_tasks_fault_and_exit_127_is_not(
    place: str, tmp_path: Path
) -> None:
    tests = {
        "absolute": ("#!/usr/bin/no-such-shell -e\ntrue\n", "/usr/bin/no-such-shell"),
        "on PATH": ("#!/usr/bin/env no-such-shell\ntrue\n", "no-such-shell"),
        "a command in the script": ("#!/usr/bin/env sh\nno-such-shell\n", ""),
        "an exit code": ("exit 127\n", ""),
    }
    async with provider_of(place) as provider:
        for name, (script, lacks) in list(tests.items())[:: 2 if place == "docker" else 1]:
            folder = tmp_path / name
            write(folder, instruction_DOT_md="Do it.", tests__test_DOT_sh=script)
            verifier = TaskVerifier(provider, retries=0)
            (task,) = await Folder(FolderConfig(folder=str(folder)), verifier).load("test")
            if lacks:
                with pytest.raises(SandboxError, match=f"task task cannot be started: the sandbox has no {lacks}$"):
                    await verifier.judge(task, Submission.of_files({}))
            else:
                verdict = await verifier.judge(task, Submission.of_files({}))
                assert (verdict.passed, verdict.status) == (False, "failed")
                assert verdict.tests[0].detail.startswith("exit code 127")


def test_what_a_command_needs_to_start() -> None:
    assert started_by(("/bin/sh", "tests/test.sh"), "/work") == ["/bin/sh"]
    assert started_by(("/usr/bin/env", "-i", "A=1", "bash", "-e", "tests/test.sh"), "/work") == ["/usr/bin/env", "bash"]
    assert started_by(("/work/tests/run", "zsh"), "/work") == []


def test_the_first_line_decides_and_then_the_tag() -> None:
    assert script_command("true", "sh") == (["/bin/sh", "-c", "true"], b"")
    assert script_command("#!/bin/dash -e\ntrue", "bash") == (["/bin/dash", "-e", "-c", "#!/bin/dash -e\ntrue"], b"")
    assert script_command("#!/usr/bin/env -S bash -eu\n", "sh")[0][:4] == ["/usr/bin/env", "bash", "-eu", "-c"]
    assert script_command("#!/usr/bin/perl\n1", "sh")[0][-1] == "/usr/bin/perl"


@pytest.mark.docker
@pytest.mark.slow
async def test_what_an_image_says_holds_for_the_agent_and_for_the_tests(tmp_path: Path) -> None:
    dockerfile = (
        "FROM agent-rl-python:latest\nUSER 0\nRUN mkdir -p /srv/app/bin && echo 'print(7)' > /srv/app/given.py"
        " && printf '#!/bin/sh\\necho tool\\n' > /srv/app/bin/tool && chmod +x /srv/app/bin/tool"
        " && printf '[tool:pytest]\\naddopts = -q\\n' > /srv/app/setup.cfg && chmod 444 /srv/app/given.py"
        " && chown -R 1000:1000 /srv/app && mkdir -m 755 /tmp/data && echo in tmp > /tmp/data/given.txt\n"
        "ENV MODE=special PATH=/srv/app/bin:/usr/local/bin:/usr/bin:/bin\nUSER 1000\nWORKDIR /srv/app\n"
    )
    check = "test $MODE = special && test $(id -u) = 1000 && test $(pwd) = /srv/app && test $(tool) = tool && "
    check += "test \"$(cat /tmp/data/given.txt)\" = 'in tmp' && "
    write(
        tmp_path,
        instruction_DOT_md="Write 42.",
        environment__Dockerfile=dockerfile,
        tests__test_DOT_sh=f"{check}test $(cat answer.txt) = special1000/srv/app && test $(python3 given.py) = 7\n",
    )
    reply = (
        "```sh\ngrep -q 'in tmp' /tmp/data/given.txt && echo $MODE$(id -u)$(pwd) > answer.txt\n"
        "printf '#!/bin/sh\\necho other\\n' > bin/tool\n```"
    )
    async with provider_of("docker") as provider:
        environment = Folder(FolderConfig(folder=str(tmp_path)), TaskVerifier(provider))
        (task,) = await environment.load("test")
        verdict = await judged(environment, task, Says(reply), provider)
        assert verdict.passed, verdict
        assert not (await judged(environment, task, Says("```sh\ntrue\n```"), provider)).passed
        await a_failing_build_says_what_it_printed(provider, tmp_path)


async def a_failing_build_says_what_it_printed(provider: SandboxProvider, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    failing = "echo before; no-such-command; printf '\\033[31mthe '; echo end >&2; exit 9"
    (folder / "Dockerfile").write_text(f"FROM agent-rl-python:latest\nRUN {failing}\n")
    spec = SandboxSpec(build_folder=str(folder), hardening="task_image")
    sandbox = provider.sandbox(spec)
    with pytest.raises(SandboxError) as raised:
        await sandbox.exec(["true"])
    await sandbox.close()
    said = str(raised.value)
    lines = said.splitlines()
    assert "could not be built: " in lines[0] and "code: 9" in lines[0]
    # The two streams come in any order: the start of a line of the one may stand before a line of the other.
    assert "before" in lines and "/bin/sh: 1: no-such-command: not found\n" in said
    assert not [line for line in lines if "\\x1b" in line or "--->" in line or not line.strip()]
    assert not lines[-1].startswith("Removing")
