"""`Sandbox`: an isolated machine-like place. `Sandboxes`: makes them. `SandboxProvider`: runs programs as well."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from agent_rl.config import SandboxConfig, Section
from agent_rl.contracts.judge_runner import JudgeRunner
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.vocabulary import ExecResult, SandboxSpec


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

        What it leaves running after its own end goes on until the sandbox is closed. Commands may run side by side.
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


class Sandboxes(ABC):
    """A host's sandboxes. Used as an async context manager: `async with sandboxes:`."""

    name: ClassVar[str]

    @abstractmethod
    async def start(self) -> None:
        """Ready; what provably dead owners left behind is gone. Raises SandboxError with what to do about it."""

    @abstractmethod
    async def close(self) -> None:
        """Nothing of this provider's is left running or on disk. Idempotent."""

    @abstractmethod
    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        """A sandbox of this spec, not yet started. Raises ConfigError for a spec that cannot be had here."""

    def on_one_host(self) -> Sandboxes:
        """These sandboxes, all on one machine: what happens to one can be held against another.

        Those of one machine are that themselves. Where the machine is lost, they raise SandboxStartError.
        """
        return self

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """What a person wants to know: name, version, image, isolation level and why not the next."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class ProviderOptions(Section):
    """Options that one provider alone reads, the table `[sandbox.NAME]`; a provider's own class adds fields."""


class SandboxProvider(Sandboxes, JudgeRunner):
    """What `[sandbox] provider` names: sandboxes for episodes, and workers to judge in, on the same machines.

    It is made as `Provider(config, options)`: with what all providers have in common, and with its own table, of its
    `options_class`. Making it starts nothing.
    """

    options_class: ClassVar[type[ProviderOptions]] = ProviderOptions

    def __init__(self, config: SandboxConfig, options: Any) -> None:
        """Raises ConfigError where a token or a file that an option names cannot be used."""

    @classmethod
    async def available(cls, config: SandboxConfig, options: Any) -> str | None:
        """Why the provider cannot be used here, with the remedy; None where it can.

        By default one with a single worker is started and closed again.
        """
        try:
            async with cls(config.model_copy(update={"workers": 1}), options):
                return None
        except (ConfigError, SandboxError) as error:
            return str(error)

    def on_one_host(self) -> SandboxProvider:
        """This provider, with all runs and sandboxes on one machine, as `Sandboxes` says."""
        return self
