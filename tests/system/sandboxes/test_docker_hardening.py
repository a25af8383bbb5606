"""A container is as closed as its options say: by what the daemon reports, and by trying from inside."""

from __future__ import annotations

import asyncio
from typing import Any

import docker
import pytest

from agent_rl.vocabulary import ExecResult, SandboxSpec
from agent_rl_sandboxes import docker_sandbox
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.docker_sandbox import DockerSandbox
from agent_rl_sandboxes.episode_client import server_command
from agent_rl_sandboxes.resource_owner import LABEL, Owner

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

MIB = 2**20
BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"


async def inspected(provider: DockerProvider, api: docker.APIClient, spec: SandboxSpec) -> dict[str, Any]:
    sandbox = provider.sandbox(spec)
    assert isinstance(sandbox, DockerSandbox)
    assert (await sandbox.exec(["true"])).exit_code == 0
    return api.inspect_container(str(sandbox.container_id))


async def python(provider: DockerProvider, code: str, **kwargs: Any) -> ExecResult:
    return await provider.sandbox(SandboxSpec()).exec(["python3", "-c", code], **kwargs)


async def test_a_strict_container_is_closed_on_every_side_that_docker_knows(
    docker_provider: DockerProvider, docker_api: docker.APIClient
) -> None:
    spec = SandboxSpec(memory_bytes=256 * MIB, disk_bytes=32 * MIB, inodes=100, processes=20, cpus=0.5)
    found = await inspected(docker_provider, docker_api, spec)
    host = found["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["ReadonlyRootfs"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert any(option.startswith("seccomp={") for option in host["SecurityOpt"])
    assert host["MaskedPaths"]
    assert host["ReadonlyPaths"]
    assert host["PidsLimit"] == 20 + 8
    # 256 for programs, 32 + 32 + 16 for the three tmpfs (work, tmp, shm), 64 for the server.
    assert host["Memory"] == (256 + 32 + 32 + 16 + 64) * MIB
    assert host["MemorySwap"] == host["Memory"]
    assert host["NanoCpus"] == 500_000_000
    assert host["IpcMode"] == "none"
    assert host["Init"]
    assert host["AutoRemove"]
    assert host["LogConfig"]["Type"] == "none"
    assert not host["Binds"]
    assert not found["Mounts"]
    assert host["Tmpfs"]["/work"] == f"rw,nosuid,nodev,exec,size={32 * MIB},nr_inodes=100,mode=1777,uid=1000,gid=1000"
    assert "noexec" in host["Tmpfs"]["/tmp"]
    assert {u["Name"] for u in host["Ulimits"]} == {"nofile", "core", "memlock", "msgqueue", "sigpending"}
    assert found["Config"]["User"] == "61373:61373"
    owner = Owner.parse(found["Config"]["Labels"][LABEL])
    assert owner is not None
    assert not owner.provably_dead()


async def test_task_image_has_a_writable_root_and_a_root_user_and_still_no_power(
    docker_provider: DockerProvider, docker_api: docker.APIClient
) -> None:
    spec = SandboxSpec(hardening="task_image", user="0", workdir="/root", disk_bytes=8 * MIB)
    sandbox = docker_provider.sandbox(spec)
    assert isinstance(sandbox, DockerSandbox)
    result = await sandbox.exec(
        ["sh", "-c", "id -u; touch /written && echo writable; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status"]
    )
    lines = result.stdout.decode().split()
    assert lines[:2] == ["0", "writable"]
    assert lines[3::2] == ["0" * 16, "0" * 16, "1"] or set(lines[3::2]) == {"0" * 16, "1"}
    host = docker_api.inspect_container(str(sandbox.container_id))["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert not host["ReadonlyRootfs"]
    assert "/root" not in host["Tmpfs"]
    assert "noexec" in host["Tmpfs"]["/tmp"], "this image has nothing there"
    too_large = await sandbox.exec(["python3", "-c", f"open('/big', 'wb').write(bytes({16 * MIB}))"])
    assert too_large.exit_code == 1
    assert b"File too large" in too_large.stderr


async def test_a_writable_root_is_ended_where_many_files_go_past_its_bound(docker_provider: DockerProvider) -> None:
    spec = SandboxSpec(hardening="task_image", user="0", workdir="/root", disk_bytes=4 * MIB)
    sandbox = docker_provider.sandbox(spec)
    code = "import time\nfor i in range(16): open(f'/f{i}', 'wb').write(bytes(2**20))\ntime.sleep(60)"
    result = await sandbox.exec(["python3", "-c", code], timeout=30)
    again = await sandbox.exec(["true"])
    # Where the storage has quotas the seventeenth write fails at once; else the watch ends the place.
    assert result.status == "crashed" or b"No space left" in result.stderr
    assert again.status == "crashed" or result.status == "completed"


async def test_there_is_no_network(docker_provider: DockerProvider) -> None:
    code = (
        "import socket\n"
        "print(socket.if_nameindex())\n"
        "for at in (('1.1.1.1', 53), ('172.17.0.1', 80), ('169.254.169.254', 80)):\n"
        "    try: socket.create_connection(at, 2)\n"
        "    except OSError as error: print(error.errno)\n"
    )
    result = await python(docker_provider, code)
    names, *errors = result.stdout.decode().splitlines()
    assert "eth" not in names
    assert errors == ["101", "101", "101"]  # ENETUNREACH


async def test_programs_have_no_capabilities_and_cannot_get_any(docker_provider: DockerProvider) -> None:
    status = (await python(docker_provider, "print(open('/proc/self/status').read())")).stdout.decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert fields["Uid"].split() == ["1000"] * 4
    sandbox = docker_provider.sandbox(SandboxSpec())
    for command in (["unshare", "-U", "true"], ["unshare", "-n", "true"], ["mount", "-t", "tmpfs", "x", "/tmp"]):
        assert (await sandbox.exec(command)).exit_code != 0
    setuid = await sandbox.exec(["sh", "-c", "find / -xdev -perm /6000 -type f 2>/dev/null | wc -l; mknod n b 8 0"])
    assert setuid.stdout == b"0\n"
    assert b"permitted" in setuid.stderr or b"denied" in setuid.stderr


async def test_the_root_is_read_only_and_nothing_of_the_host_is_there(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    for folder in ("/", "/usr/bin", "/etc", "/var/tmp", "/dev", "/proc/sys/kernel"):
        result = await sandbox.exec(["touch", f"{folder}/x"])
        assert result.exit_code == 1, folder
    sockets = await sandbox.exec(["sh", "-c", "ls /var/run/docker.sock /run/containerd; env"])
    assert sockets.stdout.decode().count("\n") <= 8
    assert b"docker.sock'" in sockets.stderr
    noexec = await sandbox.exec(["sh", "-c", "cp /bin/true /tmp/t; /tmp/t"])
    assert noexec.exit_code == 126


async def test_disk_and_inodes_are_bounded(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec(disk_bytes=8 * MIB, inodes=64))
    full = await sandbox.exec(["dd", "if=/dev/zero", "of=big", "bs=1M", "count=64"])
    assert b"No space left on device" in full.stderr
    size = int((await sandbox.exec(["stat", "-c", "%s", "big"])).stdout)
    assert 7 * MIB <= size <= 8 * MIB
    await sandbox.exec(["rm", "big"])
    many = (
        "n = 0\ntry:\n    while True:\n        open(str(n), 'w').close()\n        n += 1\nexcept OSError:\n    print(n)"
    )
    assert (await sandbox.exec(["python3", "-c", many])).stdout == b"63\n"  # and the folder itself


async def test_memory_is_bounded_without_swap_and_the_sandbox_goes_on(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec(memory_bytes=64 * MIB, disk_bytes=4 * MIB))
    code = "x = bytearray(2**30)\nfor i in range(0, 2**30, 4096): x[i] = 1"
    assert (await sandbox.exec(["python3", "-c", code], timeout=30)).status == "out_of_memory"
    assert (await sandbox.exec(["echo", "still"])).stdout == b"still\n"


async def test_a_fork_bomb_is_bounded_and_ended(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec(processes=24))
    result = await sandbox.exec(["python3", "-c", BOMB], timeout=1.0)
    assert result.status == "timeout"
    assert result.seconds < 15.0  # it is ended, not waited for
    counted = "n=$(cat /proc/*/comm | grep -c python3); [ $n -le 2 ] && break; sleep .05"
    count = f"for i in $(seq 200); do {counted}; done; echo $n"
    left = await sandbox.exec(["sh", "-c", count])
    assert int(left.stdout) <= 2  # the server and this command's keeper, once the dead are reaped


async def test_after_one_that_outruns_the_search_the_next_command_runs(
    docker_provider: DockerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without time to search everything is killed in one step; what is dead is gone before the next command begins."""

    def hurried(*arguments: Any) -> list[str]:
        python, *options, program, workdir, size = server_command(*arguments)
        for said, instead in (
            ("KILL_SECONDS = 1.0", "KILL_SECONDS = 0.0"),
            ("GONE_SECONDS = 0.5", "GONE_SECONDS = 1.5"),
        ):
            assert program.count(said) == 1
            program = program.replace(said, instead)
        return [python, *options, program, workdir, size]

    monkeypatch.setattr(docker_sandbox, "server_command", hurried)
    for _ in range(4):
        sandbox = docker_provider.sandbox(SandboxSpec(processes=21))  # no other test's: none has been made ahead
        assert (await sandbox.exec(["python3", "-c", BOMB], timeout=0.5)).status == "timeout"
        assert (await sandbox.exec(["echo", "there"])).stdout == b"there\n"
        await sandbox.close()


async def test_bombs_at_once_end_no_container(docker_provider: DockerProvider) -> None:
    """A place that is handed out needs no process more: one that takes them all cannot keep it from being held."""

    async def bombed() -> str:
        sandbox = docker_provider.sandbox(SandboxSpec(processes=24))
        status = (await sandbox.exec(["python3", "-c", BOMB], timeout=0.5)).status
        assert (await sandbox.exec(["echo", "there"])).stdout == b"there\n"
        await sandbox.close()
        return status

    for _ in range(3):
        assert await asyncio.gather(*(bombed() for _ in range(4))) == ["timeout"] * 4


async def test_output_is_bounded_on_both_channels(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec(output_bytes=1000))
    for descriptor in (1, 2):
        code = f"import os\nwhile True: os.write({descriptor}, b'A' * 65536)"
        result = await sandbox.exec(["python3", "-c", code], timeout=10)
        assert result.status == "output_limit"
        assert result.truncated
        assert len(result.stdout if descriptor == 1 else result.stderr) == 1000


async def test_nothing_inside_can_end_the_container(docker_provider: DockerProvider) -> None:
    sandbox = docker_provider.sandbox(SandboxSpec())
    await sandbox.write_files({"kept": b"yes"})
    ended = await sandbox.exec(["sh", "-c", "kill -9 1; kill -15 1; kill -9 -1; sleep 5"])
    assert ended.status == "crashed"
    assert await sandbox.read_file("kept") == b"yes"
    stopped = await sandbox.exec(["sh", "-c", "kill -STOP -1; sleep 5"], timeout=0.5)
    assert stopped.status == "timeout"
    assert await sandbox.read_file("kept") == b"yes"
