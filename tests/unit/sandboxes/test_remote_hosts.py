"""Several sandbox hosts as one provider: who is given work, and what happens when one dies, freezes, or comes back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError, SandboxError, SandboxStartError
from agent_rl.judging.blame import Blamed, run_or_blame
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import CallTests, Case, RunRequest, RunResult, SandboxSpec, Submission, Task
from agent_rl_sandboxes.remote_host import HostBusy, RemoteHost
from agent_rl_sandboxes.remote_provider import RemoteOptions, RemoteProvider
from agent_rl_sandboxes.serving.host_server import Host
from tests.unit.sandboxes.hosting import (
    ANSWERED,
    ENVIRONMENT,
    QUICK,
    HeldProvider,
    Weak,
    free_port,
    hosting,
    remote,
    requests_to,
    until,
)

RUN = RunRequest("1")
TASK = Task("add", (), CallTests("add", (Case((1, 2), 3), Case((5, -5), 0))))


@contextlib.asynccontextmanager
async def two(first: InMemoryProvider, second: InMemoryProvider, **limits: int) -> AsyncIterator[tuple[Host, Host]]:
    """A host around each."""
    async with hosting(first, **limits) as one, hosting(second, **limits) as other:
        yield one, other


# Who is given work


async def test_the_least_loaded_host_is_given_the_next_run():
    # Eight places and two: of ten runs at once, eight and two; an eleventh waits.
    large, small = HeldProvider(), HeldProvider()
    async with (
        hosting(large, workers=8) as one,
        hosting(small, workers=2) as other,
        remote(one.url, other.url) as provider,
    ):
        runs = [asyncio.create_task(provider.run(RUN)) for _ in range(11)]
        await until(lambda: large.under_way == 8 and small.under_way == 2)
        large.go.set()
        small.go.set()
        assert await asyncio.gather(*runs) == [ANSWERED] * 11
        assert (large.most, small.most) == (8, 2)


async def test_the_first_runs_are_spread():
    first, second = HeldProvider(), HeldProvider()
    async with two(first, second) as hosts, remote(*(h.url for h in hosts)) as provider:
        runs = [asyncio.create_task(provider.run(RUN)) for _ in range(2)]
        await until(lambda: first.under_way == second.under_way == 1)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        await until(lambda: first.cancelled == second.cancelled == 1)


async def test_what_other_clients_do_there_counts():
    first, second = HeldProvider(), HeldProvider()
    async with two(first, second) as hosts, requests_to(hosts[0]) as other:
        theirs = [asyncio.create_task(other.run()) for _ in range(2)]
        await until(lambda: first.under_way == 2)
        async with remote(*(h.url for h in hosts)) as provider:
            ours = [asyncio.create_task(provider.run(RUN)) for _ in range(2)]
            await until(lambda: second.under_way == 2)
            for held in (first, second):
                held.go.set()
            await asyncio.gather(*ours, *theirs)


async def test_a_host_that_is_busy_rests_and_its_work_goes_elsewhere():
    # Its two workers and its queue are full of another client's runs, of which it has not told us yet.
    first, second = HeldProvider(), HeldProvider()
    slow = dataclasses.replace(QUICK, heartbeat=30.0)
    async with (
        two(first, second, queue=0) as hosts,
        remote(*(h.url for h in hosts), pace=slow) as provider,
        requests_to(hosts[0]) as other,
    ):
        theirs = [asyncio.create_task(other.run()) for _ in range(2)]
        await until(lambda: first.under_way == 2)
        second.go.set()
        assert await asyncio.gather(*(provider.run(RUN) for _ in range(4))) == [ANSWERED] * 4
        assert len(second.requests) == 4
        first.go.set()
        await asyncio.gather(*theirs)


async def test_where_all_are_busy_work_waits():
    held = HeldProvider()
    async with hosting(held, workers=1, queue=0) as host, remote(host.url) as provider, requests_to(host) as other:
        theirs = asyncio.create_task(other.run())
        await until(lambda: held.under_way == 1)
        ours = asyncio.create_task(provider.run(RUN))
        await asyncio.sleep(0.1)
        held.go.set()
        assert await ours == ANSWERED
        assert (await theirs)[0] == 200


async def test_a_cancelled_run_ends_at_its_host_and_gives_its_place_back():
    held = HeldProvider()
    async with hosting(held, workers=1) as host, remote(host.url) as provider:
        first, waiting = (asyncio.create_task(provider.run(RUN)) for _ in range(2))
        await until(lambda: held.under_way == 1)
        waiting.cancel()
        first.cancel()
        await asyncio.gather(first, waiting, return_exceptions=True)
        await until(lambda: held.cancelled == 1)
        held.go.set()
        assert await provider.run(RUN) == ANSWERED


# Errors


async def test_a_place_that_died_is_for_the_caller_to_judge_and_not_issued_again():
    first, second = HeldProvider(), HeldProvider()
    for held in (first, second):
        held.error = SandboxError("the worker died")
        held.go.set()
    async with two(first, second) as hosts, remote(*(h.url for h in hosts)) as provider:
        with pytest.raises(SandboxError, match="the worker died") as caught:
            await provider.run(RUN)
        assert not isinstance(caught.value, SandboxStartError)
        assert len(first.requests) + len(second.requests) == 1


async def test_where_no_place_could_be_made_another_host_is_tried():
    first, second = HeldProvider(), HeldProvider()
    first.error = SandboxStartError("the daemon is down")
    for held in (first, second):
        held.go.set()
    async with two(first, second) as hosts, remote(*(h.url for h in hosts)) as provider:
        assert await asyncio.gather(*(provider.run(RUN) for _ in range(4))) == [ANSWERED] * 4
        second.error = SandboxStartError("no space left")
        with pytest.raises(SandboxStartError, match=r"the daemon is down|no space left"):
            await provider.run(RUN)


async def test_a_program_cannot_be_blamed_for_what_happens_on_another_host():
    """The companion runs where the run does: if its machine ends places, it is seen to end that one too."""
    ill, well = HeldProvider(), HeldProvider()
    places: list[str] = []

    class Recording(RemoteProvider):
        async def run_on_one(self, host, request, *, fresh):  # pyright: ignore
            places.append(host.url)
            return await super().run_on_one(host, request, fresh=fresh)

    ill.error = SandboxError("all places here die")
    ill.go.set()
    async with two(ill, well) as hosts:
        config = SandboxConfig(provider="remote").model_copy(update={"minimum_isolation": "memory"})
        options = RemoteOptions(hosts=tuple(h.url for h in hosts))
        async with Recording(config, options, pace=QUICK, environment=ENVIRONMENT) as provider:
            well.go.set()
            for _ in range(4):
                assert isinstance(await run_or_blame(provider, RUN, retries=2), RunResult)
    assert len(places) % 2 == 0
    assert all(run == companion for run, companion in zip(places[::2], places[1::2], strict=True))


async def test_a_run_and_its_companion_have_room_beside_busy_workers():
    """Else an honest one that only waits would be taken for one that outlived the death of the other's place."""
    held = HeldProvider()
    async with hosting(held, workers=1, queue=0) as host, remote(host.url) as provider:
        first, second = (asyncio.create_task(provider.run(RUN)) for _ in range(2))
        await until(lambda: held.under_way == 1)
        place = provider.on_one_host()
        beside = [asyncio.create_task(place.run(RUN, fresh=True)) for _ in range(2)]
        elsewhere = asyncio.create_task(provider.run(RUN, fresh=True))
        await until(lambda: held.under_way == 3)
        assert host.app.gate.inside == 1
        held.go.set()
        assert await asyncio.gather(first, second, *beside, elsewhere) == [ANSWERED] * 5
        assert held.most == 3


