"""A sandbox host under 20,000 generated requests and 2,000 archives: no 5xx, no error logged, nothing left behind.

The seed is printed; AGENT_RL_FUZZ_SEED sets another one.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import os
import random
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.file_sets import ArchiveLimits, InvalidArchive
from agent_rl.judging.archives import unpack
from agent_rl.vocabulary import Limits, RunRequest, RunResult, SandboxSpec
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.serving.host_server import Host
from tests.component.sandboxes import fuzzing
from tests.component.sandboxes.fuzzing import Session
from tests.unit.sandboxes.hosting import ANSWERED, HeldProvider, HeldSandbox, hosting, requests_to

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("AGENT_RL_FUZZ_SEED", "20261121"))
REQUESTS, BROKEN, ARCHIVES = 17_000, 3_000, 2_000
AT_ONCE = 16
A_CONNECTIONS = 50
"""Requests on one connection, one after another without waiting for the answers."""
BODY_BYTES = 1 << 20
"""Of an archive; a fourth of it is allowed for other requests."""
MEMORY_GROWTH = 32 << 20
_SHORT_SECONDS = 0.2


class Inert(HeldProvider):
    """Runs nothing, and insists that whatever reaches it is well formed."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = 0

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        self.reached += 1
        assert type(request.program) is str and type(request.stdin) is bytes and type(fresh) is bool
        assert all(type(call.id) is str and type(call.arguments) is str for call in request.calls)
        limits = request.limits
        assert 0 < limits.wall_seconds <= 3600 and limits.processes > 0 and type(limits.processes) is int
        return ANSWERED

    def sandbox(self, spec: SandboxSpec) -> HeldSandbox:
        assert spec.build_folder is None and spec.workdir.startswith("/") and "\0" not in spec.workdir
        self.go.set()
        return Keeping(self)


class Keeping(HeldSandbox):
    """Keeps nothing but the last files, and insists that their names are harmless."""

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        check_names(files)
        self.files = dict(files)


def check_names(files: Mapping[str, bytes]) -> None:
    """No name leads out, or is another's on some file system."""
    for name in files:
        parts = name.split("/")
        assert name and "\0" not in name and len(name.encode()) <= 1024
        assert not {"", ".", ".."} & set(parts)
        assert not any("/".join(parts[:depth]) in files for depth in range(1, len(parts)))
    assert len({unicodedata.normalize("NFC", name).casefold() for name in files}) == len(files)


def taken(data: bytes) -> dict[str, bytes] | None:
    """The files in an archive; None where it is refused."""
    try:
        return unpack(data, ArchiveLimits(archive_bytes=BODY_BYTES))
    except InvalidArchive:
        return None


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What any logger says at the level of a warning or above, forgotten tasks included."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(f"{record.name}: {record.getMessage()} {record.exc_info}")

    listener = Listener(logging.WARNING)
    logging.getLogger().addHandler(listener)
    logging.getLogger("agent_rl_sandboxes").addHandler(listener)
    yield said
    logging.getLogger().removeHandler(listener)
    logging.getLogger("agent_rl_sandboxes").removeHandler(listener)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def session_of(host: Host) -> Session:
    """A session with a sandbox, opened for the fuzzer."""
    async with requests_to(host) as requests:
        path = await requests.sandbox()
        return Session(requests.http.headers["Agent-RL-Session"], path.rpartition("/")[2])


async def answer_of(reader: asyncio.StreamReader, sent: bytes) -> tuple[int, bool]:
    """Status of the next answer, and whether the connection ends with it. Raises IncompleteReadError at the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
    if not sent.startswith(b"HEAD "):  # its answer has no body, whatever the length says
        await reader.readexactly(length)
    return status, "connection: close" in head or head.startswith("http/1.0")


async def converse(host: Host, sent: list[bytes]) -> list[int]:
    """The statuses of the answers to `sent`, on as many connections as the host makes necessary."""
    statuses: list[int] = []
    while len(statuses) < len(sent):
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port, limit=1 << 24)
        left = sent[len(statuses) : len(statuses) + A_CONNECTIONS]
        writer.write(b"".join(left))
        answered = len(statuses)
        for request in left:
            try:
                async with asyncio.timeout(30):
                    status, closed = await answer_of(reader, request)
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            statuses.append(status)
            if closed:
                break
        writer.close()
        assert len(statuses) > answered, f"no answer to {sent[answered][:300]!r}"
    return statuses


async def provoke(host: Host, sent: bytes) -> list[int]:
    """[The status of the first answer] to bytes that may be none or several requests; [0] where none comes.

    The host waits for the rest of what ends early; this client goes away in the middle of it.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port, limit=1 << 24)
    try:
        writer.write(sent)
        async with asyncio.timeout(_SHORT_SECONDS):
            return [(await answer_of(reader, sent))[0]]
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        return [0]
    finally:
        writer.close()


