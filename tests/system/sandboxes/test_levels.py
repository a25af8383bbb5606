"""Each level of isolation, got by refusing what the better ones need: what is said of it, and what it still holds."""

from __future__ import annotations

import errno
import os

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import SandboxError
from agent_rl.testing.contracts.sandbox_contract import ADD, PASSED, pair, reports, values
from agent_rl.testing.contracts.sandbox_contract import request as run_request
from agent_rl.vocabulary import Isolation, Limits
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.seccomp import profile
from tests.component.sandboxes.inventory import descendants
from tests.component.sandboxes.providers_by_level import (
    NESTED_NAMESPACES,
    Kind,
    Refusal,
    RefusedDocker,
    RefusedLocal,
    provider_at,
    skip_without_namespaces,
)

DOCKER, LOCAL = pytest.mark.docker, pytest.mark.local_sandbox

ALL_NAMESPACES = Refusal({"unshare": errno.EPERM}, namespaces=errno.EPERM)
NO_USERS = {"setresuid": errno.EPERM}

# What is refused -> the level that is left, with the words for why no better one.
REFUSALS: list[tuple[Refusal, Isolation, list[str]]] = [
    (Refusal(user_namespaces=errno.EPERM), "uid", [r"namespaces: unshare(CLONE_NEWUSER): EPERM"]),
    # What max_user_namespaces = 0 answers.
    (Refusal(user_namespaces=errno.ENOSPC), "uid", [r"namespaces: unshare(CLONE_NEWUSER): ENOSPC"]),
    (Refusal({"unshare": errno.EPERM}), "uid", ["namespaces: unshare(CLONE_NEWUSER): EPERM"]),
    (NESTED_NAMESPACES, "uid", ["namespaces: clone with user, pid, mount and ipc namespaces: EPERM"]),
    # What AppArmor's Docker profile answers.
    (Refusal({"mount": errno.EACCES}), "uid", ["namespaces: mounting none on /: EACCES"]),
    (Refusal({"pivot_root": errno.EPERM}), "uid", ["namespaces: pivot_root to"]),
    (
        Refusal({**NO_USERS, "unshare": errno.EPERM}),
        "container",
        ["namespaces: unshare(CLONE_NEWUSER): EPERM", "uid: becoming user"],
    ),
    (
        Refusal({"mount": errno.EACCES, "setgroups": errno.EPERM}),
        "container",
        ["namespaces: mounting none on /: EACCES", "uid: becoming user"],
    ),
    # As older filters answer for a call they do not know: nothing here needs it.
    (Refusal({"clone3": errno.ENOSYS}), "namespaces", []),
]


@pytest.fixture(autouse=True)
async def _namespaces(request: pytest.FixtureRequest) -> None:
    await skip_without_namespaces("docker" if request.node.get_closest_marker("docker") else "local")


async def check(provider: DockerProvider | LocalProvider, level: Isolation, why: list[str]) -> None:
    """The started provider says `level` and why, on itself and on each verdict; two runs see nothing of each other."""
    assert provider.isolation == level
    described = provider.describe()
    assert described["isolation"] == level
    reasons = described["why_not_higher"]
    assert len(reasons) == len(why)
    assert all(reason.startswith(start) for reason, start in zip(reasons, why, strict=True)), reasons
    leave = (
        "import os, subprocess\ndef add(a, b):\n    open('/tmp/left', 'w').write('x')\n"
        "    subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "    return [os.getuid() == 0, [p for p in os.listdir('/proc') if p.isdigit()].__len__()]"
    )
    look = "import os\ndef add(a, b): return [os.path.exists('/tmp/left'), os.getuid() == 0]"
    first = await provider.run(run_request(leave, (1, 2)))
    second = await provider.run(run_request(look, (1, 2)))
    assert (first.status, first.isolation, first.anomalies) == ("completed", level, ())
    assert values(first)[0][0] is False
    assert (values(second), second.isolation) == ([[False, False]], level)
    assert values(await provider.run(run_request(ADD, (1, 2)))) == [3]


@DOCKER
@pytest.mark.parametrize(("refusal", "level", "why"), REFUSALS)
async def test_docker_gives_the_best_level_that_is_left(refusal: Refusal, level: Isolation, why: list[str]) -> None:
    async with RefusedDocker(SandboxConfig(workers=1), refusal) as provider:
        await check(provider, level, why)  # pyright: ignore[reportArgumentType]


