"""The local sandbox's own matters: who may use it, what is left of it, its fall-back levels, its filter, its loads."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.providers import make_provider
from agent_rl.testing.contracts.sandbox_contract import ADD, request, values
from agent_rl.testing.contracts.sandbox_isolation_contract import probe
from agent_rl.vocabulary import Limits, RunRequest, SandboxSpec
from agent_rl_sandboxes.episode_client import checked_path
from agent_rl_sandboxes.local_channel import LocalChannel
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.workers import Worker, WorkerSetup, worker_command
from tests.component.sandboxes.providers_by_level import Refusal

pytestmark = pytest.mark.local_sandbox
CONFIG = SandboxConfig(provider="local", minimum_isolation="namespaces")
LONG = request("import time\ntime.sleep(60)", (1, 2), limits=Limits(wall_seconds=90.0))


@pytest.fixture
async def provider() -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(CONFIG)
    async with provider:
        yield provider


def descendants(pid: int) -> set[int]:
    """The pids of all living descendants of `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level} - found
        found |= level
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of `pids` that are still processes, other than ended ones that wait to be reaped."""
    found: set[int] = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found.add(pid)
        except OSError:
            continue
    return found


async def gone(pids: set[int], seconds: float = 10.0) -> bool:
    """Whether all of `pids` end within `seconds`."""
    until = time.monotonic() + seconds
    while alive(pids):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.02)
    return True


# Who may use it


async def _judge_one() -> None:
    async with LocalProvider(CONFIG) as provider:
        assert provider.isolation == "namespaces"
        assert values(await provider.run(request(ADD, (1, 2)))) == [3]
        sandbox = provider.sandbox(SandboxSpec())
        assert await sandbox.python("print(6 * 7)") == "42\n"
        await sandbox.close()


def test_an_ordinary_user_can_use_it() -> None:
    # First as whoever runs the tests, which also imports all that is needed: the other user may not read our files.
    asyncio.run(_judge_one())
    if os.geteuid() != 0:
        return
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.chdir("/")
            asyncio.run(_judge_one())
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def test_where_namespaces_are_refused_it_says_so_and_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = ALL_NAMESPACES.before(worker_command("/usr/bin/python3"))
    monkeypatch.setattr("agent_rl_sandboxes.local_provider.worker_command", lambda python: refusing)
    provider = LocalProvider(CONFIG)
    with pytest.raises(SandboxError, match=r"local sandbox cannot work here: .*unshare\(CLONE_NEWUSER\): EPERM"):
        await provider.start()
    reason = await LocalProvider.available(CONFIG, ProviderOptions())
    assert reason is not None
    assert "EPERM" in reason


@pytest.mark.parametrize(
    "spec",
    [
        SandboxSpec(image="python:3.12"),
        SandboxSpec(build_folder="images"),
        SandboxSpec(user="root"),
        SandboxSpec(network="bridge"),
        SandboxSpec(hardening="task_image"),
    ],
)
def test_what_only_docker_has_is_refused(spec: SandboxSpec) -> None:
    with pytest.raises(ConfigError, match=r"sandbox\.\w+: the local provider cannot give"):
        LocalProvider(CONFIG).sandbox(spec)
    with pytest.raises(ConfigError, match=r"sandbox\.local\.image: unknown key in \[sandbox\.local\]"):
        make_provider("local", SandboxConfig.model_validate({"local": {"image": "python:3.12"}}))


def test_paths_stay_inside() -> None:
    assert checked_path("./a//b") == "a/b"
    for path in ("a" * 5000, "\ud800", "a/..", "//a"):
        with pytest.raises(ValueError, match=r"working directory|too long|name of a file"):
            checked_path(path)


# What is left of it


async def test_modules_can_be_imported_ahead_of_every_run() -> None:
    asked = RunRequest("import os, sys\nprint('sqlite3' in sys.modules, dict(os.environ))")
    for preload, said in (((), b"False {}\n"), (("sqlite3",), b"True {}\n")):
        async with LocalProvider(SandboxConfig(workers=1, preload=preload)) as provider:
            assert (await provider.run(asked)).stdout == said
    with pytest.raises(SandboxError, match=r"\(sandbox.preload\) is not there: No module named 'nowhere'"):
        await LocalProvider(SandboxConfig(workers=1, preload=("nowhere",))).start()


async def test_after_closing_no_process_and_no_descriptor_is_left() -> None:
    await _judge_one()
    before = len(os.listdir("/proc/self/fd"))
    mine = descendants(os.getpid())
    async with LocalProvider(SandboxConfig(workers=3)) as provider:
        await asyncio.gather(*(provider.run(request(ADD, (n, 1))) for n in range(20)))
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.exec(["/bin/sh", "-c", "sleep 60 &"])
        started = descendants(os.getpid()) - mine
        # Three guards, each with its server and a process for the next run, and a sandbox.
        assert len(started) >= 7
    assert alive(started) == set()
    assert len(os.listdir("/proc/self/fd")) == before


CONTROLLER = f"""
import asyncio, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job, and what it starts, ignores it
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl.config import SandboxConfig
from agent_rl.vocabulary import Limits, RunRequest, SandboxSpec
async def main():
    async with LocalProvider(SandboxConfig(workers=2)) as provider:
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.exec(["true"])
        work = [provider.run(RunRequest({LONG.program!r}, limits=Limits(wall_seconds=90.0))) for _ in range(2)]
        print("ready", flush=True)
        await asyncio.gather(sandbox.exec(["sleep", "60"], timeout=90.0), *work)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_nothing_survives_its_controller(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert controller.stdout is not None
    assert await asyncio.to_thread(controller.stdout.readline) == b"ready\n"
    await asyncio.sleep(0.5)
    started = descendants(controller.pid)
    assert len(started) >= 7
    controller.send_signal(number)
    await asyncio.to_thread(controller.wait)
    controller.stdout.close()
    assert await gone(started)


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    before = descendants(os.getpid())
    starting = asyncio.ensure_future(LocalChannel.start(["/bin/sleep", "60"]))
    await asyncio.sleep(0)  # the process runs, its socket is not taken over yet
    assert len(descendants(os.getpid())) == len(before) + 1
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert descendants(os.getpid()) == before


# Healing


async def test_a_worker_killed_under_a_run_is_an_error_and_the_next_run_has_another(provider: LocalProvider) -> None:
    running = asyncio.ensure_future(provider.run(LONG))
    await asyncio.sleep(0.3)
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):  # it went with its parent
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match="a worker died"):
        await running
    for _ in range(4):
        try:
            result = await provider.run(request(ADD, (1, 2)))
        except SandboxError:
            # The other worker, which was killed too.
            continue
        assert values(result) == [3]


async def test_a_run_killed_from_outside_is_no_verdict(provider: LocalProvider) -> None:
    program = "import time\nopen('/proc/self/comm', 'w').write('victim')\ntime.sleep(60)"
    running = asyncio.ensure_future(provider.run(request(program, (1, 2), limits=LONG.limits)))
    async with asyncio.timeout(20):
        while (victim := _named("victim")) is None:
            await asyncio.sleep(0.02)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(SandboxError, match="killed from outside"):
        await running
    assert values(await provider.run(request(ADD, (1, 2)))) == [3]


def _named(name: str) -> int | None:
    """A descendant of this process that has given itself `name`."""
    for pid in descendants(os.getpid()):
        try:
            if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                return pid
        except OSError:
            continue
    return None


async def test_a_sandboxs_lifetime_ends_it(provider: LocalProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec(lifetime_seconds=0.4))
    for command in (["sleep", "60"], ["true"]):
        result = await sandbox.exec(command)
        assert (result.status, result.stderr) == ("timeout", b"the sandbox was ended: its lifetime of 0.4 s is over")
    with pytest.raises(OSError, match=r"its lifetime of 0\.4 s is over"):
        await sandbox.write_files({"late": b""})
    with pytest.raises(FileNotFoundError, match=r"its lifetime of 0\.4 s is over"):
        await sandbox.read_file("late")


async def test_two_hundred_runs_at_once(provider: LocalProvider) -> None:
    results = await asyncio.gather(*(provider.run(request(ADD, (n, n))) for n in range(200)))
    assert [values(result) for result in results] == [[2 * n] for n in range(200)]


async def test_hundreds_of_runs_in_one_worker_leave_it_as_it_was() -> None:
    async with LocalProvider(SandboxConfig(workers=1)) as provider:
        assert isinstance(provider, LocalProvider)
        first = await probe(provider)
        for n in range(150):
            assert values(await provider.run(request(ADD, (n, n)))) == [2 * n]
        assert await probe(provider) == first


async def test_a_channel_ends_also_where_somebody_else_holds_its_other_end_and_reads_nothing() -> None:
    channel = await LocalChannel.start(["/bin/sh", "-c", "sleep 60 & exec sleep 60"])
    await asyncio.sleep(0.2)
    (left,) = descendants(channel._process.pid)  # pyright: ignore[reportPrivateUsage]
    try:
        writing = asyncio.create_task(channel.write(bytes(8 << 20)))
        async with asyncio.timeout(20):
            await channel.kill()
        await asyncio.wait([writing])
        assert alive({left}) == {left}
    finally:
        os.kill(left, signal.SIGKILL)


# Fall-back levels, with the calls refused as a host would refuse them


ALL_NAMESPACES = Refusal({"unshare": errno.EPERM}, namespaces=errno.EPERM)


async def _open(refusal: Refusal, *, fall_back: bool = True, before: tuple[str, ...] = ()) -> Worker:
    channel = await LocalChannel.start([*before, *refusal.before(worker_command("/usr/bin/python3"))])
    return await Worker.open(channel, WorkerSetup(fall_back=fall_back))


@pytest.mark.skipif(os.geteuid() != 0, reason="the level needs root")
async def test_root_without_namespaces_gives_each_run_a_uid_of_its_own() -> None:
    # With a network of its own, as in a container: a worker is not used again once there was traffic.
    worker = await _open(ALL_NAMESPACES, before=("unshare", "--net"))
    try:
        assert worker.isolation == "uid"
        assert "unshare(CLONE_NEWUSER): EPERM" in worker.reasons[0]
        program = """
import os, subprocess
def add(a, b):
    open('/tmp/agent-rl-left', 'w').write('x')
    os.makedirs('/tmp/agent-rl-folder/deep')
    os.chmod('/tmp/agent-rl-folder', 0)
    daemon = subprocess.Popen(['sleep', '60'], start_new_session=True)
    return [os.getuid(), daemon.pid, os.getcwd()]
"""
        seen: list[list[int]] = []
        for _ in range(3):
            result = await worker.run(request(program, (1, 2)))
            assert (result.status, result.isolation, result.anomalies) == ("completed", "uid", ())
            seen += values(result)
        assert len({uid for uid, _, _ in seen}) == 3
        assert 0 not in {uid for uid, _, _ in seen}
        assert alive({daemon for _, daemon, _ in seen}) == set()
        assert not [name for name in os.listdir("/tmp") if name.startswith(("agent-rl-left", "agent-rl-folder"))]
        assert not any(os.path.exists(str(folder)) for _, _, folder in seen)
        for hostile, status in (
            ("import os\nos.kill(-1, 9)\nos.kill(os.getpid(), 9)", "crashed"),
            ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "timeout"),
            ("open('/etc/agent-rl', 'w')", "completed"),
        ):
            limits = Limits(wall_seconds=1.0, cpu_seconds=3.0, processes=16)
            result = await worker.run(request(hostile, (1, 2), limits=limits))
            assert (result.status, values(result)) == (status, [])
        assert values(await worker.run(request(ADD, (1, 2)))) == [3]
        assert worker.reusable
    finally:
        await worker.close()
    assert not os.path.exists("/tmp/run")


def _unprivileged() -> list[str]:
    """The start of a command line that gives root away."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []


async def test_a_user_without_namespaces_has_a_worker_for_each_run() -> None:
    for refusal, reason in (
        (ALL_NAMESPACES, "unshare(CLONE_NEWUSER): EPERM"),
        (Refusal({"mount": errno.EACCES}), "mounting none on /: EACCES"),
    ):
        start = [*_unprivileged(), *refusal.before(worker_command("/usr/bin/python3"))]
        worker = await Worker.open(await LocalChannel.start(start), WorkerSetup())
        try:
            assert worker.isolation == "container"
            assert reason in worker.reasons[0]
            assert "uid: the worker server is not root" in worker.reasons[1]
            result = await worker.run(request(ADD, (1, 2)))
            assert (values(result), result.isolation) == ([3], "container")
            assert not worker.reusable
        finally:
            await worker.close()


async def test_without_leave_to_fall_back_a_worker_does_not_start() -> None:
    with pytest.raises(SandboxError, match=r"clone|CLONE_NEWUSER"):
        await _open(ALL_NAMESPACES, fall_back=False)
