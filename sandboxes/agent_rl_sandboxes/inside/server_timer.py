"""A timer of the kernel that resumes a worker server that its run has stopped; no other process can remove it.

A run without its own user and namespaces may send the server any signal. The pool notices at once if a signal ends the
server. If SIGSTOP stops it, it gives no sign of life, and the pool would end it, with the run's result. So the kernel
itself sends the server SIGCONT if it has not put that off. One that is stopped again before it can is left to the pool.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time

_TIMER_CREATE = {"x86_64": 222, "aarch64": 107}
_TIMER_SETTIME = {"x86_64": 223, "aarch64": 110}
_SIGNAL_EVENT = struct.Struct("Qii48x")
"""struct sigevent: a value, the signal, and 0 (SIGEV_SIGNAL)."""
_ONCE = struct.Struct("qqqq")
"""struct itimerspec: the interval, here 0, and the time until the signal; each in seconds and nanoseconds."""
_AFTER_SECONDS = 2.0
"""Longer than a server that is not stopped takes to put it off, see `run_usage.SIGN_SECONDS`."""
_libc = ctypes.PyDLL(None, use_errno=True)


class ServerTimer:
    """A timer of this process. If the kernel has no such timers, the pool has to notice."""

    def __init__(self) -> None:
        self._timer = _timer(signal.SIGCONT)

    def put_off(self) -> None:
        """This process is resumed if it is stopped `_AFTER_SECONDS` from now, and has not called this again."""
        _set(self._timer, _AFTER_SECONDS)


def _timer(number: signal.Signals) -> int | None:
    """A timer that sends the signal to this process; no child inherits it."""
    timer = ctypes.c_int()
    event = _SIGNAL_EVENT.pack(0, number, 0)
    create = _TIMER_CREATE[os.uname().machine]
    made = _libc.syscall(create, time.CLOCK_MONOTONIC, event, ctypes.byref(timer))
    return None if made < 0 else timer.value


def _set(timer: int | None, after: float) -> None:
    """The timer's next signal comes in `after` seconds; no effect without a timer."""
    if timer is not None:
        seconds, rest = divmod(after, 1)
        spec = _ONCE.pack(0, 0, int(seconds), int(rest * 1e9))
        _libc.syscall(_TIMER_SETTIME[os.uname().machine], timer, 0, spec, None)
