"""The kernel's timers that a slot server has set for itself, in a process that is stopped as a run would stop it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timers of the Linux kernel")

# Says that its timers are set, and then sleeps.
SERVER = """
import sys, time
from agent_rl_sandboxes.inside.wakeups import Wakeups
Wakeups().set(float(sys.argv[1]))
print("set", flush=True)
time.sleep(float(sys.argv[2]))
"""


def server(wall: float, seconds: float) -> subprocess.Popen[str]:
    """A process whose run ends `wall` seconds from now, and that ends by itself in `seconds`."""
    command = [sys.executable, "-c", SERVER, str(wall), str(seconds)]
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
