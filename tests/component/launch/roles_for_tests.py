"""Objects that the tests of the runtime start in processes of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from agent_rl.errors import ConfigError


class Echo:
    """Answers, sleeps, fails and dies as it is told."""

    def __init__(self, greeting: str = "hello") -> None:
        if greeting == "refuse":
            raise ConfigError("no such greeting", key="greeting", value="helo", valid=["hello"])
        if greeting == "die":
            print("a last word", flush=True)
            os._exit(7)
        if greeting == "hang":
            time.sleep(600)
        self._greeting = greeting
        self._cancelled = 0
        self._closed_file: str | None = None

    def greet(self, name: str) -> str:
        return f"{self._greeting} {name}"

    async def slow(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._cancelled += 1
            raise
        return "done"

    async def cancelled(self) -> int:
        return self._cancelled

    async def double(self, value: int) -> int:
        return 2 * value

    async def raises(self, kind: str) -> None:
        if kind == "config":
            raise ConfigError("wrong", key="a.b", value=1)
        if kind == "value":
            raise ValueError("no good value")
        raise _Local("something of the role's own")

    async def unpicklable(self) -> object:
        return lambda: None

    async def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    async def last_words(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async def leave(self, code: int) -> None:
        os._exit(code)

    def spawn(self) -> int:
        """The pid of a child of the role's that would outlive it."""
        return subprocess.Popen(["sleep", "600"]).pid

    async def on_close(self, path: str) -> None:
        self._closed_file = path

    def close(self) -> None:
        if self._closed_file is not None:
            Path(self._closed_file).write_text("closed")


class _Local(Exception):
    pass
