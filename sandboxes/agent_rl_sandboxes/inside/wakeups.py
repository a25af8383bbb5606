"""What goes on where a run has stopped the worker server: timers of the kernel's, which no other process can take away.

Where a run has no user and no namespaces of its own, it may send the server any signal. One that ends the server is
seen outside at once; SIGSTOP is not. So the kernel itself sends the server SIGCONT once the run's time is over, and,
where the run's processes stop it again and again, SIGKILL a little later.

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
"""Past a run's deadline, so that the server, woken up, finds it over."""
_END_SECONDS = 3.0
"""For ending an overdue run, which a server that is not stopped does in milliseconds."""
_ANSWER_SECONDS = 10.0
"""For passing on what a run has said, which takes as long as the pool takes to read it."""
_libc = ctypes.PyDLL(None, use_errno=True)


class Wakeups:
    """Two timers of this process, or none where the kernel has none; then only the pool's own deadline is left."""

    def __init__(self) -> None:
        self._continue, self._kill = _timer(signal.SIGCONT), _timer(signal.SIGKILL)

    def begin(self, wall: float) -> None:
        """A run has begun: when its `wall` seconds are over this process goes on if it was stopped, or soon ends."""
        _set(self._continue, wall + _AFTER_SECONDS)
        _set(self._kill, wall + _END_SECONDS)

    def end(self) -> None:
        """The run is over, though processes of it may be left: there is time for the answer."""
        _set(self._continue, _AFTER_SECONDS)
        _set(self._kill, _ANSWER_SECONDS)


def _timer(number: signal.Signals) -> int | None:
    """A timer that sends this process the signal; no child inherits it."""
    timer = ctypes.c_int()
    event = _SIGNAL_EVENT.pack(0, number, 0)
    create = _TIMER_CREATE[os.uname().machine]
    made = _libc.syscall(create, time.CLOCK_MONOTONIC, event, ctypes.byref(timer))
    return None if made < 0 else timer.value


def _set(timer: int | None, after: float) -> None:
    """The timer's signal comes `after` so many seconds, and not before; none does where there is no timer."""
    if timer is not None:
        seconds, rest = divmod(after, 1)
        spec = _ONCE.pack(0, 0, int(seconds), int(rest * 1e9))
        _libc.syscall(_TIMER_SETTIME[os.uname().machine], timer, 0, spec, None)
