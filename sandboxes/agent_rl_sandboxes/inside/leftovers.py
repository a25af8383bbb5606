"""What a run left behind where no pid and no mount namespace took it along: found by its uid, ended as its user.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from typing import NoReturn

from agent_rl_sandboxes.inside import namespaces, root_view

_SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue")
"""Folders that any user can write to."""
_KILL, _REMOVE = b"k", b"r"


def kill_others() -> None:
    """Of a pid namespace whose first process this is, no other process is left."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
            os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            return


class Ender:
    """A process, made ahead of a run, that acts in the name of the run's user when it is told to.

    Ahead, because a run can fill its place with processes so that making another takes long, or cannot be done. Until
    it is told, it is root's; none of the run's processes can signal it at any time.
    """

    def __init__(self, uid: int) -> None:
        """Raises OSError."""
        pipes = os.pipe(), os.pipe()
        (order, self._orders), (self._answers, done) = pipes
        try:
            self._pid = os.fork()
            if self._pid == 0:
                os.close(self._orders)
                _serve(uid, order, done)
        except BaseException:
            os.close(self._orders)
            os.close(self._answers)
            raise
        finally:
            os.close(order)
            os.close(done)

    def kill(self) -> None:
        """Every process of the user has been sent SIGKILL. Raises OSError."""
        self._do(_KILL)

    def remove_files(self) -> None:
        """The user's files in shared folders are gone, as far as it can remove them itself. Raises OSError.

        Done by the user, so that no link of its making leads where it could not have gone itself.
        """
        self._do(_REMOVE)

    def close(self) -> None:
        """The process is gone."""
        os.close(self._orders)
        os.close(self._answers)
        with contextlib.suppress(ChildProcessError):  # it died, and was reaped among the run's orphans
            os.waitpid(self._pid, 0)

    def _do(self, what: bytes) -> None:
        os.write(self._orders, what)
        if not os.read(self._answers, 1):
            raise OSError(errno.ECHILD, "what ends a run's processes has died")


def _serve(uid: int, order: int, done: int) -> NoReturn:
    """In the process of an `Ender`: does what it is told until nobody can tell it anything."""
    try:
        namespaces.die_with_parent()
        what = os.read(order, 1)
        namespaces.act_as(uid)
        # Becoming another user has cleared it.
        namespaces.die_with_parent()
        while what:
            # What could not be done is seen from what is left.
            with contextlib.suppress(OSError):
                _kill_all() if what == _KILL else _remove_own(uid)
            os.write(done, what)
            what = os.read(order, 1)
    finally:
        os._exit(0)


def _kill_all() -> None:
    os.kill(-1, signal.SIGKILL)


def reap_orphans() -> None:
    """What has ended of this process's children is reaped."""
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
    there = filter(os.path.exists, (f"/dev/{name}" for name in root_view.DEVICES))
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
