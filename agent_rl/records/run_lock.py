"""One process per run: a lock on a file in the run's folder. The kernel releases it however the process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from agent_rl.errors import ConfigError

_NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}
"""Errors of filesystems without flock."""
_LONGEST_COMMAND = 200
_HOLDER_SECONDS = 0.5
"""Seconds that a holder may take between getting the lock and writing who it is."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a run's lock, as it wrote into the lock file."""

    pid: int
    host: str
    command: str
    since: str

    @staticmethod
    def this_process() -> LockHolder:
        """The description of this process."""
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        if len(command) > _LONGEST_COMMAND:
            command = command[: _LONGEST_COMMAND - 2] + " …"
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        return LockHolder(os.getpid(), socket.gethostname(), command, now)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since} ({self.command})"


@contextmanager
def run_lock(file: Path, say: Callable[[str], None]) -> Iterator[None]:
    """No other process holds the lock on `file` within the block.

    If the filesystem has no locks, `say` is told and the block runs without one. Raises a ConfigError that names the
    holder of the lock, OSError when `file` cannot be written.
    """
    # A link is not followed: its target is not ours to write.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor) or "another process, which does not say who it is"
            raise ConfigError(f"{file.parent} is in use by {holder}: give another folder", key="--run-dir") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            say(f"the filesystem of {file.parent} has no locks: see to it that no second process writes this run")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(LockHolder.this_process())).encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a later reader of the file must not see a holder that has gone
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> LockHolder | None:
    """The holder of the lock; None if it has not written who it is in time."""
    until = time.monotonic() + _HOLDER_SECONDS
    while True:
        try:
            return LockHolder(**json.loads(os.pread(descriptor, 1 << 16, 0)))
        except (ValueError, TypeError):
            if time.monotonic() > until:
                return None
        time.sleep(0.02)
