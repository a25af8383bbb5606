"""The kernel's timer that a worker server has set for itself, in a process that is stopped as a run would stop it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timers of the Linux kernel")

# Puts the timer off as often as it is told to, and says so; ends at the end of its input.
SERVER = """
import sys
from agent_rl_sandboxes.inside.server_timer import ServerTimer
timer = ServerTimer()
for line in sys.stdin:
    timer.put_off()
    print("put off", flush=True)
"""


def state(pid: int) -> str:
    """The process's state as the kernel names it: "T" where it is stopped."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_server_that_was_stopped_goes_on_each_time() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(2):
            process.stdin.write("\n")
            assert process.stdout.readline() == "put off\n"
            process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            while state(process.pid) != "T":
                assert time.monotonic() < stopped + 1
            while state(process.pid) == "T":
                assert time.monotonic() < stopped + 20
                time.sleep(0.01)
        process.stdin.close()
        assert process.wait(20) == 0
