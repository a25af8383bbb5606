"""The kernel's timers that a worker server has set for itself, in a process that is stopped as a run would stop it."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Literal

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timers of the Linux kernel")

# Says that its timers are set, and then sleeps.
SERVER = """
import sys, time
from agent_rl_sandboxes.inside.server_timers import ServerTimers
timers = ServerTimers()
timers.begin(float(sys.argv[1]))
if sys.argv[3] == "over":
    timers.end()
print("set", flush=True)
time.sleep(float(sys.argv[2]))
"""


def server(wall: float, seconds: float, run: Literal["under way", "over"] = "under way") -> subprocess.Popen[str]:
    """A process whose run has `wall` seconds from now, or is over, and that ends by itself in `seconds`."""
    command = [sys.executable, "-c", SERVER, str(wall), str(seconds), run]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "set\n"
    return process


def test_a_server_that_was_stopped_goes_on_at_the_deadline() -> None:
    with server(1.0, 0.01) as process:
        process.send_signal(signal.SIGSTOP)
        # Without the timers it would never end; ended by them its status would be that of SIGKILL.
        assert process.wait(20) == 0


def test_a_server_that_is_stopped_again_and_again_is_ended_a_little_later() -> None:
    # Its deadline was 2.5 s ago, so that of the 3 s of grace half a second is left.
    with server(-2.5, 60.0) as process:
        while process.poll() is None:
            process.send_signal(signal.SIGSTOP)
        assert process.returncode == -signal.SIGKILL


def test_a_run_that_is_over_leaves_time_for_its_answer() -> None:
    # Were the run still under way, it would be ended half a second from now.
    with server(-2.5, 1.0, "over") as process:
        assert process.wait(20) == 0
