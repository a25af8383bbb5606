"""What a run's processes use while they run: memory, processor time, and time in which they had no processor.

A limit on address space would refuse honest programs: large stacks of threads, arenas and sparse maps are reserved, and
never used. So a limit on memory is one on what is resident: `RunUsage` looks at it again and again, the more often the
less room is left. Beside it stands, in a container, the limit of its cgroup, which no program can exceed. (A cgroup for
each run would be better; but no program in a container may make one.) Elsewhere a run may exceed its limit for the few
milliseconds until the next look.

The wall clock also runs while other programs have all processors. The kernel counts for each thread how long it was
ready to run, and did not (the second number of /proc/PID/task/TID/schedstat). That time is not the run's: it is added
to its time, unless the run has used the processor for as long as its limit, or until `longest`. A program that sleeps
or waits for others is never ready to run, so it gains nothing. Nor do many processes that wait for each other: time in
which one of the run's own had a processor is not lost, and what ended processes have used is counted too.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator

from agent_rl_sandboxes.inside.kernel_kills import OwnGroup

MEMORY_SLACK = 64 << 20
"""Added to a run's limit on memory: for the interpreter and its libraries."""
_FIRST_LOOK_SECONDS = 0.02
"""Most runs are over before this, so that watching costs them nothing."""
_PAUSES = 0.005, 0.05
"""The shortest and the longest time between two looks, in seconds."""
_FASTEST_GROWTH = 4 << 30
"""Bytes a second: how fast a program is expected to fill memory."""
_MOST_COST = 10
"""The time between two looks is at least so many times the time that a look takes."""
_WORTH_COUNTING_SECONDS = 0.1
"""A shorter run's waits are not counted: no limit is so short that they would matter."""
_MOST_UNSEEN = 0.1
"""Share of a run's limit for which processes may have run that no look has seen, if its waits are to be known."""
SIGN_SECONDS = 1.0
"""Time between two signs of life of a run's server, and before the first: most runs are over before it."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class RunUsage:
    """Watches one run from its beginning, and says when its time or its memory is over."""

    def __init__(
        self,
        pid: int,
        wall: float,
        longest: float,
        memory: int,
        others: Iterable[int],
        group: OwnGroup | None = None,
        *,
        parts: int = 1,
        alive: Callable[[float], None] | None = None,
    ) -> None:
        """`pid`: the run's first process; seconds, bytes; `others`: the processes that are not the run's.

        `alive` is called now and then while the run goes on, with the seconds of its own time that it has used.

        `wall` and `longest` are the time of each part (see `next_part`); the whole has at most the time of `parts`.

        `group`: the cgroup in which there is only this run, if there is one.
        """
        self.started = time.monotonic()
        self.waited = 0.0
        """Seconds in which the run was ready to run, and had no processor, as far as known."""
        self._waits = 0.0
        self.cpu = 0.0
        """Processor seconds of all processes of the run up to the last look, as far as known."""
        self._wall, self._longest = wall, longest
        self._most = memory + MEMORY_SLACK
        self._others = frozenset(others)
        self._group = group
        self._parts = parts
        self._alive = alive
        self._next_sign = math.inf if alive is None else self.started + SIGN_SECONDS
        self._part = self.started, 0.0, 0.0
        """When the part under way has begun; `waited` and `cpu` at that time."""
        self._deadline = self.started + wall
        self._next_look = self.started + _FIRST_LOOK_SECONDS
        first = _times(pid, pid)
        self._before = first[0]
        """Nanoseconds that the first process ran before its request came."""
        self._group_before = self._group_seconds() or 0.0
        self._threads = {(pid, pid): first}
        """(pid, thread) -> what `_times` said at the last look."""

    def waits(self, cpu: float) -> float | None:
        """`waited`; None if that is not known: the kernel does not say, or too much of `cpu` was used unseen.

        `cpu`: processor seconds of the whole run. Processes that come and go between two looks are not seen to wait.
        """
        unseen = cpu - self._seen_seconds()
        return None if not KNOWN or unseen > _MOST_UNSEEN * self._wall else self.waited

    def next_part(self, now: float) -> float:
        """A part of the run is over, the next begins and has all of a part's time: how long the part has taken."""
        began, waited, _ = self._part
        self._part = now, self.waited, self.cpu
        self._deadline = self._latest()
        return max(0.0, now - began - (self.waited - waited))

    def of_last_part(self, cpu: float) -> tuple[float, float | None]:
        """What `cpu`, that of the whole run, and `waits` are for the part under way."""
        _, waited, used = self._part
        cpu = max(cpu, self.cpu)
        known = self.waits(cpu)
        return cpu - used, None if known is None else known - waited

    def _latest(self) -> float:
        """When the part under way is over, as far as known."""
        began, waited, _ = self._part
        part = began + min(self._wall + self.waited - waited, self._longest)
        return min(part, self.started + min(self._parts * self._wall + self.waited, self._parts * self._longest))

    def over(self) -> str | None:
        """Why the run has to end now: "timeout" or "out_of_memory"; None if it may go on."""
        now = self._now()
        if now < self._next_look and now < self._deadline:
            return None
        if self._group is not None and self._group.killed():
            return "out_of_memory"
        if now >= self._deadline and self._is_used_up():
            # Without a look, which may take long beside many processes.
            return "timeout"
        if self._look(now) > self._most:
            return "out_of_memory"
        if now < self._deadline:
            return None
        self._deadline = self._latest()
        return "timeout" if now >= self._deadline or self._is_used_up() else None

    def pause(self) -> float:
        """Seconds until `over` has to be asked again."""
        return max(0.0, min(self._next_look, self._next_sign, self._deadline) - time.monotonic())

    def _now(self) -> float:
        """The time; a sign of life is given if it is due."""
        now = time.monotonic()
        if self._alive is not None and now >= self._next_sign:
            self._next_sign = now + SIGN_SECONDS
            self._alive(now - self.started - self.waited)
        return now

    def finish(self) -> None:
        """The run has ended, its first process is not reaped yet: its waits are counted to the end."""
        if time.monotonic() - self.started >= _WORTH_COUNTING_SECONDS:
            self._count_waits(list(self._processes()))

    def _look(self, now: float) -> int:
        """The bytes of memory that the run uses; its waits are counted, and the next look is planned."""
        processes = list(self._processes())
        self._count_waits(processes)
        sizes = [_resident(pid) for pid in self._each(processes)]
        used = sum(sizes)
        if used > self._most and len(sizes) > 1:
            # Processes share what they had before they were forked.
            shares = [_proportional(pid) for pid in self._each(processes)]
            if any(shares):
                # A process may hide itself from this one, or have ended since: then it has nothing any more.
                used = sum(_resident(pid) if share is None else share for pid, share in zip(processes, shares))  # noqa: B905
            else:
                used = max(*sizes, 0 if self._group is None else self._group.anonymous())
        shortest, longest = _PAUSES
        pause = max(shortest, min(longest, (self._most - used) / _FASTEST_GROWTH))
        ended = time.monotonic()
        self._next_look = ended + max(pause, _MOST_COST * (ended - now))
        return used

    def _processes(self) -> Iterator[int]:
        """The run's processes, as far as they are in this process's /proc; ended ones too, until they are reaped."""
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in self._others:
                yield int(name)

    def _each(self, processes: Iterable[int]) -> Iterator[int]:
        """The processes. A look at many may take long where they leave no processor, so signs of life are given."""
        for pid in processes:
            self._now()
            yield pid

    def _count_waits(self, processes: list[int]) -> None:
        """What the longest waiting thread has waited since the last look is added to `waited`.

        Not the sum of all threads: several that wait at the same time lose that time once. And time in which another
        process of the run had a processor is not lost.
        """
        most = 0
        for pid in self._each(processes):
            try:
                threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
            except OSError:
                continue
            for thread in threads:
                times = _times(pid, thread)
                most = max(most, times[1] - self._threads.get((pid, thread), (0, 0))[1])
                self._threads[pid, thread] = times
        self._waits += most / 1e9
        if not self._ask_group():
            self.cpu = max(self.cpu, sum(map(_processor_seconds, processes)) - self._before / 1e9)
        self.cpu = max(self.cpu, self._seen_seconds())
        elapsed = time.monotonic() - self.started
        self.waited = max(0.0, min(self._waits, elapsed - self.cpu))

    def _is_used_up(self) -> bool:
        """Whether the part under way is known to have used the processor for as long as it may."""
        self._ask_group()
        return self.cpu - self._part[2] >= self._wall

    def _ask_group(self) -> bool:
        """`cpu` is what the group has counted; False if it does not count."""
        used = self._group_seconds()
        if used is None:
            return False
        self.cpu = max(self.cpu, used - self._group_before)
        return True

    def _group_seconds(self) -> float | None:
        """Processor seconds of the cgroup without this process; None if there is none."""
        used = None if self._group is None else self._group.processor_seconds()
        return None if used is None else used - time.process_time()

    def _seen_seconds(self) -> float:
        """Processor seconds of all threads that were seen, up to the last look at each."""
        return (sum(ran for ran, _ in self._threads.values()) - self._before) / 1e9


def _times(pid: int, thread: int) -> tuple[int, int]:
    """Nanoseconds that the thread ran, and that it was ready to run and did not; 0 if the kernel does not say."""
    fields = _read(f"/proc/{pid}/task/{thread}/schedstat").split()
    return (int(fields[0]), int(fields[1])) if len(fields) > 1 else (0, 0)


def _resident(pid: int) -> int:
    """Bytes of memory that the process has; 0 if it has ended."""
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _proportional(pid: int) -> int | None:
    """Bytes of memory of the process, divided by how many share them; None if it has ended or hides that."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) << 10
    return None


def _processor_seconds(pid: int) -> float:
    """What the process, its ended threads and its reaped children have used; 0 if it has been reaped."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS if len(fields) > 15 else 0.0


def _read(path: str) -> bytes:
    """The content of a small file of /proc, empty if there is none. (A file object would take twice as long.)"""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


KNOWN = _times(os.getpid(), os.getpid()) != (0, 0)
"""Whether this kernel says how long a thread waited for a processor."""
