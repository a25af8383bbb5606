"""Kernel timers that resume or kill a worker server that its run has stopped; no other process can remove them.

A run without its own user and namespaces may send the server any signal. The pool notices at once if a signal ends the
server, but not if SIGSTOP stops it. So the kernel itself sends the server SIGCONT once the run's time is over, and
SIGKILL a little later, in case the run's processes stop it again and again.

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
_AFTER_SECONDS = 0.05
"""Delay after a run's deadline, so that the resumed server finds the deadline passed."""
_END_SECONDS = 3.0
"""Time to end an overdue run; a server that is not stopped needs milliseconds."""
_ANSWER_SECONDS = 10.0
"""Time to send a run's answer, which takes as long as the pool takes to read it."""
_libc = ctypes.PyDLL(None, use_errno=True)


class ServerTimers:
    """Two timers of this process. If the kernel has no such timers, only the pool's own deadline is left."""

    def __init__(self) -> None:
        self._continue, self._kill = _timer(signal.SIGCONT), _timer(signal.SIGKILL)

    def begin(self, longest: float) -> None:
        """A run has begun: after its `longest` seconds this process is resumed if stopped, and killed soon after."""
        _set(self._continue, longest + _AFTER_SECONDS)
        _set(self._kill, longest + _END_SECONDS)

    def end(self) -> None:
        """The run is over, though some of its processes may be left: the timers now allow time for the answer."""
        _set(self._continue, _AFTER_SECONDS)
        _set(self._kill, _ANSWER_SECONDS)


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
