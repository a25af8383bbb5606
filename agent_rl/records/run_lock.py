"""One process a run: a lock on a file in the run's folder, which the kernel releases however its process ends."""

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
"""What filesystems answer that have no flock."""
_LONGEST_COMMAND = 200
_HOLDER_SECONDS = 0.5
"""How long a holder may take from getting the lock to saying who it is."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a run's lock, as it says itself in the lock's file."""

    pid: int
    host: str
    command: str
    since: str

    @staticmethod
    def this_process() -> LockHolder:
        """What this process says of itself."""
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

    Where the filesystem has no locks, `say` hears so and the block goes on without one. Raises ConfigError that names
    who holds the lock, OSError where `file` cannot be written.
    """
    # A link is not followed: what it points to is not ours to write.
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
            with contextlib.suppress(OSError):  # who finds the file later is told of nobody that has gone
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> LockHolder | None:
    """Who holds the lock; None where it does not say so in time."""
    until = time.monotonic() + _HOLDER_SECONDS
    while True:
        try:
            return LockHolder(**json.loads(os.pread(descriptor, 1 << 16, 0)))
        except (ValueError, TypeError):
            if time.monotonic() > until:
                return None
        time.sleep(0.02)
