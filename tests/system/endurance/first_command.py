"""How long an episode waits for its first command, with containers made ahead and without: printed as a table.

    python -m tests.system.endurance.first_command [--episodes 16] [--at-once 64]

First one episode after the other, as long apart as it takes to make the next container; then many at the same moment,
with how many containers were being made at once. Needs Docker and the image (`agent-rl sandbox doctor`).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from agent_rl.config import SandboxConfig
from agent_rl.contracts import Sandbox
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_container import Container
from agent_rl_sandboxes.docker_provider import DockerProvider


class Starts:
    """Counts the starts of containers that are under way."""

    def __init__(self) -> None:
        self.now = self.most = self.count = 0
        self._start = Container.start

    async def start(self, *arguments: object, **options: object) -> Container:
        self.now, self.count = self.now + 1, self.count + 1
        self.most = max(self.most, self.now)
        try:
            return await self._start(*arguments, **options)  # pyright: ignore
        finally:
            self.now -= 1

    async def rest(self) -> None:
        """No start has been under way for a moment."""
        quiet = time.monotonic()
        while time.monotonic() - quiet < 0.5:
            if self.now:
                quiet = time.monotonic()
            await asyncio.sleep(0.05)


async def first_command(sandbox: Sandbox) -> float:
    """Seconds to the answer of a command that does nothing."""
    began = time.perf_counter()
    result = await sandbox.exec(["true"])
    assert result.exit_code == 0, result
    return time.perf_counter() - began


async def measure(warm: int, episodes: int, at_once: int) -> str:
    """One line of the table."""
    starts = Starts()
    async with DockerProvider(SandboxConfig(workers=1, warm_episodes=warm)) as provider:
        Container.start = starts.start  # pyright: ignore[reportAttributeAccessIssue]
        try:
            await first_command(provider.sandbox(SandboxSpec()))
            alone: list[float] = []
            for _ in range(episodes):
                await starts.rest()
                sandbox = provider.sandbox(SandboxSpec())
                alone.append(await first_command(sandbox))
                await sandbox.close()
            await starts.rest()
            starts.most = 0
            began = time.perf_counter()
            sandboxes = [provider.sandbox(SandboxSpec()) for _ in range(at_once)]
            crowd = await asyncio.gather(*(first_command(sandbox) for sandbox in sandboxes))
            seconds = time.perf_counter() - began
            await starts.rest()
        finally:
            Container.start = starts._start  # pyright: ignore
    milliseconds = [f"{1e3 * statistics.median(alone):8.0f}", f"{1e3 * max(alone):8.0f}"]
    crowded = [f"{1e3 * min(crowd):8.0f}", f"{1e3 * statistics.median(crowd):8.0f}", f"{1e3 * max(crowd):8.0f}"]
    return f"{warm:13d}  {'  '.join(milliseconds)}  {'  '.join(crowded)}  {seconds:8.1f}  {starts.most:9d}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--at-once", type=int, default=64)
    arguments = parser.parse_args()
    print(f"milliseconds to the first answer    one at a time     {arguments.at_once} at once")
    print("warm_episodes    median   slowest   fastest    median   slowest   seconds   starts at once")
    for warm in (0, 2, 8):
        print(await measure(warm, arguments.episodes, arguments.at_once), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
