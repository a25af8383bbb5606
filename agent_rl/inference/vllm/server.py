"""A vLLM server as a child process: its command line, its start, its log, its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from agent_rl.config import Precision, VllmConfig
from agent_rl.errors import ConfigError, PolicyError
from agent_rl.inference.context_length import context_of
from agent_rl.inference.vllm import route_guard
from agent_rl.inference.vllm.plugin import BACKEND
from agent_rl.launch.log_tail import log_tail

INTERPRETER_VARIABLE = "AGENT_RL_VLLM_PYTHON"
"""Environment variable that names the interpreter with vLLM; used if the configuration names none."""
_CONTEXT = 32768
"""Tokens that a model can attend to, if it does not say."""


def vllm_interpreter(config: VllmConfig) -> str | None:
    """The interpreter that runs vLLM; None if there is none.

    The first of: the configured interpreter, the one named by AGENT_RL_VLLM_PYTHON, this one if it has vLLM, and the
    one of the virtual environment that `make vllm` creates beside this one.
    """
    chosen = config.python or os.environ.get(INTERPRETER_VARIABLE)
    if chosen:
        return chosen
    if find_spec("vllm") is not None:
        return sys.executable
    beside = Path(f"{sys.prefix}-vllm/bin/python")
    return str(beside) if beside.is_file() else None


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """The settings that a server is started with. `devices`: the GPUs that it sees, none on a CPU."""

    model: str
    config: VllmConfig
    precision: Precision
    threads: int
    max_batch: int
    on_cpu: bool
    devices: tuple[int, ...] = ()

    def command(self, interpreter: str, socket_path: str) -> list[str]:
        """The server's command line; it listens on a Unix socket, which no sandbox and no other machine can reach."""
        words = [interpreter, "-m", "vllm.entrypoints.openai.api_server", "--uds", socket_path]
        words += ["--model", self.model, "--served-model-name", "policy", "--skip-tokenizer-init"]
        words += ["--dtype", self.precision, "--max-num-seqs", str(self.max_batch), "--enable-scale-out"]
        # The log-probabilities are those of the distribution that was sampled from.
        words += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1", "--generation-config", "vllm"]
        words += ["--weight-transfer-config", json.dumps({"backend": BACKEND})]
        words += ["--tensor-parallel-size", str(self.config.tensor_parallel), "--disable-uvicorn-access-log"]
        if self.config.max_context is not None:
            words += ["--max-model-len", str(self.config.max_context)]
        if self.on_cpu or self.config.enforce_eager:
            words.append("--enforce-eager")
        if self.on_cpu:
            # When a prompt is read in parts, vLLM 0.32 draws a token and discards it. It then has to rewind the seeded
            # generator, which fails on a CPU, and the server dies. So every prompt is read at once.
            own = context_of(self.model, _CONTEXT) if Path(self.model).is_dir() else _CONTEXT
            longest = max(8192, self.config.max_context or own)
            words += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(longest)]
        else:
            words += ["--enable-sleep-mode", "--gpu-memory-utilization", str(self.config.gpu_memory_utilization)]
        return [*words, *self.config.extra_arguments]

    def environment(self, interpreter: str) -> dict[str, str]:
        """This process's environment plus the variables that vLLM reads."""
        environment = dict(os.environ)
        if interpreter != sys.executable:
            environment.pop("PYTHONPATH", None)  # another interpreter has its own packages
        environment["VLLM_SERVER_DEV_MODE"] = "1"  # without it the routes for pausing and weights are missing
        environment["VLLM_NO_USAGE_STATS"] = "1"
        environment["OMP_NUM_THREADS"] = str(self.threads)
        if self.on_cpu:
            environment["VLLM_CPU_KVCACHE_SPACE"] = str(self.config.cpu_kv_cache_gib)
            environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # else vLLM takes cores that the learner needs
        elif self.devices:
            # Like torch, `devices` numbers only the GPUs that this process may use.
            usable = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
            chosen = [usable[i] if i < len(usable) else str(i) for i in self.devices]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        return environment


class VllmServer:
    """A running server and its processes. All end with `close`, or with this process, however this process ends."""

    def __init__(self, plan: ServerPlan, log: Path | None = None) -> None:
        """The server answers; it writes to `log`, by default to a temporary file that is removed at its end.

        Raises ConfigError if there is no vLLM, PolicyError with the reason if the server did not start.
        """
        interpreter = vllm_interpreter(plan.config)
        if interpreter is None:
            raise ConfigError(
                f"vLLM is not installed here: `make vllm` installs it; or name the interpreter that has it with "
                f"policy.vllm.python or {INTERPRETER_VARIABLE}",
                key="policy.engine",
                value="vllm",
            )
        self._folder = Path(tempfile.mkdtemp(prefix="agent-rl-vllm-"))
        self.socket = str(self._folder / "socket")
        self._log = log or self._folder / "log"
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        self._closing = False
        try:
            command = [str(self._folder), *plan.command(interpreter, self.socket)]
            self._guard = _guarded(command, plan.environment(interpreter), self._log)
            self._wait(plan.config.start_timeout)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The guard's pid; the guard leads the process group of the server and its processes."""
        return self._guard.pid

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not _answers(self.socket):
            if self._guard.poll() is not None:
                raise PolicyError(f"vLLM's server did not come up{self.log_tail()}")
            if time.monotonic() > deadline:
                raise PolicyError(
                    f"vLLM's server was not ready within policy.vllm.start_timeout = {timeout:g} s{self.log_tail()}"
                )
            time.sleep(0.2)

    def on_death(self, call: Callable[[str], None]) -> None:
        """A thread calls `call(message)` if the server ends before `close`."""

        def watch() -> None:
            code = self._guard.wait()
            if not self._closing:
                call(f"vLLM's server ended (exit code {code}){self.log_tail()}")

        threading.Thread(target=watch, name="vLLM's end", daemon=True).start()

    def log_tail(self, lines: int = 25) -> str:
        """The last lines of the server's log, with an introduction; empty if there are none."""
        return log_tail(self._log, self._log_start, lines)

    def close(self) -> None:
        """The server and all its processes have ended. Idempotent."""
        self._closing = True
        running = getattr(self, "_guard", None)
        if running is not None:
            assert running.stdin is not None
            with suppress(OSError):
                running.stdin.close()
            try:
                running.wait(route_guard.GRACE + 1.5)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
                running.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _guarded(command: Sequence[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The running guard of `command` (which starts with its folder); the output of both goes to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-I", route_guard.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _answers(path: str) -> bool:
    """Whether the server on the Unix socket `path` reports that it is healthy."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2.0)
            connection.connect(path)
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False
