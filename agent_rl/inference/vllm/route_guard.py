"""Runs a command and ends it, with all its processes, when the guard's own starter is gone.

Usage: `route_guard.py FOLDER COMMAND…`. vLLM's engine and workers outlive a killed server. So this guard starts the
server, in one process group with itself. The guard's standard input is a pipe that nobody writes to: it reaches its end
when the starter ends, however that happens. FOLDER, the command's working folder, is removed at the end. Imports only
the standard library, and nothing of this project.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

GRACE = 2.0
"""Seconds that the command has to end by itself after SIGTERM. It has nothing to save, and a role that is told to stop
has 5 s in all."""


def main(arguments: list[str]) -> int:
    """The exit code of the command; 143 if the guard ended it."""
    folder, *command = arguments
    if os.getpgrp() != os.getpid():
        print("guard: must lead a process group of its own", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter handles a terminal's Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: _end_group(folder))
    # The command must not inherit the pipe: if it held the pipe open, the pipe would never end.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=folder)
    threading.Thread(target=_wait_for_end, args=(child, folder), daemon=True).start()
    code = child.wait()
    print(f"guard: the server has ended (exit code {code})", file=sys.stderr, flush=True)
    _end_group(folder, code if code > 0 else 128 - code)
    return code


def _wait_for_end(child: subprocess.Popen[bytes], folder: str) -> None:
    """Ends the process group when standard input ends."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    deadline = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    _end_group(folder)


def _end_group(folder: str, code: int = 143) -> None:
    """Kills all other processes of the group, removes `folder`, then ends this process with `code`."""
    shutil.rmtree(folder, ignore_errors=True)
    own = os.getpid()
    if sys.platform == "linux":
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != own and _group(int(entry)) == own:
                with contextlib.suppress(OSError):
                    os.kill(int(entry), signal.SIGKILL)
        os._exit(code)
    os.killpg(own, signal.SIGKILL)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
