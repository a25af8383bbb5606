"""What the sandboxes of an isolating provider must withstand; `sandbox_contract` says how these are used."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.vocabulary import SandboxSpec


async def test_at_its_timeout_a_commands_whole_tree_is_ended(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.exec(["true"])
    command = "setsid sh -c 'sleep 1.2; echo late > late' & sh -c 'trap \"\" TERM INT; sleep 99' & sleep 99"
    started = time.monotonic()
    result = await sandbox.exec(["/bin/sh", "-c", f"echo early; {command}"], timeout=0.7)
    assert time.monotonic() - started < 15.0
    assert (result.status, result.exit_code, result.stdout) == ("timeout", None, b"early\n")
    await asyncio.sleep(0.8)
    with pytest.raises(FileNotFoundError):
        await sandbox.read_file("late")
    assert b"sleep" not in (await sandbox.exec(["/bin/sh", "-c", "cat /proc/[0-9]*/comm"])).stdout
    await sandbox.close()


async def test_one_whose_first_thread_has_ended_is_ended_too(provider: SandboxProvider) -> None:
    """Such a process reads as a zombie, though its other threads run on, and its children hang on it."""
    code = """if True:
        import ctypes, os, platform, threading, time
        def write(name):
            while True:
                time.sleep(.01)
                open(name, "a").write("x")
        threading.Thread(target=write, args=("thread",)).start()
        os.fork() or write("child")
        ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)  # exit, of this thread alone
    """
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.write_files({"thread": b"", "child": b""})

    async def written() -> list[int]:
        return [len(await sandbox.read_file(name)) for name in ("thread", "child")]

    for seconds in (1.5, 10.0, 50.0):  # an interpreter may take long to start
        assert (await sandbox.exec(["python3", "-c", code], timeout=seconds)).status == "timeout"
        ended = await written()
        if min(ended) > 0:
            break
    assert min(ended) > 0
    await asyncio.sleep(0.3)
    assert await written() == ended
    await sandbox.close()


async def test_a_flood_of_output_is_cut(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec(output_bytes=100_000))
    result = await sandbox.exec(["/bin/sh", "-c", "yes"], timeout=20.0)
    assert (result.status, result.exit_code, result.truncated) == ("output_limit", None, True)
    assert len(result.stdout) <= 100_000
    assert (await sandbox.exec(["echo", "alive"])).stdout == b"alive\n"
    await sandbox.close()


async def test_links_lead_nowhere(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.bash("ln -s /etc/passwd file; ln -s /etc folder; ln -s /tmp/elsewhere new; mkfifo pipe")
    for path in ("file", "folder/passwd", "pipe"):
        with pytest.raises(FileNotFoundError):
            await sandbox.read_file(path)
    for path in ("file", "folder/new", "new"):
        with pytest.raises((ValueError, OSError), match="link"):
            await sandbox.write_files({path: b"x"})
    await sandbox.close()


async def test_a_full_disk_is_the_commands_own_problem(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec(disk_bytes=4 << 20))
    result = await sandbox.exec(["/bin/sh", "-c", "cat /dev/zero > large"], timeout=20.0)
    assert (result.status, result.exit_code) == ("completed", 1)
    assert (await sandbox.exec(["/bin/sh", "-c", "rm large; echo alive"])).stdout == b"alive\n"
    await sandbox.close()


async def test_a_commands_death_by_a_signal_is_an_exit_code(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    # 128 and SIGKILL's number 9.
    result = await sandbox.exec(["/bin/sh", "-c", "kill -9 $$"])
    assert (result.status, result.exit_code) == ("completed", 137)
    await sandbox.close()


async def test_a_command_has_the_environment_that_it_is_given(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    result = await sandbox.exec(["/bin/sh", "-c", "echo $GIVEN; pwd; id -u"], environment={"GIVEN": "value"})
    given, folder, uid = result.stdout.decode().split()
    assert (given, folder, uid != "0") == ("value", "/work", True)
    await sandbox.close()


__all__ = [name for name in globals() if name.startswith("test_")]  # pyright: ignore[reportUnsupportedDunderAll]
