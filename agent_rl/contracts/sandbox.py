"""`Sandbox`: an isolated machine-like place. `SandboxProvider`: makes them, and runs programs in workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import ExecResult, Isolation, PairRequest, PairResult, RunRequest, RunResult, SandboxSpec


class Sandbox(ABC):
    """A place of its own for one episode. Nothing starts before the first use."""

    @abstractmethod
    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        """The outcome of `command` (no shell). At `timeout` seconds its whole process tree is ended.

        Raises SandboxError where the sandbox itself died.
        """

    @abstractmethod
    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """Files are in place, paths relative to the working directory; a path that leaves it is a ValueError."""

    @abstractmethod
    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        """At most `max_bytes` of a regular file in the working directory; FileNotFoundError where there is none."""

    @abstractmethod
    async def close(self) -> None:
        """The sandbox and all its processes are gone. Idempotent."""

    async def bash(self, command: str) -> str:
        """Run a shell command in the sandbox and return its output.

        Args:
            command: The command line, for /bin/sh.
        """
        result = await self.exec(["/bin/sh", "-c", command])
        return _for_agent(result)

    async def python(self, code: str) -> str:
        """Run a Python program in the sandbox and return what it prints.

        Args:
            code: The program's source.
        """
        result = await self.exec(["python3", "-c", code], timeout=20.0)
        return _for_agent(result)


def _for_agent(result: ExecResult) -> str:
    """What a tool call's outcome says to the agent: output, then errors, then how it ended where not well."""
    text = (result.stdout + result.stderr).decode("utf-8", "replace")
    if result.status != "completed":
        return f"{text}\n[{result.status}]"
    return text if result.exit_code == 0 else f"{text}\n[exit code {result.exit_code}]"


class SandboxProvider(ABC):
    """A host's sandboxes and warm workers. Used as an async context manager: `async with provider:`."""

    name: str

    @abstractmethod
    async def start(self) -> None:
        """Ready; what provably dead owners left behind is gone. Raises SandboxError with what to do about it."""

    @abstractmethod
    async def close(self) -> None:
        """Nothing of this provider's is left running or on disk. Idempotent."""

    @property
    @abstractmethod
    def isolation(self) -> Isolation:
        """The isolation level between two runs, as probed at `start`."""

    @abstractmethod
    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        """A sandbox of this spec, not yet started."""

    @abstractmethod
    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        """One run in a warm worker, or with `fresh` in a worker made for it alone and ended after it.

        Raises SandboxError where the worker died under the run (the caller decides who is to blame), and of it
        SandboxStartError where there was no worker to run in.
        Cancellation ends the run and gives the worker back.
        """

    def on_one_host(self) -> SandboxProvider:
        """This provider, with all runs and sandboxes on one machine: what happens to one can be held against another.

        A provider of one machine is that itself. Where the machine is lost, they raise SandboxStartError.
        """
        return self

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        """Two runs at once, in two workers that share nothing, which talk with each other as `PairRequest` says.

        Errors, `fresh` and cancellation are those of `run`; where the worker of the tests' run died, and only that one,
        the error is a TestsPlaceError. A provider without such runs raises SandboxError.
        """
        raise SandboxError(f"the {self.name} sandbox has no runs that talk with each other, which tier 'proxied' needs")

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """What a person wants to know: name, version, image, isolation level and why not the next."""

    async def __aenter__(self) -> SandboxProvider:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
