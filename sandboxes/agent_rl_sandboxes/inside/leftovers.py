"""What a run left behind where no pid and no mount namespace took it along: found by its uid, ended as its user.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import time
from collections.abc import Callable

from agent_rl_sandboxes.inside import namespaces, view

_SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue")
"""Folders that any user can write to."""
_FORK_SECONDS = 2.0
_FORK_PAUSE_SECONDS = 0.01


def kill_all(uid: int) -> None:
    """Every process of `uid` has been sent SIGKILL, in its name; what has ended is reaped. Raises OSError."""
    send_kill(uid)
    _reap_orphans()


def send_kill(uid: int) -> None:
    """Every process of `uid` has been sent SIGKILL, in its name. Raises OSError."""
    _as_user(uid, _kill_all)


def kill_others() -> None:
    """Of a pid namespace whose first process this is, no other process is left."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
            os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            return


def remove_files(uid: int) -> None:
    """In that user's name, so that no link of its making leads where it could not have gone itself. Raises OSError."""
    _as_user(uid, lambda: _remove_own(uid))


def _as_user(uid: int, action: Callable[[], None]) -> None:
    """Done, by a process that those of `uid` cannot stop or end. Raises OSError."""
    pid = _fork()
    if pid == 0:
        try:
            namespaces.act_as(uid)
            action()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _fork() -> int:
    """As os.fork; where the processes to be ended have left no room for another, it is tried for a while."""
    until = time.monotonic() + _FORK_SECONDS
    while True:
        try:
            return os.fork()
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(_FORK_PAUSE_SECONDS)


def _kill_all() -> None:
    try:
        os.kill(-1, signal.SIGKILL)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EPERM):
            raise


def _reap_orphans() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def processes_of(uid: int) -> list[int]:
    """Processes whose real uid it is, also those that ended and were not reaped.

    (/proc/PID itself belongs to root where the process wants it so.)
    """
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/status") as lines:
                    owner = next((line for line in lines if line.startswith("Uid:")), "Uid:\t-1")
            except OSError:
                continue
            if int(owner.split()[1]) == uid:
                found.append(int(name))
    return found


def files_of(uid: int) -> list[str]:
    """What belongs to `uid` at the top of the shared folders."""
    found: list[str] = []
    for folder in _SHARED:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.stat(follow_symlinks=False).st_uid == uid:
                    found.append(entry.path)
            except FileNotFoundError:
                continue
    return found


def device_times() -> list[int]:
    """When the devices that every user can write to were last touched, as any user may."""
    there = filter(os.path.exists, (f"/dev/{name}" for name in view.DEVICES))
    return [os.stat(path).st_mtime_ns for path in there]


def _remove_own(uid: int) -> None:
    import shutil

    for path in files_of(uid):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _open_up(path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def _open_up(folder: str) -> None:
    """Every folder at and below it can be listed and changed by its owner."""
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        try:
            os.chmod(at, 0o700)
            waiting += [entry.path for entry in os.scandir(at) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
