"""Several sandbox hosts as one provider: who is given work, and what happens when one dies, freezes, or comes back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from agent_rl.config import SandboxConfig, load_config
from agent_rl.errors import ConfigError, SandboxError, SandboxStartError
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.verify.blame import Blamed, run_or_blame
from agent_rl.verify.judge import CaseVerifier
from agent_rl.vocabulary import CallTests, Case, Limits, RunRequest, RunResult, SandboxSpec, Submission, Task
from agent_rl_sandboxes.host.serve import Host, server_tls
from agent_rl_sandboxes.owner import LABEL
from agent_rl_sandboxes.remote import RemoteProvider, check_url
from agent_rl_sandboxes.remote_host import Pace
from tests.sandboxes.hosting import (
    ANSWERED,
    ENVIRONMENT,
    QUICK,
    TOKEN,
    HeldProvider,
    Weak,
    free_port,
    hosting,
    remote,
    requests_to,
    served,
    until,
)

RUN = RunRequest("1")
TASK = Task("add", (), CallTests("add", (Case((1, 2), 3), Case((5, -5), 0))))
SLOW = "import time\ntime.sleep({seconds})\ndef add(a, b):\n    return a + b\n"


@contextlib.asynccontextmanager
async def two(first: InMemoryProvider, second: InMemoryProvider, **limits: int) -> AsyncIterator[tuple[Host, Host]]:
    """A host around each."""
    async with hosting(first, **limits) as one, hosting(second, **limits) as other:
        yield one, other


# Who is given work


async def test_the_least_loaded_host_is_given_the_next_run():
    # Eight places and two: of ten runs at once, eight and two; an eleventh waits.
    large, small = HeldProvider(), HeldProvider()
    async with hosting(large, slots=8) as one, hosting(small, slots=2) as other, remote(one.url, other.url) as provider:
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
    # Its two slots and its queue are full of another client's runs, of which it has not told us yet.
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
    async with hosting(held, slots=1, queue=0) as host, remote(host.url) as provider, requests_to(host) as other:
        theirs = asyncio.create_task(other.run())
        await until(lambda: held.under_way == 1)
        ours = asyncio.create_task(provider.run(RUN))
        await asyncio.sleep(0.1)
        held.go.set()
        assert await ours == ANSWERED
        assert (await theirs)[0] == 200


async def test_a_cancelled_run_ends_at_its_host_and_gives_its_place_back():
    held = HeldProvider()
    async with hosting(held, slots=1) as host, remote(host.url) as provider:
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
        held.error = SandboxError("the slot died")
        held.go.set()
    async with two(first, second) as hosts, remote(*(h.url for h in hosts)) as provider:
        with pytest.raises(SandboxError, match="the slot died") as caught:
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
        config = SandboxConfig(provider="remote", hosts=tuple(h.url for h in hosts))
        config = config.model_copy(update={"minimum_isolation": "memory"})
        async with Recording(config, pace=QUICK, environment=ENVIRONMENT) as provider:
            well.go.set()
            for _ in range(4):
                assert isinstance(await run_or_blame(provider, RUN, retries=2), RunResult)
    assert len(places) % 2 == 0
    assert all(run == companion for run, companion in zip(places[::2], places[1::2], strict=True))


async def test_a_program_that_ends_its_own_place_is_blamed_from_afar():
    def fail(arrival: int, request: RunRequest) -> Exception | None:
        return SandboxError("the slot died") if "killer" in request.program else None

    inner = InMemoryProvider(fail=fail, delay=lambda request: 30.0 if "sleep" in request.program else 0.0)
    async with hosting(inner, slots=2) as host, remote(host.url) as provider:
        outcome = await run_or_blame(provider, RunRequest("'killer'"), retries=2)
        assert isinstance(outcome, Blamed)
        verdict = await CaseVerifier(provider, minimum_isolation="memory").judge(TASK, Submission.code("'killer'"))
        assert (verdict.passed, verdict.status) == (False, "crashed")


async def test_the_judge_works_from_afar_and_sends_no_expected_value():
    seen: list[bytes] = []

    class Listening(InMemoryProvider):
        async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
            seen.append(repr(request).encode())
            return await super().run(request, fresh=fresh)

    secret = Task("mul", (), CallTests("mul", (Case((111, 7), 777),)))
    async with hosting(Listening()) as host, remote(host.url) as provider:
        verifier = CaseVerifier(provider, minimum_isolation="memory")
        assert (await verifier.judge(secret, Submission.code("def mul(a, b):\n    return a * b\n"))).passed
        assert not (await verifier.judge(secret, Submission.code("def mul(a, b):\n    return a + b\n"))).passed
    assert len(seen) == 2
    assert all(b"111" in request and b"777" not in request for request in seen)


# Hosts that die, and come back


async def test_a_host_that_ends_is_taken_out_its_work_issued_again_and_it_is_taken_back():
    port = free_port()
    first, second, third = HeldProvider(), HeldProvider(), HeldProvider()
    async with hosting(second, slots=4) as other:
        async with hosting(first, port=port, slots=4) as one:
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
        async with hosting(third, port=port, slots=4):
            third.go.set()
            await until(lambda: all(h["out"] is None for h in provider.describe()["hosts"]))
            await asyncio.gather(*(provider.run(RUN) for _ in range(8)))
            assert len(third.requests) >= 2
        await provider.close()


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
                SandboxConfig(provider="remote", hosts=(host.url,)),
                environment={"AGENT_RL_SANDBOX_TOKEN": "another-token-of-length"},
            ).start()
    reason = await RemoteProvider.available(SandboxConfig(provider="remote", hosts=(f"http://127.0.0.1:{port}",)))
    assert reason is not None
    assert "`agent-rl sandbox serve` must run, with the same token as here" in reason


async def test_a_host_of_too_weak_isolation_is_not_used():
    async with hosting(Weak("uid")) as weak, hosting(Weak("namespaces")) as strong:
        config = SandboxConfig(provider="remote", hosts=(weak.url, strong.url), minimum_isolation="namespaces")
        async with RemoteProvider(config, environment=ENVIRONMENT) as provider:
            assert provider.isolation == "namespaces"
            out = provider.describe()["hosts"][0]["out"]
            assert out == "its isolation is 'uid', at least 'namespaces' is asked for (a test)"
        with pytest.raises(SandboxError, match="'uid', at least 'namespaces'"):
            await RemoteProvider(config.model_copy(update={"hosts": (weak.url,)}), environment=ENVIRONMENT).start()
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
        assert isinstance(error, SandboxError)
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


# Configuration


def test_a_token_is_never_in_a_configuration(tmp_path: Path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "run.toml").write_text(
        '[[environments]]\nenvironment = "code"\n[model]\npath = "m"\n[sandbox]\nprovider = "remote"\n'
        f'hosts = ["https://one:8700", "https://two:8700"]\ntoken_file = "{tmp_path}/token"\n'
    )
    config = load_config(tmp_path / "run.toml")
    RemoteProvider(config.sandbox, environment={})
    assert config.sandbox.hosts == ("https://one:8700", "https://two:8700")
    assert TOKEN not in config.to_toml()


def test_hosts_without_their_provider_are_a_mistake(tmp_path: Path):
    (tmp_path / "run.toml").write_text(
        '[[environments]]\nenvironment = "code"\n[model]\npath = "m"\n[sandbox]\nhosts = ["https://one:8700"]\n'
    )
    with pytest.raises(ConfigError, match="set provider = 'remote'"):
        load_config(tmp_path / "run.toml")
    with pytest.raises(ConfigError, match=r"sandbox.hosts: the remote provider needs the URL of at least one host"):
        RemoteProvider(SandboxConfig(provider="remote"))


@pytest.mark.parametrize(
    "url",
    ["one:8700", "ftp://one", "https://", "https://one/path", "https://one?x=1", "https://one#x", "http://one:99999"],
)
def test_a_host_is_named_by_a_plain_url(url):
    with pytest.raises(ConfigError, match=r"sandbox\.hosts"):
        check_url(url, None)


def test_a_token_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="the token does not belong into the URL") as caught:
        check_url("https://me:secret@one:8700", None)
    assert "secret" not in str(caught.value)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem), and a certificate of 127.0.0.1 that it signed (cert.pem, key.pem)."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    openssl("req", *new_key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=host")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
    openssl("x509", "-req", "-in", "request.pem", *signed, "-out", "cert.pem")
    return folder


async def test_tls_is_by_certificate_files_and_an_unknown_authority_is_refused(certificates: Path):
    held = HeldProvider()
    held.go.set()
    tls = server_tls(certificates / "cert.pem", certificates / "key.pem")
    async with hosting(held, tls=tls) as host:
        assert host.url.startswith("https://")
        async with remote(host.url, ca_file=str(certificates / "ca.pem")) as provider:
            assert await provider.run(RUN) == ANSWERED
            sandbox = provider.sandbox(SandboxSpec())
            await sandbox.write_files({"file": b"x" * 3_000_000})
            assert await sandbox.read_file("file", max_bytes=1 << 22) == b"x" * 3_000_000
        with pytest.raises(SandboxError, match="certificate verify failed"):
            await remote(host.url).start()
        with pytest.raises(SandboxError, match="no sandbox host can be used"):
            await remote(host.url.replace("https", "http")).start()


def test_certificates_that_cannot_be_used_are_a_mistake_of_the_users(certificates: Path):
    assert server_tls(None, None) is None
    with pytest.raises(ConfigError, match="--tls-key needs --tls-cert"):
        server_tls(None, certificates / "key.pem")
    for certificate, key in (("absent.pem", "key.pem"), ("cert.pem", "ca.key"), ("names", "key.pem")):
        with pytest.raises(ConfigError, match=r"--tls-cert: .* cannot be used"):
            server_tls(certificates / certificate, certificates / key)
    with pytest.raises(ConfigError, match=r"sandbox\.ca_file"):
        remote("https://one:8700", ca_file=str(certificates / "absent.pem"))


# Real hosts, in processes of their own, without torch


@pytest.mark.local_sandbox
async def test_a_killed_hosts_runs_are_issued_again_and_it_is_taken_back():
    """Two hosts as processes; one is killed in mid-run, with nothing left of it, and started again."""
    ports = free_port(), free_port()
    options = ("--sandbox", "local", "--slots", "2")
    with served(ports[0], *options) as one, served(ports[1], *options) as other:
        await asyncio.gather(asyncio.to_thread(one.ready), asyncio.to_thread(other.ready))
        config = SandboxConfig(provider="remote", hosts=(one.url, other.url), minimum_isolation="namespaces")
        async with RemoteProvider(
            config, pace=dataclasses.replace(QUICK, heartbeat=1.0), environment=ENVIRONMENT
        ) as provider:
            verifier = CaseVerifier(provider)
            programs = [SLOW.format(seconds=1.5) + f"# {n}\n" for n in range(4)]
            judgings = [asyncio.create_task(verifier.judge(TASK, Submission.code(p))) for p in programs]
            await asyncio.sleep(0.7)  # two runs each, all asleep
            started = one.children()
            assert started
            one.process.kill()
            assert [verdict.status for verdict in await asyncio.gather(*judgings)] == ["passed"] * 4
            await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started))
            states = {h["url"]: h["out"] for h in provider.describe()["hosts"]}
            assert states[one.url] is not None
            assert states[other.url] is None
            with served(ports[0], *options) as again:
                await asyncio.to_thread(again.ready)
                await until(lambda: all(h["out"] is None for h in provider.describe()["hosts"]))
                # And now the other one goes: all work is the returned one's.
                other.process.kill()
                judged = await verifier.judge(TASK, Submission.code(SLOW.format(seconds=0)))
                assert judged.passed
                assert judged.isolation == "namespaces"


@pytest.mark.local_sandbox
async def test_a_frozen_host_is_taken_out_by_its_silence():
    """Stopped, not killed: its connections stay open, and nobody answers."""
    pace = Pace(heartbeat=0.3, answer=0.5, first_retry=0.1, longest_retry=0.3, patience=10.0)
    with served(free_port(), "--sandbox", "local", "--slots", "2") as frozen:
        await asyncio.to_thread(frozen.ready)
        held = HeldProvider()
        async with hosting(held) as other:
            config = SandboxConfig(provider="remote", hosts=(frozen.url, other.url))
            config = config.model_copy(update={"minimum_isolation": "memory"})
            async with RemoteProvider(config, pace=pace, environment=ENVIRONMENT) as provider:
                request = RunRequest("import time\ntime.sleep(60)", limits=Limits(wall_seconds=100.0))
                runs = [asyncio.create_task(provider.run(request)) for _ in range(2)]
                await until(lambda: held.under_way == 1)
                frozen.process.send_signal(signal.SIGSTOP)
                await until(lambda: held.under_way == 2)
                held.go.set()
                assert await asyncio.gather(*runs) == [ANSWERED] * 2
                frozen.process.send_signal(signal.SIGCONT)
                await until(lambda: all(h["out"] is None for h in provider.describe()["hosts"]))


@pytest.mark.local_sandbox
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_host_ends_in_order_and_leaves_nothing(number: signal.Signals):
    with served(free_port(), "--sandbox", "local", "--slots", "2", "--drain", "0.2") as server:
        said = await asyncio.to_thread(server.ready)
        assert said[-1] == f"serving on {server.url} (2 slots, isolation between runs: namespaces)"
        async with remote(server.url) as provider:
            sandbox = provider.sandbox(SandboxSpec())
            await sandbox.write_files({"file": b"x"})
            request = RunRequest("import time\ntime.sleep(60)", limits=Limits(wall_seconds=100.0))
            running = asyncio.create_task(provider.run(request))
            await asyncio.sleep(0.5)
            started = server.children()
            assert len(started) >= 3
            code, said_last = await asyncio.to_thread(server.end, number)
            assert (code, said_last.splitlines()) == (0, ["ending: no new work is taken", "ended"])
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert not any(os.path.exists(f"/proc/{pid}") for pid in started)


@pytest.mark.local_sandbox
async def test_a_silent_clients_sandboxes_and_runs_end_with_its_lease():
    """The client's connections stay open, and it is not heard of any more: as after a cut cable."""
    with served(free_port(), "--sandbox", "local", "--slots", "1", "--lease", "1") as server:
        await asyncio.to_thread(server.ready)
        async with requests_to(server) as silent:
            idle = len(server.children())
            path = await silent.sandbox()
            asking = [
                asyncio.create_task(silent.send("POST", f"{path}/exec", json={"command": ["sleep", "60"]})),
                asyncio.create_task(silent.run("import time\ntime.sleep(60)")),
            ]
            await until(lambda: len(server.children()) > idle)
            assert [type(o).__name__ for o in await asyncio.gather(*asking, return_exceptions=True)] == [
                "ServerDisconnectedError"
            ] * 2
            await until(lambda: len(server.children()) <= idle)
            assert (await silent.run())[0] == 410


