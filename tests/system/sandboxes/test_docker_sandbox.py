"""An episode's commands and files: deadlines that hold, paths that stay inside, failures with the right owner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import docker
import pytest

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.docker_sandbox import DockerSandbox

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]


async def test_nothing_starts_before_the_first_use(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    assert isinstance(sandbox, DockerSandbox)
    assert sandbox.container_id is None
    await sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.exec(["true"])


async def test_input_environment_and_exit_codes(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    data = bytes(range(256)) * 2000
    assert (await sandbox.exec(["cat"], stdin=data)).stdout == data
    assert (
        await sandbox.exec(["sh", "-c", "echo $COLOUR; pwd"], environment={"COLOUR": "red"})
    ).stdout == b"red\n/work\n"
    assert (await sandbox.exec(["sh", "-c", "exit 3"])).exit_code == 3
    assert (await sandbox.exec(["sh", "-c", "kill -9 $$"])).exit_code == 128 + 9
    missing = await sandbox.exec(["no-such-program"])
    assert (missing.status, missing.exit_code) == ("completed", 127)
    assert b"No such file" in missing.stderr


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a/..", "nul\0byte", "", ".", "folder/", "back\\slash", "x" * 4096]
)
async def test_a_path_that_leaves_the_working_directory_is_refused(docker_provider: DockerProvider, path: str) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    assert isinstance(sandbox, DockerSandbox)
    with pytest.raises(ValueError, match=r"working directory|too long"):
        await sandbox.write_files({"good": b"", path: b""})
    with pytest.raises(ValueError, match=r"working directory|too long"):
        await sandbox.read_file(path)
    assert sandbox.container_id is None  # refused before anything was started


async def test_two_names_of_one_file_are_refused(docker_provider: DockerProvider) -> None:
    with pytest.raises(ValueError, match="the same file"):
        await docker_provider.sandbox(SandboxSpec()).write_files({"a/b": b"1", "a/./b": b"2"})


async def test_links_pipes_and_folders_are_no_files(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    await sandbox.exec(
        ["sh", "-c", "ln -s /etc/passwd link; ln -s /etc folder; mkfifo pipe; mkdir real; echo 1 > real/x"]
    )
    for path in ("link", "folder/passwd", "pipe", "real", "missing", "real/x/y"):
        with pytest.raises(FileNotFoundError, match=path):
            await asyncio.wait_for(sandbox.read_file(path), 5)
    with pytest.raises(OSError, match="refused"):
        await sandbox.write_files({"folder/new": b"x"})
    assert await sandbox.read_file("real/x") == b"1\n"


async def test_files_of_any_size_come_back_as_they_went(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    large = bytes(range(251)) * 20_000  # 5 MB: several messages
    await sandbox.write_files({"deep/er/large": large, "empty": b"", "umlaut-ä": b"\xff\x00"})
    assert await sandbox.read_file("deep/er/large", max_bytes=len(large)) == large
    assert await sandbox.read_file("deep/er/large", max_bytes=10) == large[:10]
    assert await sandbox.read_file("empty") == b""
    assert await sandbox.read_file("umlaut-ä") == b"\xff\x00"
    await sandbox.write_files({"deep/er/large": b"short"})
    assert await sandbox.read_file("deep/er/large") == b"short"


async def test_a_full_disk_is_an_os_error_and_not_an_infrastructure_failure(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec(disk_bytes=1 << 20))
    with pytest.raises(OSError, match="No space left"):
        await sandbox.write_files({"big": bytes(4 << 20)})


async def test_two_sandboxes_share_nothing(docker_provider: DockerProvider) -> None:
    one, two = docker_provider.sandbox(SandboxSpec()), docker_provider.sandbox(SandboxSpec())
    await one.write_files({"secret": b"1"})
    await one.exec(["sh", "-c", "echo 1 > /tmp/secret; echo 1 > /dev/shm/secret"])
    listed = await two.exec(["ls", "/work", "/tmp", "/dev/shm"])
    assert b"secret" not in listed.stdout


async def test_a_killed_container_is_a_sandbox_error(
    docker_provider: DockerProvider, docker_api: docker.APIClient
) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    assert isinstance(sandbox, DockerSandbox)
    await sandbox.exec(["true"])
    running = asyncio.create_task(sandbox.exec(["sleep", "60"]))
    await asyncio.sleep(0.3)
    docker_api.kill(str(sandbox.container_id))
    with pytest.raises(SandboxError, match="container is gone"):
        await running
    with pytest.raises(SandboxError, match="gone"):
        await sandbox.exec(["true"])
    await sandbox.close()
    assert (await docker_provider.sandbox(SandboxSpec()).exec(["true"])).exit_code == 0


async def test_a_lifetime_ends_a_forgotten_sandbox(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec(lifetime_seconds=1.0))
    for command in (["sleep", "60"], ["true"]):
        result = await sandbox.exec(command)
        assert (result.status, result.stderr) == ("timeout", b"the sandbox was ended: its lifetime of 1 s is over")
    with pytest.raises(OSError, match="its lifetime of 1 s is over"):
        await sandbox.write_files({"late": b""})
    with pytest.raises(FileNotFoundError, match="its lifetime of 1 s is over"):
        await sandbox.read_file("late")


async def test_a_build_folder_becomes_an_image_once(
    docker_provider: DockerProvider, docker_api: docker.APIClient, docker_image: str, tmp_path: Path
) -> None:
    # No RUN: nothing is executed while building, so it works under any builder.
    (tmp_path / "Dockerfile").write_text(f"FROM {docker_image}\nCOPY greeting /greeting\n")
    (tmp_path / "greeting").write_text(f"hello {tmp_path.name}\n")
    spec = SandboxSpec(build_folder=str(tmp_path))
    sandbox = docker_provider.sandbox(spec)
    assert isinstance(sandbox, DockerSandbox)
    assert (await sandbox.exec(["cat", "/greeting"])).stdout.decode() == f"hello {tmp_path.name}\n"
    again = docker_provider.sandbox(spec)
    assert (await again.exec(["true"])).exit_code == 0
    await again.close()
    tag = docker_api.inspect_container(str(sandbox.container_id))["Config"]["Image"]
    assert tag.startswith("agent-rl-task:")
    await sandbox.close()
    docker_api.remove_image(tag, force=True)


async def test_a_missing_image_says_what_to_do(docker_provider: DockerProvider) -> None:
    with pytest.raises(SandboxError, match="'no-such-image' is missing: run `agent-rl sandbox build`"):
        await docker_provider.sandbox(SandboxSpec(image="no-such-image")).exec(["true"])