async def in_turns(conversations: Iterable[Coroutine[Any, Any, list[int]]], at_once: int) -> list[int]:
    """The statuses of all, `at_once` conversations at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(conversation: Coroutine[Any, Any, list[int]]) -> list[int]:
        async with gate:
            return await conversation

    return [status for part in await asyncio.gather(*map(one, conversations)) for status in part]


async def test_no_request_makes_a_host_fail(complaints: list[str], capsys: pytest.CaptureFixture[str]):
    rng = random.Random(SEED)
    provider = Inert()
    gc.collect()  # what earlier tests have left open would be closed meanwhile
    before = descriptors(), len(asyncio.all_tasks())
    memory = 0
    counts: Counter[int] = Counter()
    async with hosting(
        provider, workers=4, queue=64, sandboxes=64, body_bytes=BODY_BYTES // 4, requests=64, idle_seconds=5.0
    ) as host:
        session = await session_of(host)
        made = 0
        while made < REQUESTS:
            work = [[fuzzing.well_formed_http(session, rng) for _ in range(A_CONNECTIONS)] for _ in range(20)]
            counts.update(await in_turns((converse(host, sent) for sent in work), AT_ONCE))
            made += 1000
            memory = memory or resident()
        for _ in range(0, BROKEN, 500):
            broken = [fuzzing.broken_http(session, rng) for _ in range(500)]
            counts.update(await in_turns((provoke(host, sent) for sent in broken), 4 * AT_ONCE))
        grown = resident() - memory
        async with requests_to(host) as requests:
            assert (await requests.run())[0] == 200
            assert (await requests.send("DELETE", f"/v1/sessions/{session.name}"))[0] == 204
        metrics = host.app.metrics.render()
        for gauge in ("requests_under_way", "runs_in_workers", "runs_waiting", "body_bytes", "sandboxes"):
            assert f"agent_rl_host_{gauge} 0.0\n" in metrics
    with capsys.disabled():
        shown = " ".join(f"{status or 'closed'}:{count}" for status, count in sorted(counts.items()))
        print(
            f"\nfuzz: seed {SEED}, {sum(counts.values())} requests, {provider.reached} runs, {shown}, {grown:+} bytes"
        )
    assert sum(counts.values()) == REQUESTS + BROKEN
    assert max(counts) < 500
    assert complaints == []
    # Both ends of the scale were reached: runs that ran, and every kind of refusal.
    assert provider.reached > 500
    assert {0, 200, 400, 401, 403, 404, 410, 413, 417, 422} <= set(counts)
    assert grown < MEMORY_GROWTH
    gc.collect()
    await asyncio.sleep(0.1)
    assert (descriptors(), len(asyncio.all_tasks())) == before


async def test_no_archive_makes_a_host_fail(complaints: list[str], capsys: pytest.CaptureFixture[str]):
    rng = random.Random(SEED + 1)
    before = descriptors()
    counts: Counter[int] = Counter()
    honest = 0
    memory = 0
    async with hosting(provider := Inert(), body_bytes=BODY_BYTES) as host, requests_to(host) as requests:
        path = f"{await requests.sandbox()}/files"
        for number in range(ARCHIVES):
            data = fuzzing.archive(rng)
            status, answer, _ = await requests.send("PUT", path, data=io.BytesIO(data))
            counts[status] += 1
            files = taken(data)
            if files is None:
                assert status == (413 if len(data) > BODY_BYTES else 422), (number, answer)
            else:
                assert status == 204, (number, answer)
                check_names(files)
                assert sum(map(len, files.values())) <= len(data)
                # Python's own reader sees the same files in it: no name or content is a matter of interpretation.
                with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                    members = {os.path.normpath(m.name): archive.extractfile(m) for m in archive if m.isfile()}
                    assert {name: content.read() for name, content in members.items() if content} == files
                honest += bool(files)
            if number == ARCHIVES // 4:
                memory = resident()
        grown = resident() - memory
    with capsys.disabled():
        shown = " ".join(f"{status}:{count}" for status, count in sorted(counts.items()))
        print(
            f"\nfuzz: seed {SEED + 1}, {ARCHIVES} archives, {honest} taken with files in them, {shown}, {grown:+} bytes"
        )
    assert set(counts) == {204, 413, 422}
    assert honest > 100
    assert counts[422] > 1000
    assert provider.most == 0
    assert complaints == []
    assert grown < MEMORY_GROWTH
    gc.collect()
    await asyncio.sleep(0.1)
    assert descriptors() == before


@pytest.mark.local_sandbox
async def test_no_request_makes_real_places_fail(complaints: list[str], capsys: pytest.CaptureFixture[str]):
    """What is well formed for the host is also borne by real workers and sandboxes: the program's doing at most."""
    rng = random.Random(SEED + 2)
    counts: Counter[int] = Counter()
    inner: SandboxProvider = LocalProvider(SandboxConfig(provider="local"))
    async with hosting(inner, workers=2, queue=64, sandboxes=8, body_bytes=BODY_BYTES) as host:
        session = await session_of(host)
        for _ in range(15):
            counts.update(await converse(host, [fuzzing.well_formed_http(session, rng) for _ in range(20)]))
        async with requests_to(host) as requests:
            program = {"program": "print(6 * 7)", "limits": {"wall_seconds": 20.0, "cpu_seconds": Limits().cpu_seconds}}
            status, answer, _ = await requests.send("POST", "/v1/runs", json={"request": program})
            assert (status, answer["stdout"]) == (200, "NDIK")  # "42\n" in base64
    with capsys.disabled():
        print(f"\nfuzz: seed {SEED + 2}, real places: {dict(sorted(counts.items()))}")
    assert max(counts) < 500
    assert complaints == []
