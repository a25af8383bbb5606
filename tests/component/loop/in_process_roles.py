"""A launcher that keeps roles in this process: whole runs of few steps then take a second."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent_rl.loop import open_run
from agent_rl.registry import resolve


class InProcessRole:
    """What `LocalLauncher` returns, for an object that lives here."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.alive = True
        self.pid = os.getpid()

    async def call(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        found = getattr(self._target, method)(*args, **kwargs)
        return await found if inspect.isawaitable(found) else found

    def kill(self) -> None:
        raise AssertionError("this role cannot be killed")

    async def stop(self) -> None:
        if self.alive and (close := getattr(self._target, "close", None)) is not None:
            found = close()
            if inspect.isawaitable(found):
                await found
        self.alive = False


class InProcessLauncher:
    """Makes roles here; leaving the context closes them."""

    def __init__(self, run_dir: Path) -> None:
        self.logs = run_dir / "logs"
        self._roles: list[InProcessRole] = []

    async def __aenter__(self) -> InProcessLauncher:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for role in self._roles:
            await role.stop()

    async def start(
        self, name: str, target: str, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> InProcessRole:
        role = InProcessRole(resolve(target, "agent_rl.launch", key="role")(**(kwargs or {})))
        self._roles.append(role)
        return role


def use_in_process_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are opened from now on have their roles in this process."""
    monkeypatch.setattr(open_run, "LocalLauncher", InProcessLauncher)
