"""Finds a run's leftover processes and files by the run's uid, and removes them as its user.

They are left where no pid or mount namespace removes them.

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

SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue")
"""Folders that any user can write to."""
_KILL, _REMOVE = b"k", b"r"


def kill_others() -> None:
    """All other processes of this pid namespace have ended; this process is its pid 1."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
            os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            return


class Ender:
    """A process, made before a run, that acts as the run's user when it gets an order.

    It is made early because a run can start so many processes that making another takes long, or fails. Until the
    first order it runs as root. The run's processes can never signal it.
    """

    def __init__(self, uid: int) -> None:
        """Starts the process. Raises OSError."""
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
        """SIGKILL has been sent to every process of the user. Raises OSError."""
        self._do(_KILL)

    def remove_files(self) -> None:
        """The user's files in shared folders are removed, as far as the user may remove them. Raises OSError.

        This happens with the user's rights, so that its links cannot lead to files that the user could not reach.
        """
        self._do(_REMOVE)

    def close(self) -> None:
        """The process has ended."""
        os.close(self._orders)
        os.close(self._answers)
        with contextlib.suppress(ChildProcessError):  # it died, and was reaped among the run's orphans
            os.waitpid(self._pid, 0)

    def _do(self, what: bytes) -> None:
        os.write(self._orders, what)
        if not os.read(self._answers, 1):
            raise OSError(errno.ECHILD, "what ends a run's processes has died")


def _serve(uid: int, order: int, done: int) -> NoReturn:
    """In the process of an `Ender`: follows orders until the pipe is closed."""
    try:
        namespaces.die_with_parent()
        what = os.read(order, 1)
        namespaces.act_as(uid)
        # Becoming another user has cleared the setting.
        namespaces.die_with_parent()
        while what:
            # Errors need no report: the server looks for what is left.
            with contextlib.suppress(OSError):
                _kill_all() if what == _KILL else _remove_own(uid)
            os.write(done, what)
            what = os.read(order, 1)
    finally:
        os._exit(0)


def _kill_all() -> None:
    os.kill(-1, signal.SIGKILL)


def reap_orphans() -> None:
    """All ended children of this process are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def processes_of(uid: int) -> list[int]:
    """The pids of processes with the real uid `uid`, zombies included.

    (The owner of /proc/PID is no help: a process can make root its owner.)
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
    """Paths at the top of the shared folders that belong to `uid`."""
    found: list[str] = []
    for folder in SHARED:
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
    """The modification times of the devices that every user can write to; any user can change these times."""
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
    """The owner can list and change `folder` and every folder below it."""
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        try:
            os.chmod(at, 0o700)
            waiting += [entry.path for entry in os.scandir(at) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
