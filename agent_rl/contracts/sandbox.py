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
    """An isolated place for one episode. It is started at its first use."""

    @abstractmethod
    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        """The outcome of `command` (no shell). After `timeout` seconds its whole process tree is killed.

        Processes that the command leaves behind run until the sandbox is closed. Several commands may run at once.
        Raises SandboxError if the sandbox itself died.
        """

    @abstractmethod
    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """The files are written. Paths are relative to the working directory; ValueError for a path outside it."""

    @abstractmethod
    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        """At most `max_bytes` of a regular file in the working directory. FileNotFoundError if it does not exist.

        FileNotFoundError with another `errno` than ENOENT says why a file cannot be read, such as EIO where the
        programs inside have made their sandbox unusable.
        """

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
    """A tool call's outcome as text for the agent: stdout, then stderr, then the status or exit code of a failure."""
    text = (result.stdout + result.stderr).decode("utf-8", "replace")
    if result.status != "completed":
        return f"{text}\n[{result.status}]"
    return text if result.exit_code == 0 else f"{text}\n[exit code {result.exit_code}]"


class Sandboxes(ABC):
    """A host's sandboxes. Used as an async context manager: `async with sandboxes:`."""

    name: ClassVar[str]

    @abstractmethod
    async def start(self) -> None:
        """Ready for use. Leftovers of owners that are provably dead are removed.

        Raises SandboxError, whose message says what to do.
        """

    @abstractmethod
    async def close(self) -> None:
        """Everything that this provider started or wrote to disk is gone. Idempotent."""

    @abstractmethod
    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        """A sandbox of this spec, not yet started. Raises ConfigError for a spec that the provider cannot serve."""

    def on_one_host(self) -> Sandboxes:
        """These sandboxes, all on one machine, so that a failure of one can be compared with a run in another.

        A provider that uses only one machine returns itself. If the machine is lost, SandboxStartError is raised.
        """
        return self

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Facts for the user: name, version, image, isolation level, and why a stronger level is not available."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class ProviderOptions(Section):
    """Options of one provider, from the table `[sandbox.NAME]`. The provider's own subclass adds fields."""


class SandboxProvider(Sandboxes, JudgeRunner):
    """What `[sandbox] provider` names: sandboxes for episodes, and workers to judge in, on the same machines.

    It is constructed as `Provider(config, options)`: `config` holds the options that all providers share, `options` is
    its own table, an instance of its `options_class`. The constructor starts nothing.
    """

    options_class: ClassVar[type[ProviderOptions]] = ProviderOptions
    auto_order: ClassVar[int | None] = None
    """When `provider = "auto"` tries this provider: lower numbers first. None: it is used only if it is named."""
    usable_means: ClassVar[str] = "it can be used here"
    """What the user is told if `auto` takes this provider as its first choice."""
    pytest_remedy: ClassVar[str] = "install pytest there"
    """What the user can do if a sandbox has no pytest."""
    packages_remedy: ClassVar[str] = "install {packages} there"
    """What the user can do if a sandbox lacks packages: an index's names of them (`a,b`) take the place of
    `{packages}`, and Debian's (`python3-a python3-b`) that of `{debian}`."""

    def __init__(self, config: SandboxConfig, options: Any) -> None:
        """Raises ConfigError if a token or a file that an option names cannot be used."""

    @classmethod
    async def available(cls, config: SandboxConfig, options: Any) -> str | None:
        """Why the provider cannot be used here, with the remedy; None if it can be used.

        The default starts a provider with a single worker and closes it again.
        """
        try:
            async with cls(config.model_copy(update={"workers": 1}), options):
                return None
        except (ConfigError, SandboxError) as error:
            return str(error)

    def on_one_host(self) -> SandboxProvider:
        """This provider, with all runs and sandboxes on one machine: see `Sandboxes.on_one_host`."""
        return self
