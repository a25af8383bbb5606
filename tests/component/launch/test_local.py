"""Role processes: calls, cancellation, errors, death, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from agent_rl.errors import ConfigError, LearnerError, PolicyError
from agent_rl.launch.local_launcher import LocalLauncher, RoleProcess

ECHO = f"{Path(__file__).parent / 'roles_for_tests.py'}:Echo"


async def start(runtime: LocalLauncher, **kwargs: object) -> RoleProcess:
    return await runtime.start("echo", ECHO, kwargs, error=PolicyError)


def gone(pid: int) -> bool:
    """Whether process `pid` has ended (a zombie that nobody reaped has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def eventually(condition: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # pyright: ignore
            return True
        await asyncio.sleep(0.02)
    return False


async def test_calls_errors_and_cancellation(tmp_path: Path) -> None:
    async with LocalLauncher(tmp_path) as runtime:
        role = await start(runtime, greeting="good day")
        assert await role.call("greet", "you") == "good day you"
        assert await role.call("greet", name="there") == "good day there"

        # a slow call does not hold up another; cancelling it cancels the method over there
        slow = asyncio.create_task(role.call("slow", 60.0))
        await asyncio.sleep(0)
        assert await role.call("double", 21) == 42
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await role.call("cancelled") == 1

        with pytest.raises(ConfigError, match=r"a\.b: wrong") as config:
            await role.call("raises", "config")
        assert config.value.key == "a.b"
        assert "in the role process" in "".join(config.value.__notes__)
        with pytest.raises(ValueError, match="no good value"):
            await role.call("raises", "value")
        with pytest.raises(PolicyError, match="_Local: something of the role's own"):
            await role.call("raises", "other")
        with pytest.raises(TypeError, match="Result cannot be sent between processes"):
            await role.call("unpicklable")
        with pytest.raises(TypeError, match="Call cannot be sent between processes"):
            await role.call("double", lambda: None)
        with pytest.raises(AttributeError, match="no_such_method"):
            await role.call("no_such_method")
        with pytest.raises(PolicyError, match=r"echo .process \d+.: slow did not answer within 0.05 s"):
            await role.call("slow", 60.0, timeout=0.05)
        assert await role.call("cancelled") == 2
        assert await role.call("environment", "OMP_NUM_THREADS") == "1"
        assert role.alive


async def test_thousands_of_calls_keep_their_answers() -> None:
    async with LocalLauncher() as runtime:
        role = await start(runtime)
        answers = await asyncio.gather(*(role.call("double", i) for i in range(5000)))
        assert answers == [2 * i for i in range(5000)]
        big = "x" * 5_000_000
        assert await role.call("greet", big) == f"hello {big}"


async def test_a_killed_process_fails_pending_and_later_calls_with_the_cause(tmp_path: Path) -> None:
    async with LocalLauncher(tmp_path) as runtime:
        role = await start(runtime)
        child = await role.call("spawn")
        await role.call("last_words", "the disk is full")
        pending = asyncio.create_task(role.call("slow", 60.0))
        await asyncio.sleep(0.05)
        os.kill(role.pid, signal.SIGKILL)
        expected = (
            r"(?s)echo \(process \d+\) died \(killed by SIGKILL\); the last lines of .*echo\.log:\n  the disk is full"
        )
        with pytest.raises(PolicyError, match=expected):
            await pending
        with pytest.raises(PolicyError, match=expected):
            await role.call("double", 1)
        assert not role.alive
        assert "SIGKILL" in await role.wait()
        assert await eventually(lambda: gone(child)), "its process group is gone too"

        again = await start(runtime)  # a role can be started again under its name
        assert await again.call("double", 4) == 8
        await again.call("last_words", "not of this one")
        with pytest.raises(PolicyError, match=r"died \(exit code 3\)") as error:
            await again.call("leave", 3)
        assert "the disk is full" not in str(error.value), "the log's last lines are those of this process"


async def test_starting_fails_with_the_reason(tmp_path: Path) -> None:
    async with LocalLauncher(tmp_path) as runtime:
        with pytest.raises(ConfigError, match="did you mean 'hello'"):
            await start(runtime, greeting="refuse")
        with pytest.raises(PolicyError, match=r"(?s)died while starting \(exit code 7\); the last lines.*a last word"):
            await start(runtime, greeting="die")
        with pytest.raises(LearnerError, match=r"did not start within 1 s"):
            await runtime.start("hangs", ECHO, {"greeting": "hang"}, error=LearnerError, timeout=1)
        with pytest.raises(ConfigError, match=r"agent_rl has no 'Nothing'"):
            await runtime.start("missing", "agent_rl:Nothing", {})


async def test_stop_closes_the_object_and_leaves_nothing(tmp_path: Path) -> None:
    async with LocalLauncher(tmp_path) as runtime:
        role = await start(runtime)
        await role.call("on_close", str(tmp_path / "closed"))
        pending = asyncio.create_task(role.call("slow", 60.0))
        await asyncio.sleep(0.05)
        await role.stop()
        await role.stop()
        assert (tmp_path / "closed").read_text() == "closed"
        with pytest.raises(PolicyError, match=r"cancelled|was stopped"):
            await pending
        with pytest.raises(PolicyError, match=r"was stopped \(exit code 0\)"):
            await role.call("double", 1)
        other = await start(runtime)
        pids = role.pid, other.pid
    assert all(gone(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_roles_die_with_their_parent(tmp_path: Path) -> None:
    program = f"""
import asyncio
from agent_rl.launch.local_launcher import LocalLauncher
async def main():
    async with LocalLauncher() as runtime:
        role = await runtime.start("echo", {ECHO!r}, {{}})
        print(role.pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    await parent.wait()
    assert await eventually(lambda: gone(pid))