@DOCKER
async def test_dockers_own_profile_in_the_place_of_the_wider_one_leaves_users(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = profile("default")
    monkeypatch.setattr("agent_rl_sandboxes.docker_hardening.profile", lambda name: narrow)  # pyright: ignore
    async with DockerProvider(SandboxConfig(workers=1)) as provider:
        await check(provider, "uid", ["namespaces: unshare(CLONE_NEWUSER): EPERM (Operation not permitted)"])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("kind", "level", "minimum"),
    [
        pytest.param("docker", "container", "uid", marks=DOCKER),
        pytest.param("docker", "uid", "namespaces", marks=DOCKER),
        pytest.param("local", "container", "namespaces", marks=LOCAL),
    ],
)
async def test_a_minimum_refuses_what_is_weaker_and_says_why(kind: Kind, level: Isolation, minimum: Isolation) -> None:
    config = SandboxConfig(workers=1, minimum_isolation=minimum)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SandboxError, match=rf"minimum_isolation = '{minimum}' .* only '{level}' \(namespaces: .*EPERM"):
        await provider_at(kind, level, config).start()


@LOCAL
async def test_local_workers_without_namespaces_in_them_are_used_once() -> None:
    async with RefusedLocal(SandboxConfig(workers=1), NESTED_NAMESPACES) as provider:
        await check(provider, "container", ["namespaces: clone with user, pid, mount and ipc namespaces: EPERM"])  # pyright: ignore[reportArgumentType]


STOP_ALL_FOREVER = """
import os, signal
for _ in range(6):
    if os.fork() == 0:
        while True:
            try:
                os.kill(-1, signal.SIGSTOP)
            except OSError:
                pass
signal.pause()
"""


@LOCAL
async def test_in_a_kernel_without_descriptors_of_processes_runs_and_pairs_end_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As gVisor's answers for pidfd_open, inside and outside."""

    def absent(pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("os.pidfd_open", absent)
    before = set(descendants(os.getpid()))
    limits = Limits(wall_seconds=0.5, cpu_seconds=5.0)
    async with RefusedLocal(SandboxConfig(workers=2), Refusal({"pidfd_open": errno.ENOSYS})) as provider:
        assert values(await provider.run(run_request(ADD, (1, 2)))) == [3]
        assert (await provider.run(run_request("while True: pass", (1, 2), limits=limits))).status == "timeout"
        assert reports(await provider.run_pair(pair()))[0] == PASSED
        assert (await provider.run_pair(pair("while True: pass", limits=limits))).candidate.status == "timeout"
        assert (await provider.run_pair(pair("import os\nos._exit(3)"))).candidate.exit_code == 3
    assert set(descendants(os.getpid())) == before


@DOCKER
async def test_with_a_user_of_its_own_a_run_is_ended_with_all_it_started_and_the_worker_goes_on() -> None:
    async with provider_at("docker", "uid") as provider:
        for hostile, status in (
            ("import os\nos.kill(-1, 9)\nos.kill(os.getpid(), 9)", "crashed"),
            ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "timeout"),
            ("import os\nos.setuid(0)", "completed"),
            # What ends a run in its user's name must not be stopped by its processes.
            (STOP_ALL_FOREVER, "timeout"),
        ):
            limits = Limits(wall_seconds=1.0, cpu_seconds=3.0, processes=16)
            result = await provider.run(run_request(hostile, (1, 2), limits=limits))
            assert (result.status, values(result), result.anomalies) == (status, [], ())
        assert values(await provider.run(run_request(ADD, (1, 2)))) == [3]


@DOCKER
async def test_with_users_of_their_own_a_worker_whose_network_was_used_is_not_used_again() -> None:
    server = (
        "import socket\ndef add(a, b):\n"
        "    with socket.create_server(('127.0.0.1', 4321)) as server:\n"
        "        client = socket.create_connection(('127.0.0.1', 4321))\n"
        "        server.accept()[0].close()\n    return 1"
    )
    async with provider_at("docker", "uid") as provider:
        for _ in range(2):
            assert values(await provider.run(run_request(server, (1, 2)))) == [1]
