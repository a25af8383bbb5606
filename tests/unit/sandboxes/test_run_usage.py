"""What a run's processes use, read from a /proc of a test's own: when its memory is over, and when its time is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from agent_rl_sandboxes.inside import run_usage
from agent_rl_sandboxes.inside.kernel_kills import OwnGroup
from agent_rl_sandboxes.inside.run_usage import MEMORY_SLACK, RunUsage

MIB = 1 << 20
SERVER, RUN, CHILD = 1, 7, 8


@dataclass
class Process:
    """A process with one thread: what it has, in MiB and seconds."""

    resident: int = 10
    proportional: int | None = None
    ran: float = 0.0
    waited: float = 0.0
    reaped: float = 0.0
    """Processor seconds of its children that have ended."""


@dataclass
class Machine:
    """A clock and the processes of /proc."""

    now: float = 100.0
    processes: dict[int, Process] = field(default_factory=lambda: {SERVER: Process(500, ran=50.0, waited=50.0)})

    def listdir(self, path: str) -> list[str]:
        if path == "/proc":
            return ["cpuinfo", *map(str, self.processes)]
        return [path.split("/")[2]]

    def read(self, path: str) -> bytes:
        parts = path.split("/")
        process = self.processes.get(int(parts[2]))
        if process is None:
            return b""
        if parts[-1] == "schedstat":
            return b"%d %d 1" % (process.ran * 1e9, process.waited * 1e9)
        if parts[-1] == "statm":
            return b"0 %d 0" % (process.resident * MIB // run_usage._PAGE)  # pyright: ignore[reportPrivateUsage]
        if parts[-1] == "smaps_rollup":
            return b"" if process.proportional is None else b"Rss: 1 kB\nPss: %d kB\n" % (process.proportional << 10)
        ticks = [int(seconds * run_usage._TICKS) for seconds in (process.ran, process.reaped)]  # pyright: ignore[reportPrivateUsage]
        return b"7 (a) name) S " + b"0 " * 10 + b"%d 0 %d 0 " % (*ticks,) + b"0 " * 10

    def run(self, usage: RunUsage, seconds: float, ran: float = 0.0, waited: float = 0.0, pid: int = RUN) -> str | None:
        """What `usage` says after so many seconds, in which the process ran and waited for so long."""
        self.now += seconds
        self.processes[pid].ran += ran
        self.processes[pid].waited += waited
        return usage.over()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    machine.processes[RUN] = Process(ran=1.0, waited=3.0)  # before its request came
    monkeypatch.setattr(run_usage, "_read", machine.read)
    monkeypatch.setattr(run_usage.os, "listdir", machine.listdir)
    monkeypatch.setattr(run_usage.time, "monotonic", lambda: machine.now)
    monkeypatch.setattr(run_usage, "KNOWN", True)
    return machine


def watched(memory: int = 100) -> RunUsage:
    """A run with 5 s, or 20 s at the longest, and `memory` MiB."""
    return RunUsage(RUN, 5.0, 20.0, memory * MIB, [SERVER])


def test_a_run_that_works_ends_at_its_limit(machine: Machine) -> None:
    usage = watched()
    assert machine.run(usage, 4.9, ran=4.9) is None
    assert machine.run(usage, 0.1, ran=0.1) == "timeout"
    assert (usage.cpu, usage.waits(5.0)) == (5.0, 0.0)


def test_a_run_that_sleeps_ends_at_its_limit(machine: Machine) -> None:
    usage = watched()
    assert machine.run(usage, 5.0) == "timeout"
    assert usage.waits(0.0) == 0.0


def test_time_without_a_processor_does_not_count(machine: Machine) -> None:
    usage = watched()
    # A third of the processor: 5 s of work take 15 s.
    for _ in range(28):
        assert machine.run(usage, 0.5, ran=0.5 / 3, waited=1.0 / 3) is None
    assert usage.waited == pytest.approx(28 / 3)
    assert machine.run(usage, 1.0, ran=1 / 3, waited=2 / 3) == "timeout"


def test_but_it_may_take_only_so_long(machine: Machine) -> None:
    usage = watched()
    for _ in range(19):
        assert machine.run(usage, 1.0, ran=0.1, waited=0.9) is None
    assert machine.run(usage, 1.0, ran=0.1, waited=0.9) == "timeout"
    assert usage.waits(2.0) == pytest.approx(18.0)


def test_a_run_that_waits_for_its_own_processes_loses_nothing(machine: Machine) -> None:
    usage = watched()
    machine.processes[CHILD] = Process()
    # Both want the same processor, and have it in turns.
    machine.run(usage, 0.0, ran=2.0, waited=2.0, pid=CHILD)
    assert machine.run(usage, 4.0, ran=2.0, waited=2.0) is None
    assert usage.waited == 0.0
    assert machine.run(usage, 1.0, ran=1.0) == "timeout"


def test_nor_does_one_that_waits_for_processes_that_come_and_go(machine: Machine) -> None:
    usage = watched()
    for _ in range(4):
        machine.processes[RUN].reaped += 1.0  # what its children have used, none of which any look has seen
        assert machine.run(usage, 1.0, waited=1.0) is None
    assert (usage.waited, usage.cpu) == (0.0, 4.0)
    machine.processes[RUN].reaped += 1.0
    assert machine.run(usage, 1.0, waited=1.0) == "timeout"


@dataclass
class CountedGroup(OwnGroup):
    """A cgroup that counts what its processes use."""

    seconds: float = 7.0

    def killed(self) -> bool:
        return False

    def processor_seconds(self) -> float:
        return self.seconds


def test_a_container_counts_processes_that_no_look_has_seen(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_usage.time, "process_time", lambda: 2.0)  # the server's own
    group = CountedGroup()
    usage = RunUsage(RUN, 5.0, 20.0, 100 * MIB, [SERVER], group, parts=3)
    group.seconds += 2.0
    assert machine.run(usage, 2.0, waited=1.5) is None
    usage.next_part(machine.now)
    group.seconds += 4.0
    assert machine.run(usage, 4.9, waited=4.9) is None
    assert usage.waited == pytest.approx(0.9)  # of 6.9 s, one of the run's processes had a processor for 6
    group.seconds += 1.0
    # Enough is known without a look at each of the processes.
    monkeypatch.setattr(run_usage.os, "listdir", lambda path: pytest.fail(path))
    assert machine.run(usage, 1.5) == "timeout"
    assert usage.of_last_part(0.0) == (pytest.approx(5.0), None)


def test_waits_of_processes_that_nobody_saw_are_not_known(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = watched()
    assert machine.run(usage, 5.0, ran=0.5) == "timeout"
    assert usage.waits(0.5) == 0.0
    assert usage.waits(1.1) is None  # 0.6 of them unseen, more than a tenth of 5 s
    monkeypatch.setattr(run_usage, "KNOWN", False)
    assert usage.waits(0.5) is None


def test_memory_is_what_is_resident(machine: Machine) -> None:
    usage = watched(memory=100)
    slack = MEMORY_SLACK // MIB
    machine.processes[RUN].resident = 100 + slack
    assert machine.run(usage, 1.0) is None
    # Forked processes share what was there before.
    machine.processes[RUN].proportional = 80
    machine.processes[CHILD] = Process(150, proportional=80)
    assert machine.run(usage, 1.0) is None
    machine.processes[CHILD].proportional = 100
    assert machine.run(usage, 1.0) == "out_of_memory"


def test_where_shares_cannot_be_seen_the_largest_process_counts(machine: Machine) -> None:
    usage = watched(memory=100)
    machine.processes[RUN].resident = 150
    machine.processes[CHILD] = Process(150)
    machine.processes[CHILD + 1] = Process(0)  # has ended
    assert machine.run(usage, 1.0) is None
    machine.processes[CHILD].resident = 165
    assert machine.run(usage, 1.0) == "out_of_memory"


def test_the_fuller_the_memory_the_sooner_the_next_look(machine: Machine) -> None:
    usage = watched(memory=400)
    machine.run(usage, 1.0)
    assert usage.pause() == pytest.approx(0.05)
    machine.processes[RUN].resident = 460
    machine.run(usage, 0.05)
    assert usage.pause() == pytest.approx(0.005)


def test_each_part_has_its_own_time(machine: Machine) -> None:
    usage = RunUsage(RUN, 5.0, 20.0, 100 * MIB, [SERVER], parts=3)
    assert machine.run(usage, 4.0, ran=2.0, waited=2.0) is None
    assert usage.next_part(machine.now) == pytest.approx(2.0)
    assert machine.run(usage, 4.5, ran=0.5) is None
    assert machine.run(usage, 0.5) == "timeout"
    assert usage.of_last_part(2.5) == pytest.approx((0.5, 0.0))


def test_the_parts_together_have_a_bound_too(machine: Machine) -> None:
    usage = RunUsage(RUN, 5.0, 20.0, 100 * MIB, [SERVER], parts=3)
    said: list[str | None] = []
    for _ in range(15):  # a program that forges the ends of its parts
        said.append(machine.run(usage, 1.0))
        usage.next_part(machine.now)
    assert said == [None] * 14 + ["timeout"]


def test_once_a_second_and_not_before_the_first_a_sign_of_life_says_how_much_of_its_time_a_run_has_used(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs: list[tuple[float, float]] = []
    began = machine.now

    def alive(seconds: float) -> None:
        signs.append((machine.now - began, seconds))

    usage = RunUsage(RUN, 5.0, 20.0, 100 * MIB, [SERVER], alive=alive)
    for _ in range(9):
        assert machine.run(usage, 0.25, ran=0.125, waited=0.125) is None
    # Half of it is its own, as far as the look before has seen.
    assert signs == [(1.0, pytest.approx(0.625)), (2.0, pytest.approx(1.125))]
    assert usage.pause() <= 0.75
    # Where a look at many processes takes long, it is not silent.
    machine.processes |= {pid: Process() for pid in range(CHILD, CHILD + 5)}

    def slow(path: str) -> bytes:
        machine.now += 0.5 if path.endswith("statm") else 0.0
        return machine.read(path)

    monkeypatch.setattr(run_usage, "_read", slow)
    signs.clear()
    machine.now += 0.05
    usage.over()
    assert [when for when, _ in signs] == pytest.approx([3.3, 4.3])
