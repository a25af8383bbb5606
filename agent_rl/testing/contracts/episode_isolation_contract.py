"""Attacks that the sandboxes of an isolating provider must withstand. For the usage see `sandbox_contract`."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.vocabulary import SandboxSpec

STUBBORN = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:          # a daemon: another session, no parent left
        while True: time.sleep(0.01); open("alive", "a").write("x")
    os._exit(0)
print("ready", flush=True)
while True: time.sleep(1)
"""


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
    """Such a process looks like a zombie, but its other threads still run, and its children belong to it."""
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


async def test_a_deadline_ends_the_whole_tree_also_what_ignores_signals_and_left_its_session(
    provider: SandboxProvider,
) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    for seconds in (1.0, 10.0, 50.0):  # an interpreter may take long to start
        result = await sandbox.exec(["python3", "-c", STUBBORN], timeout=seconds)
        assert (result.status, result.exit_code) == ("timeout", None)
        assert seconds <= result.seconds < seconds + 11.0
        if result.stdout:
            break
    assert result.stdout == b"ready\n"
    size = len(await sandbox.read_file("alive"))
    assert size > 0
    await asyncio.sleep(0.2)
    assert len(await sandbox.read_file("alive")) == size


async def test_a_tree_that_forks_while_it_is_killed_is_killed(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec(processes=40))
    forking = "import os\nwhile True:\n    try:\n        if os.fork() == 0: os.setsid()\n    except OSError: pass"
    assert (await sandbox.exec(["python3", "-c", forking], timeout=0.5)).status == "timeout"
    # The dead ones count as well, until they are collected.
    async with asyncio.timeout(30):
        while int((await sandbox.exec(["sh", "-c", "cat /proc/*/comm | grep -c python3"])).stdout) > 2:
            await asyncio.sleep(0.1)


async def test_a_deadline_of_one_command_spares_what_another_left_running(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    # A beat is appended, never rewritten: a read between two beats returns the earlier beats.
    server = await sandbox.exec(["sh", "-c", "(while true; do echo >> beats; sleep 0.02; done) & echo started"])
    assert server.stdout == b"started\n"
    assert (await sandbox.exec(["sleep", "60"], timeout=0.2)).status == "timeout"
    first = await sandbox.read_file("beats")
    async with asyncio.timeout(30):
        while len(await sandbox.read_file("beats")) == len(first):
            await asyncio.sleep(0.05)


async def test_a_cancelled_command_is_ended(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.write_files({"alive": b""})
    running = asyncio.create_task(sandbox.exec(["python3", "-c", STUBBORN]))
    async with asyncio.timeout(30):
        while not await sandbox.read_file("alive"):  # an interpreter may take long to start
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.3)
    size = len(await sandbox.read_file("alive"))
    await asyncio.sleep(0.2)
    assert len(await sandbox.read_file("alive")) == size


async def test_commands_run_side_by_side(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.exec(["true"])
    # Each waits until all four have begun.
    meet = "touch here$0; while [ $(ls here* | wc -l) -lt 4 ]; do sleep 0.02; done; echo $0"
    results = await asyncio.gather(*(sandbox.exec(["sh", "-c", meet, str(i)], timeout=30.0) for i in range(4)))
    assert [r.stdout for r in results] == [b"0\n", b"1\n", b"2\n", b"3\n"]


async def test_what_ends_or_stops_all_that_it_can_costs_the_command_and_never_the_files(
    provider: SandboxProvider,
) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.write_files({"kept": b"yes"})
    assert (await sandbox.exec(["sh", "-c", "kill -9 1; kill -15 1; kill -9 -1; sleep 5"])).status == "crashed"
    assert await sandbox.read_file("kept") == b"yes"
    assert (await sandbox.exec(["sh", "-c", "kill -STOP -1; sleep 5"], timeout=0.5)).status == "timeout"
    assert await sandbox.read_file("kept") == b"yes"
    # No process of either command is left, not even a zombie.
    assert b"sleep" not in (await sandbox.exec(["sh", "-c", "cat /proc/[0-9]*/comm"])).stdout
    await sandbox.close()


__all__ = [name for name in globals() if name.startswith("test_")]  # pyright: ignore[reportUnsupportedDunderAll]
