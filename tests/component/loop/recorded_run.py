"""One recorded whole run for all tests that only read it: it takes as long as any other."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recorded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished deterministic run of 20 steps, for tests that read it and write nothing there. What it
    printed is in recorded-run.out beside it.

    Made once a session: of pytest-xdist's workers the first that asks makes it, the others wait.
    """
    from agent_rl.config import parse_config
    from tests.component.loop.tiny_runs import DETERMINISTIC, settings

    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent  # each worker's own folder lies in the session's
    folder, done = shared / "recorded-run", shared / "recorded-run.done"
    with (shared / "recorded-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            file = shared / "recorded-run.toml"
            file.write_text(parse_config(settings(20, **DETERMINISTIC)).to_toml())
            command = [sys.executable, "-m", "agent_rl", "train", str(file), "--run-dir", str(folder)]
            environment = {**os.environ, "AGENT_RL_CACHE": str(tmp_path_factory.mktemp("cache"))}
            made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stderr
            (shared / "recorded-run.out").write_text(made.stdout + made.stderr)
            done.touch()
    return folder
