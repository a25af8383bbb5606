"""What the tests of sandbox hosts share: a provider whose runs wait to be told, hosts around it, and plain requests."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import ExecResult, Isolation, RunRequest, RunResult, SandboxSpec
from agent_rl_sandboxes.remote_host import Pace
from agent_rl_sandboxes.remote_provider import RemoteOptions, RemoteProvider
from agent_rl_sandboxes.serving.host_limits import HostLimits
from agent_rl_sandboxes.serving.host_server import Bind, Host

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"
ENVIRONMENT = {"AGENT_RL_SANDBOX_TOKEN": TOKEN}
QUICK = Pace(heartbeat=0.1, answer=5.0, first_retry=0.05, longest_retry=0.2, patience=5.0)
ANSWERED = RunResult("completed", ('{"loaded": true}',), b"", b"", 0, None, 0.01, "memory")


class HeldProvider(InMemoryProvider):
    """Runs nothing: each run waits until it is let go, and then answers `ANSWERED`, or raises what it is told to.

    `exec` waits likewise. `cancelled` counts what was cancelled; `closed` the sandboxes that were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.under_way = 0
        self.most = 0
        self.cancelled = 0
        self.closed = 0
        self.error: Exception | None = None
        self.requests: list[RunRequest] = []

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        self.requests.append(request)
        await self.hold()
        return ANSWERED

    async def hold(self) -> None:
        """Until let go."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error

    def sandbox(self, spec: SandboxSpec) -> Any:
        return HeldSandbox(self)


class HeldSandbox:
    """A sandbox whose commands wait to be let go."""

    def __init__(self, provider: HeldProvider) -> None:
        self._provider = provider
        self.files: dict[str, bytes] = {}

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        await self._provider.hold()
        return ExecResult("completed", 0, stdin, b"", 0.0)

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        self.files.update(files)

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path][:max_bytes]

    async def close(self) -> None:
        self._provider.closed += 1


class Weak(InMemoryProvider):
    """A provider that says which isolation it has."""

    def __init__(self, level: Isolation) -> None:
        super().__init__()
        self.level: Isolation = level

    @property
    def isolation(self) -> Isolation:
        return self.level

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "isolation": self.level, "why_not_higher": ["a test"]}


@contextlib.asynccontextmanager
async def hosting(
    provider: SandboxProvider, *, port: int = 0, token: str | None = TOKEN, tls: Any = None, **limits: Any
) -> AsyncIterator[Host]:
    """A host around the provider, both started."""
    bounds = HostLimits(**{"workers": 2, "drain_seconds": 0.2, **limits})
    async with provider, Host(provider, Bind.parse(f"127.0.0.1:{port}"), token=token, tls=tls, limits=bounds) as host:
        yield host


def remote(*urls: str, pace: Pace = QUICK, **options: Any) -> RemoteProvider:
    """A client of the hosts, not yet started; hosts that isolate nothing are taken too."""
    made = SandboxConfig(provider="remote").model_copy(update={"minimum_isolation": "memory"})
    return RemoteProvider(made, RemoteOptions(hosts=urls, **options), pace=pace, environment=ENVIRONMENT)


@contextlib.asynccontextmanager
async def requests_to(host: Host | Served, token: str | None = TOKEN) -> AsyncIterator[Requests]:
    """Plain HTTP to the host, with a session of its own."""
    headers = {"Agent-RL-Protocol": "1"} | ({"Authorization": f"Bearer {token}"} if token is not None else {})
    async with aiohttp.ClientSession(headers=headers) as http:
        requests = Requests(host, http)
        status, answer, _ = await requests.send("POST", "/v1/sessions")
        if status == 200:
            http.headers["Agent-RL-Session"] = answer["session"]
        yield requests


@dataclasses.dataclass
class Requests:
    """Sends requests and reads answers."""

    host: Host | Served
    http: aiohttp.ClientSession

    async def send(self, method: str, path: str, **options: Any) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON content (bytes where it is none) and headers of the answer."""
        async with self.http.request(method, self.host.url + path, **options) as response:
            content = await response.read()
            if response.content_type == "application/json":
                return response.status, await response.json(), response.headers
            return response.status, content, response.headers

    async def run(self, program: str = "1", **options: Any) -> tuple[int, Any, Mapping[str, str]]:
        """One run."""
        return await self.send("POST", "/v1/runs", json={"request": {"program": program}}, **options)

    async def sandbox(self) -> str:
        """The path of a new sandbox."""
        path = f"/v1/sandboxes/{secrets.token_hex(16)}"
        status, answer, _ = await self.send("PUT", path, json={"spec": {}})
        assert status == 204, answer
        return path


async def until(condition: Any, seconds: float = 20.0) -> None:
    """`condition()` holds. Fails after so long."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def free_port() -> int:
    """A port that nobody listens on, for now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def served(port: int, *arguments: str, blocked: Sequence[str] = ("torch", "transformers")) -> Iterator[Served]:
    """`agent-rl sandbox serve` as a process of its own that has none of the modules in `blocked`; killed at the end."""
    program = (
        f"import sys\nfor name in {list(blocked)!r}:\n    sys.modules[name] = None\n"
        "from agent_rl.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "envs", "sandboxes"))
    command = [sys.executable, "-c", program, "sandbox", "serve", "--bind", f"127.0.0.1:{port}", *arguments]
    environment = {**os.environ, "PYTHONPATH": paths, **ENVIRONMENT}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    server = Served(process, f"http://127.0.0.1:{port}")
    try:
        yield server
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@dataclasses.dataclass
class Served:
    """A host in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    def ready(self) -> list[str]:
        """What it said until it served. Raises SandboxError where it ended instead."""
        said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            said.append(line.strip())
            if line.startswith("serving on"):
                return said
        raise SandboxError(f"the host ended: {said}")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code, and what it said last."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said

    def children(self) -> set[int]:
        """The processes that it started, and theirs."""
        parents: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}
