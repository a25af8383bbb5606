"""`agent-rl train`, as a newcomer meets it: whose folder is whose, which GPU is not there, and a full disk."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

import agent_rl
from agent_rl.errors import SandboxError, StorageError
from tests.component.cli import conftest
from tests.component.cli.test_errors import command_line, mistake, run

LOADING = """
import asyncio
from pathlib import Path
from agent_rl.contracts import Environment

class Loading(Environment):
    \"\"\"Says that it is being loaded, and never is.\"\"\"

    async def load(self, split):
        Path(__file__).with_name("loading").touch()
        await asyncio.sleep(600)

    async def rollout(self, task, agent, sandbox):
        raise NotImplementedError
"""


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"agent-rl {agent_rl.__version__}\n", "")
    assert version("agent-rl") == agent_rl.__version__
    done = command_line("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"agent-rl {agent_rl.__version__}\n", "")


def test_another_project_s_folder_is_refused_before_anything_is_started(capsys, config, tmp_path):
    other = tmp_path / "other"
    for name in ("checkpoints/best.pt", "rollouts/step_000001.jsonl", "eval.json", "timeline.jsonl"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text("theirs")
    assert mistake(capsys, "train", config, "--run-dir", other) == (
        f"error: --run-dir: {other} is not a run's folder and holds other files (checkpoints, eval.json, rollouts and "
        "1 more): give a new folder, or an empty one\n"
    )
    assert {path.read_text() for path in other.rglob("*") if path.is_file()} == {"theirs"}
    assert len(list(other.rglob("*"))) == 6


def test_the_root_of_the_filesystem_and_a_file_are_refused(capsys, config):
    assert "error: --run-dir: / is not a run's folder and holds other files (" in mistake(
        capsys, "train", config, "--run-dir", "/"
    )
    for where in (config, config / "below"):
        error = mistake(capsys, "train", config, "--run-dir", where)
        assert error == f"error: --run-dir: {where} cannot hold a run: {config} is a file\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_this_user_may_not_write(capsys, config, tmp_path):
    allowed = [tmp_path, *tmp_path.parents[: len(tmp_path.parents) - 2]]
    modes = {path: path.stat().st_mode for path in allowed}
    (tmp_path / "theirs").mkdir(mode=0o755)
    try:
        for path in allowed:
            path.chmod(modes[path] | 0o055)
        os.seteuid(65534)
        for where in (tmp_path / "theirs", tmp_path / "theirs" / "run"):
            error = mistake(capsys, "train", config, "--run-dir", where)
            assert error == f"error: --run-dir: {where} cannot hold a run: this user may not read and write there\n"
    finally:
        os.seteuid(0)
        for path in allowed:
            path.chmod(modes[path])


@pytest.mark.parametrize("command", ["train", "doctor"])
@pytest.mark.parametrize("key", ["policy.device", "learner.device"])
def test_a_gpu_that_is_not_there(capsys, config, monkeypatch, tmp_path, command, key):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    error = mistake(capsys, command, config, "--set", f"{key}=cuda:1")
    assert error == (
        f"error: {key}: 'cuda:1' needs a GPU, and this process sees none (CUDA_VISIBLE_DEVICES=): "
        'set "cpu" or "auto"\n'
    )
    assert not (tmp_path / "runs").exists()


def test_a_gpu_that_is_not_there_for_an_evaluation(capsys, config, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (config.parent / "model" / "config.json").write_text("{}")
    arguments = ("eval", config, "--policy", config.parent / "model", "--set", "policy.device=cuda")
    assert "policy.device: 'cuda' needs a GPU" in mistake(capsys, *arguments)


def started(config: Path, folder: Path) -> subprocess.Popen[str]:
    """`agent-rl train` in a process of its own, which has begun to load its tasks."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "agent_rl", "train", str(config), "--run-dir", str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    loading, until = config.with_name("loading"), time.monotonic() + 60
    while not loading.exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.02)
    loading.unlink()
    return process


def test_two_processes_never_write_one_run_and_a_killed_one_leaves_it_free(tmp_path):
    (tmp_path / "loading.py").write_text(LOADING)
    config, folder = tmp_path / "run.toml", tmp_path / "run"
    text = conftest.CONFIG.format(environment=f"{tmp_path}/loading.py:Loading", model=tmp_path)
    config.write_text(f'{text}[sandbox]\nprovider = "{conftest.__file__}:MemoryProvider"\n')
    first = started(config, folder)
    try:
        for options in ((), ("--resume",)):
            second = command_line("train", str(config), "--run-dir", str(folder), *options)
            assert (second.returncode, second.stdout) == (2, "")
            said = (
                rf"error: --run-dir: {re.escape(str(folder))} is in use by process {first.pid} on \S+, since "
                rf"\S+ \S+ \(__main__\.py train {re.escape(str(config))} --run-dir {re.escape(str(folder))}\): "
                r"give another folder\n"
            )
            assert re.fullmatch(said, second.stderr), second.stderr
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    again = started(config, folder)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert again.returncode == 143


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device", "/cache/model"),
        ExceptionGroup("", [OSError(errno.ENOSPC, "No space left on device", "/cache/model")] * 2),
    ],
)
def test_a_disk_that_is_full_elsewhere_is_one_line(capsys, monkeypatch, raised):
    def fail(path):
        raise raised

    monkeypatch.setattr("agent_rl.report.write_report", fail)
    code, _, error = run(capsys, "report", "somewhere")
    assert (code, error) == (
        3,
        "error: a disk is full at /cache/model: No space left on device; free some space there, or set AGENT_RL_CACHE "
        "and TMPDIR to folders on another disk\n",
    )


def test_the_same_failure_of_several_tasks_is_said_once(capsys, monkeypatch):
    def fail(path):
        raise ExceptionGroup("", [StorageError("full"), SandboxError("died"), StorageError("full")])

    monkeypatch.setattr("agent_rl.report.write_report", fail)
    assert run(capsys, "report", "somewhere") == (3, "", "error: full\nerror: died\n")