@pytest.mark.docker
@pytest.mark.slow
async def test_a_host_with_docker_leaves_no_container(docker_api: docker.APIClient):
    """Ended in order, it removes its containers itself; killed, the next host on the machine does."""

    def containers_of(pid: int) -> int:
        found = docker_api.containers(all=True, filters={"label": LABEL})
        return sum(json.loads(container["Labels"][LABEL])["pid"] == pid for container in found)

    options = ("--sandbox", "docker", "--slots", "1", "--drain", "0")
    with served(free_port(), *options) as ended, served(free_port(), *options) as killed:
        await asyncio.gather(asyncio.to_thread(ended.ready), asyncio.to_thread(killed.ready))
        async with remote(ended.url, killed.url) as provider:
            sandboxes = [provider.sandbox(SandboxSpec()) for _ in range(2)]
            for sandbox in sandboxes:
                assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"
            for server in (ended, killed):
                assert containers_of(server.process.pid) == 2  # a slot's and an episode's
            assert (await asyncio.to_thread(ended.end))[0] == 0
            assert containers_of(ended.process.pid) == 0
            killed.process.kill()
            killed.process.wait()
            with served(free_port(), *options) as again:
                await asyncio.to_thread(again.ready)
                assert containers_of(killed.process.pid) == 0
                assert (await asyncio.to_thread(again.end))[0] == 0
                assert containers_of(again.process.pid) == 0