async def test_a_view_of_one_host_has_its_runs_and_sandboxes_there():
    first, second = InMemoryProvider(), InMemoryProvider()
    async with hosting(second) as other:
        async with hosting(first) as one:
            provider = remote(one.url, other.url)
            await provider.start()
            views = [provider.on_one_host() for _ in range(2)]
            for view in views:
                assert view.on_one_host() is view
                for _ in range(3):
                    await view.run(RUN, fresh=True)
                await view.sandbox(SandboxSpec()).write_files({"file": b"x"})
            assert (first.runs, second.runs) == (3, 3)
            assert one.app.sessions.sandboxes == other.app.sessions.sandboxes == 1
        outcomes = await asyncio.gather(*(view.run(RUN) for view in views), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["RunResult", "SandboxStartError"]
        await provider.close()


async def test_a_program_that_ends_its_own_place_is_blamed_from_afar():
    def fail(arrival: int, request: RunRequest) -> Exception | None:
        return SandboxError("the worker died") if "killer" in request.program else None

    inner = InMemoryProvider(fail=fail, delay=lambda request: 30.0 if "sleep" in request.program else 0.0)
    async with hosting(inner, workers=2) as host, remote(host.url) as provider:
        outcome = await run_or_blame(provider, RunRequest("'killer'"), retries=2)
        assert isinstance(outcome, Blamed)
        verdict = await TaskVerifier(provider, minimum_isolation="memory").judge(TASK, Submission.code("'killer'"))
        assert (verdict.passed, verdict.status) == (False, "crashed")


async def test_the_judge_works_from_afar_and_sends_no_expected_value():
    seen: list[bytes] = []

    class Listening(InMemoryProvider):
        async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
            seen.append(repr(request).encode())
            return await super().run(request, fresh=fresh)

    # So long that no random id holds it.
    secret = Task("mul", (), CallTests("mul", (Case((111_222_333_444, 7), 778_556_334_108),)))
    async with hosting(Listening()) as host, remote(host.url) as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory")
        assert (await verifier.judge(secret, Submission.code("def mul(a, b):\n    return a * b\n"))).passed
        assert not (await verifier.judge(secret, Submission.code("def mul(a, b):\n    return a + b\n"))).passed
    assert len(seen) == 2
    assert all(b"111222333444" in request and b"778556334108" not in request for request in seen)


# Hosts that die, and come back


async def test_a_host_that_ends_is_taken_out_its_work_issued_again_and_it_is_taken_back():
    port = free_port()
    first, second, third = HeldProvider(), HeldProvider(), HeldProvider()
    async with hosting(second, workers=4) as other:
        async with hosting(first, port=port, workers=4) as one:
            provider = remote(one.url, other.url)
            await provider.start()
            runs = [asyncio.create_task(provider.run(RUN)) for _ in range(4)]
            await until(lambda: first.under_way == second.under_way == 2)
        # It is gone; its two runs go on at the other.
        await until(lambda: second.under_way == 4)
        states = {h["url"]: h["out"] for h in provider.describe()["hosts"]}
        assert states[other.url] is None
        assert states[one.url] is not None
        second.go.set()
        assert await asyncio.gather(*runs) == [ANSWERED] * 4
        async with hosting(third, port=port, workers=4):
            third.go.set()
            await until(lambda: all(h["out"] is None for h in provider.describe()["hosts"]))
            await asyncio.gather(*(provider.run(RUN) for _ in range(8)))
            assert len(third.requests) >= 2
        await provider.close()


async def test_a_client_is_heard_of_before_a_hosts_lease_is_over():
    """A host may give less than the time between two heartbeats."""
    slow = dataclasses.replace(QUICK, heartbeat=60.0)
    async with hosting(InMemoryProvider(), lease_seconds=0.6) as host, remote(host.url, pace=slow) as provider:
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.write_files({"file": b"x"})
        renewed = {"route": "PUT /v1/sessions/{session}", "status": "200"}
        await until(lambda: host.app.metrics.value("requests_total", **renewed) == 4)
        assert host.app.sessions.lapsed == 0
        assert await sandbox.read_file("file") == b"x"


async def test_where_every_host_is_out_work_waits_and_then_says_why():
    port = free_port()
    held = HeldProvider()
    held.go.set()
    async with hosting(held, port=port) as host:
        provider = remote(host.url, pace=dataclasses.replace(QUICK, patience=0.3))
        await provider.start()
    with pytest.raises(SandboxStartError, match=rf"no sandbox host can be used: {host.url}: .*[Cc]onnect"):
        await provider.run(RUN)
    waiting = asyncio.create_task(provider.run(RUN))
    async with hosting(HeldProvider(), port=port) as again:
        again.app._provider.go.set()  # pyright: ignore
        assert await waiting == ANSWERED
    await provider.close()


async def test_one_host_that_is_out_at_the_start_does_not_matter_and_all_do():
    port = free_port()
    async with hosting(HeldProvider()) as host:
        async with remote(host.url, f"http://127.0.0.1:{port}") as provider:
            assert [h["out"] is None for h in provider.describe()["hosts"]] == [True, False]
        with pytest.raises(SandboxError, match="the token is missing or wrong"):
            await RemoteProvider(
                SandboxConfig(provider="remote"),
                RemoteOptions(hosts=(host.url,)),
                environment={"AGENT_RL_SANDBOX_TOKEN": "another-token-of-length"},
            ).start()
    nobody = RemoteOptions(hosts=(f"http://127.0.0.1:{port}",))
    reason = await RemoteProvider.available(SandboxConfig(provider="remote"), nobody)
    assert reason is not None
    assert "`agent-rl sandbox serve` must run, with the same token as here" in reason


async def test_a_host_of_too_weak_isolation_is_not_used():
    async with hosting(Weak("uid")) as weak, hosting(Weak("namespaces")) as strong:
        config = SandboxConfig(provider="remote", minimum_isolation="namespaces")
        both = RemoteOptions(hosts=(weak.url, strong.url))
        async with RemoteProvider(config, both, environment=ENVIRONMENT) as provider:
            assert provider.isolation == "namespaces"
            out = provider.describe()["hosts"][0]["out"]
            assert out == "its isolation is 'uid', at least 'namespaces' is asked for (a test)"
        with pytest.raises(SandboxError, match="'uid', at least 'namespaces'"):
            await RemoteProvider(config, RemoteOptions(hosts=(weak.url,)), environment=ENVIRONMENT).start()
        async with remote(weak.url, strong.url) as provider:
            assert provider.isolation == "uid"  # the weakest that a run may get


async def test_a_sandbox_is_lost_with_its_host_and_the_next_one_is_on_another():
    first, second = InMemoryProvider(), InMemoryProvider()
    async with hosting(second) as other:
        async with hosting(first) as one:
            provider = remote(one.url, other.url)
            await provider.start()
            sandboxes = [provider.sandbox(SandboxSpec()) for _ in range(2)]
            for sandbox in sandboxes:
                await sandbox.write_files({"file": b"x"})
            assert (one.app.sessions.sandboxes, other.app.sessions.sandboxes) == (1, 1)
        outcomes = await asyncio.gather(*(s.read_file("file") for s in sandboxes), return_exceptions=True)
        assert [o for o in outcomes if isinstance(o, bytes)] == [b"x"]
        (error,) = [o for o in outcomes if isinstance(o, Exception)]
        assert isinstance(error, SandboxStartError)
        assert "the sandbox's host was lost" in str(error)
        for sandbox in sandboxes:
            await sandbox.close()
        fresh = provider.sandbox(SandboxSpec())
        await fresh.write_files({"file": b"y"})
        assert await fresh.read_file("file") == b"y"
        await provider.close()
        assert len(other.app.sessions) == other.app.sessions.sandboxes == 0


async def test_sandboxes_wait_for_room_and_are_gone_when_closed():
    async with hosting(InMemoryProvider(), sandboxes=1) as host, remote(host.url) as provider:
        first, second = provider.sandbox(SandboxSpec()), provider.sandbox(SandboxSpec())
        await first.write_files({"a": b"1"})
        waiting = asyncio.create_task(second.write_files({"a": b"2"}))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await first.close()
        await waiting
        assert host.app.sessions.sandboxes == 1
        await second.close()
        assert host.app.sessions.sandboxes == 0


async def test_a_sandbox_is_ended_however_busy_its_host_is(monkeypatch: pytest.MonkeyPatch):
    """Else it would take one of the host's places for as long as its client lives."""
    held = HeldProvider()
    async with hosting(held, workers=2, requests=2, sandboxes=2) as host, remote(host.url) as provider:
        first, second = provider.sandbox(SandboxSpec()), provider.sandbox(SandboxSpec())
        for sandbox in (first, second):
            await sandbox.write_files({"file": b"x"})
        runs = [asyncio.create_task(provider.run(RUN)) for _ in range(2)]
        await until(lambda: held.under_way == 2)
        await first.close()
        assert (held.closed, host.app.sessions.sandboxes) == (1, 1)
        # Also where the connection itself is one too many: it is tried again.
        answers = iter([HostBusy("too many connections", 0.01)] * 2)
        call = RemoteHost.call

        async def refused_at_first(self: RemoteHost, *arguments: Any, **options: Any) -> bytes:
            for busy in answers:
                raise busy
            return await call(self, *arguments, **options)

        monkeypatch.setattr(RemoteHost, "call", refused_at_first)
        await second.close()
        assert (held.closed, host.app.sessions.sandboxes) == (2, 0)
        held.go.set()
        await asyncio.gather(*runs)


async def test_a_sandbox_that_waits_for_room_can_be_closed_and_one_that_was_given_up_is_not_left():
    async with hosting(InMemoryProvider(), sandboxes=1) as host, remote(host.url) as provider:
        first, second = provider.sandbox(SandboxSpec()), provider.sandbox(SandboxSpec())
        await first.write_files({"a": b"1"})
        waiting = asyncio.create_task(second.exec(["cat", "a"]))
        await asyncio.sleep(0.05)
        await second.close()
        with pytest.raises(SandboxError, match="closed"):
            await waiting
        await first.close()
        for pause in range(8):
            third = provider.sandbox(SandboxSpec())
            making = asyncio.create_task(third.write_files({"a": b"1"}))
            for _ in range(pause):
                await asyncio.sleep(0)
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            await third.close()
            await until(lambda: host.app.sessions.sandboxes == 0)


async def test_files_go_in_several_archives_where_one_would_be_refused():
    # 300 KB in archives of at most 100 KB; two spellings that some file systems take for one; one file too large.
    async with hosting(InMemoryProvider(), body_bytes=100_000) as host, remote(host.url) as provider:
        sandbox = provider.sandbox(SandboxSpec())
        files = {f"folder/{n}": bytes([n]) * 15_000 for n in range(20)} | {"Makefile": b"1", "makefile": b"2"}
        await sandbox.write_files(files)
        for path, content in files.items():
            assert await sandbox.read_file(path) == content
        with pytest.raises(OSError, match="150000 bytes, and a host takes archives of 100000"):
            await sandbox.write_files({"large": b"x" * 150_000})
        with pytest.raises(ValueError, match="out of range"):
            await sandbox.read_file("folder/1", max_bytes=1 << 30)


async def test_a_build_folder_of_the_clients_is_no_folder_of_the_hosts():
    async with hosting(InMemoryProvider()) as host, remote(host.url) as provider:
        with pytest.raises(ConfigError, match="build it there, and name the image"):
            provider.sandbox(SandboxSpec(build_folder="/etc"))
