"""Episodes in this machine's namespaces: their server comes back, their first process is out of reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import SandboxError
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.local_sandbox import LocalPlace, LocalSandbox
from tests.component.sandboxes.inventory import descendants
from tests.component.sandboxes.providers_by_level import NESTED_NAMESPACES, RefusedLocal

pytestmark = pytest.mark.local_sandbox
CONFIG = SandboxConfig(provider="local", workers=1)


def guard(sandbox: LocalSandbox) -> int:
    """The parent of the first process of a sandbox in use."""
    return sandbox._place._channel._process.pid  # pyright: ignore


async def test_without_namespaces_of_its_own_a_killed_server_is_started_again_and_files_stay() -> None:
    """At the level `container` the server is an ordinary process, which its commands can kill, as in Docker."""
    async with RefusedLocal(CONFIG, NESTED_NAMESPACES) as provider:
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.write_files({"kept": b"yes"})
        ended = await sandbox.exec(["sh", "-c", "sleep 60 & kill -9 -1; sleep 5"])
        assert (ended.status, ended.exit_code) == ("crashed", None)
        assert ended.stderr.startswith(b"the sandbox's own server was ended, and with it every process")
        assert await sandbox.read_file("kept") == b"yes"
        stopped = await sandbox.exec(["sh", "-c", "kill -STOP -1; sleep 5"], timeout=0.5)
        assert stopped.status == "timeout"
        listed = await sandbox.exec(["sh", "-c", "echo alive; cat /proc/[0-9]*/comm"])
        assert listed.stdout.startswith(b"alive\n")
        assert b"sleep" not in listed.stdout


async def test_where_its_first_process_is_killed_from_outside_the_infrastructure_failed() -> None:
    async with LocalProvider(CONFIG) as provider:
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.exec(["true"])
        running = asyncio.create_task(sandbox.exec(["sleep", "60"]))
        await asyncio.sleep(0.2)
        os.kill(guard(sandbox), signal.SIGKILL)  # all others go with it
        with pytest.raises(SandboxError, match="the sandbox's first process is gone"):
            await running
        with pytest.raises(SandboxError, match="the sandbox's first process is gone"):
            await sandbox.exec(["true"])
        assert (await provider.sandbox(SandboxSpec()).exec(["true"])).exit_code == 0


async def test_where_all_of_it_is_stopped_from_outside_the_infrastructure_failed() -> None:
    """Programs inside can stop each other, as at the level `container` their server: never the first process."""
    async with LocalProvider(CONFIG) as provider:
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.exec(["true"])
        stopped: set[int] = set()
        # What is stopped starts nothing more, so the search ends; what the last command left may have just ended.
        while new := {guard(sandbox), *(pid for pid, _ in descendants(guard(sandbox)))} - stopped:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= new
        assert len(stopped) >= 3  # the guard, the first process and the server
        with pytest.raises(SandboxError, match="the sandbox's first process is gone"):
            await sandbox.exec(["true"], timeout=0.1)
        await sandbox.close()
        assert not stopped & {pid for pid, _ in descendants(os.getpid())}


async def test_a_server_may_be_asked_for_and_not_waited_for() -> None:
    """What the first process answers is not taken for the answer to the next order."""
    spec = SandboxSpec()
    async with LocalProvider(CONFIG) as provider:
        place = await LocalPlace.start(provider._worker_command(), spec)  # pyright: ignore[reportPrivateUsage]
        for delay in (0.0, 0.001, 0.01):
            asking = asyncio.create_task(place.start_server())
            await asyncio.sleep(delay)
            asking.cancel()
            await asyncio.wait([asking])
        client = await place.start_server()
        await place.kill_all()
        await client.close()
        again = await place.start_server()
        assert (await again.exec(["echo", "there"], b"", 10.0, {})).stdout == b"there\n"
        await again.close()
        await place.close()
