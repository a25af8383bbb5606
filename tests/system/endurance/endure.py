"""Many verifications in one process, some of them hostile, and what is left of them afterwards.

    python -m tests.system.endurance.endure {local,docker} COUNT

One in ten is an attack from the corpus; of these one in ten has to be killed at its limit, and one in fifty ends the
place it runs in. Beside them, one in a hundred is cancelled while it runs. Prints one JSON object (see `Endured`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator

from agent_rl.errors import SandboxError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Submission, Task
from tests.component.places import provider_of
from tests.component.sandboxes.inventory import Inventory, adopt_orphans, resident_bytes, settled
from tests.system.attacks.corpus import CORPUS, HONEST, TASK, Attack

WORKERS = 4
HOSTILE_EVERY = 10
KILLED_EVERY = 10 * HOSTILE_EVERY
FATAL_EVERY = 50 * HOSTILE_EVERY
CANCELLED_EVERY = 100
WALL_SECONDS = 0.3
"""Of an attack: so short that the many that must be killed cost little."""
WRONG = "def add(a, b):\n    return a - b - 1\n"


@dataclasses.dataclass
class Endured:
    """What came of it.

    wrong: verdicts that should have read otherwise. excluded: infrastructure failures. added: what there is more of
    than before the provider was started. resident: bytes after a tenth of the verifications, and at the end.
    """

    place: str
    count: int
    seconds: float = 0.0
    runs: int = 0
    hostile: int = 0
    cancelled: int = 0
    statuses: Counter[str] = dataclasses.field(default_factory=Counter[str])
    wrong: list[str] = dataclasses.field(default_factory=list[str])
    excluded: list[str] = dataclasses.field(default_factory=list[str])
    added: dict[str, list[str]] = dataclasses.field(default_factory=dict[str, list[str]])
    resident: list[int] = dataclasses.field(default_factory=list[int])


def attacks() -> Iterator[Attack]:
    """The attack of each hostile verification, for ever: quick ones, some that must be killed, a few that are fatal."""
    judged = [a for a in CORPUS if isinstance(a.task.tests, CallTests)]
    quick = itertools.cycle(a for a in judged if a.outcome != "killed" and a.number != 98)
    killed = itertools.cycle(a for a in judged if a.outcome == "killed" and a.number != 98)
    fatal = itertools.cycle(a for a in judged if a.number == 98)
    for number in itertools.count(HOSTILE_EVERY, HOSTILE_EVERY):
        source = fatal if number % FATAL_EVERY == 0 else killed if number % KILLED_EVERY == 0 else quick
        yield next(source)


def limited(task: Task) -> Task:
    """The task with a short limit."""
    limits = dataclasses.replace(task.limits, wall_seconds=WALL_SECONDS, cpu_seconds=WALL_SECONDS)
    return dataclasses.replace(task, limits=limits)


async def one(verifier: TaskVerifier, number: int, attack: Attack | None, endured: Endured) -> None:
    """The verification `number`, counted. Each program is another, so that none has its verdict already."""
    if attack is not None:
        endured.hostile += 1
        task, program, may_pass, must_pass = limited(attack.task), attack.program, attack.outcome == "same", False
    else:
        may_pass = must_pass = number % 2 == 0
        task, program = dataclasses.replace(TASK, limits=GENEROUS), HONEST if must_pass else WRONG
    try:
        verdict = await verifier.judge(task, Submission.code(f"{program}\n# {number}\n"))
    except SandboxError as error:
        endured.excluded.append(f"{number} {attack.id if attack else 'honest'}: {error}"[:300])
        return
    endured.statuses[verdict.status] += 1
    if verdict.passed != must_pass and not (verdict.passed and may_pass):
        what = attack.id if attack else "honest"
        endured.wrong.append(f"{number} {what}: {verdict.status} {verdict.tests[:1]}"[:300])


GENEROUS = dataclasses.replace(TASK.limits, wall_seconds=20.0, cpu_seconds=20.0)


async def cancelled(verifier: TaskVerifier, number: int, endured: Endured) -> None:
    """A verification that is cancelled after some milliseconds, wherever it is then."""
    program = f"import time\ntime.sleep(0.05)\n{HONEST}\n# cancelled {number}\n"
    judging = asyncio.create_task(verifier.judge(TASK, Submission.code(program)))
    await asyncio.sleep(number % 7 * 0.005)
    judging.cancel()
    await asyncio.wait([judging])
    endured.cancelled += judging.cancelled()


async def endure(endured: Endured) -> None:
    """All verifications, in a provider that is closed afterwards."""
    hostile = attacks()
    numbers = iter(range(1, endured.count + 1))
    tenth = endured.count // 10
    async with provider_of(endured.place) as provider:
        verifier = TaskVerifier(provider)

        async def work() -> None:
            for number in numbers:
                attack = next(hostile) if number % HOSTILE_EVERY == 0 else None
                await one(verifier, number, attack, endured)
                if number % CANCELLED_EVERY == 1:
                    await cancelled(verifier, number, endured)
                if number == tenth:
                    endured.resident.append(resident_bytes())

        await asyncio.gather(*(work() for _ in range(WORKERS)))
        endured.resident.append(resident_bytes())
        endured.runs = verifier.runs


def main() -> int:
    place, count = sys.argv[1], int(sys.argv[2])
    docker = place == "docker"
    adopt_orphans()
    Inventory.take(docker=docker)  # the first use of Docker's client opens things for good
    before = Inventory.take(docker=docker)
    endured = Endured(place, count)
    started = time.monotonic()
    asyncio.run(endure(endured))
    endured.seconds = time.monotonic() - started
    endured.added = settled(before, docker=docker)
    print(json.dumps(vars(endured)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
