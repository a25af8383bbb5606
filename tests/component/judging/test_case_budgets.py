"""Each case has a budget of its own, and nothing that another case has left behind; what still exceeds it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from textwrap import dedent
from typing import Any

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Case, Limits, StdioCase, StdioTests, Submission, Task, Verdict
from tests.component.places import LEVELS, marks_of, provider_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(wall_seconds=20.0, cpu_seconds=20.0)
CALLS = Task("calls", (), CallTests("f", tuple(Case((n,), 2 * n) for n in range(1, 5))), limits=LIMITS)
STDIO = Task("stdio", (), StdioTests(tuple(StdioCase(f"{n}\n", f"{2 * n}\n") for n in range(1, 5))), limits=LIMITS)

PROGRAMS = {
    "streams opened anew": "import sys\nsys.stdin = open(0)\nsys.stdout = open(1, 'w')\nprint(2 * int(input()))",
    "descriptors closed": """
        import os
        n = int(os.read(0, 9))
        os.write(1, b'%d' % (2 * n))
        os.close(0)
        os.close(1)
        os.close(2)
    """,
    "streams that do not block": "import os\nos.set_blocking(1, False)\nprint(2 * int(input()))",
    "streams still block": "import os\nassert os.get_blocking(1)\nprint(2 * int(input()))\nos.set_blocking(1, False)",
    "event loop closed": """
        import asyncio
        async def main():
            print(2 * int(input()))
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.close()
    """,
    "logging ended": """
        import logging, sys
        logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
        logging.info(2 * int(input()))
        logging.shutdown()
    """,
    "new file": "open('out', 'x').write('1')\nprint(2 * int(input()))",
    "file elsewhere": "open('/tmp/out', 'x').write('1')\nprint(2 * int(input()))",
    "own source changed": """
        n = int(input())
        assert 'n = int' in open(__file__).read()
        open(__file__, 'w').write('')
        print(2 * n)
    """,
    "database": """
        import sqlite3
        c = sqlite3.connect('t.db')
        c.execute('create table t (x)')
        c.commit()
        print(2 * int(input()))
    """,
    "port": """
        import socket
        server = socket.socket()
        server.bind(("127.0.0.1", 5005))
        server.listen()
        client = socket.create_connection(("127.0.0.1", 5005))
        there, _ = server.accept()
        there.close()
        client.close()
        print(2 * int(input()))
    """,
    "daemon left": """
        import os, time
        n = int(input())
        assert not [pid for pid in os.listdir('/proc') if pid.isdigit() and b'left-behind' in
                    open(f'/proc/{pid}/comm', 'rb').read()]
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                open('/proc/self/comm', 'w').write('left-behind')
                time.sleep(60)
            os._exit(0)
        os.wait()
        print(2 * n)
    """,
    "process ended": "import os, sys\nprint(2 * int(input()), flush=True)\nos._exit(0)",
    "atexit and threads": """
        import atexit, threading, time
        n = int(input())
        atexit.register(lambda: print(n))
        threading.Thread(target=lambda: (time.sleep(0.01), print(n, end=" + "))).start()
    """.replace("print(n)", "print()").replace('print(n, end=" + ")', "print(2 * n)"),
    "modules patched": "import math\nassert not hasattr(math, 'seen')\nmath.seen = 1\nprint(2 * int(input()))",
}
"""Honest programs whose traces would break the next case."""

FUNCTIONS = {
    "plain": "def f(n):\n    return 2 * n",
    "globals": "seen = []\ndef f(n):\n    seen.append(n)\n    return 2 * n * len(seen)",
    "default": "def f(n, seen=[]):\n    seen.append(n)\n    return 2 * n * len(seen)",
    "class": "class A:\n    calls = 0\ndef f(n):\n    A.calls += 1\n    return 2 * n * A.calls",
    "cache filled at load": """
        import functools
        loads = [1]
        table = {n: 2 * n for n in range(9)}
        def f(n):
            return table.pop(n)
    """,
    "file kept at load": "open('t', 'w').write('2')\ndef f(n):\n    return int(open('t').read()) * n",
    "file changed by a call": """
        open('t', 'w').write('2')
        def f(n):
            k = int(open('t').read())
            open('t', 'w').write('9')
            return k * n
    """,
    "file open since load": """
        import tempfile
        t = tempfile.TemporaryFile()
        t.write(b'22222')
        t.seek(0)
        def f(n):
            return int(t.read(3)) // 111 * n
    """,
    "random state": """
        import random
        random.seed(7)
        first = random.Random(7).random()
        def f(n):
            assert random.random() == first
            return 2 * n
    """,
    "pool of threads since load": """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        pool.submit(int).result()
        def f(n):
            return pool.submit(lambda: 2 * n).result(5)
    """,
    "process since load": """
        import subprocess
        cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        def f(n):
            cat.stdin.write(f"{2 * n}\\n")
            cat.stdin.flush()
            return int(cat.stdout.readline())
    """,
    "settings": """
        import sys, os, decimal, signal, locale
        def f(n):
            assert sys.getrecursionlimit() < 5000 and os.getcwd() != '/' and 'SEEN' not in os.environ
            assert decimal.getcontext().prec == 28 and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
            sys.setrecursionlimit(5000)
            os.environ['SEEN'] = '1'
            os.chdir('/')
            decimal.getcontext().prec = 3
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            return 2 * n
    """,
    "thread left": """
        import threading, time
        def f(n):
            assert threading.active_count() == 1
            threading.Thread(target=time.sleep, args=(60,)).start()
            return 2 * n
    """,
    "prints": "def f(n):\n    print('thinking', n)\n    return 2 * n",
}


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[pytest.param(p, marks=marks_of(p)) for p in LEVELS]
)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_in(request.param) as place:
        yield place


SHARED = [pytest.param(place, marks=marks_of(place)) for place in LEVELS if not place.endswith("container")]
"""The places where a worker takes more than one run."""


def detail(verdict: Verdict) -> str:
    return f"{verdict.status}: " + "; ".join(t.detail for t in verdict.tests if t.detail)[:300]


async def judged(provider: SandboxProvider, task: Task, program: str) -> Verdict:
    return await TaskVerifier(provider, seed=3).judge(task, Submission.code(dedent(program)))


async def refused(provider: SandboxProvider, task: Task, programs: dict[str, str]) -> dict[str, str]:
    """The honest programs that did not pass, and why."""
    verdicts = {name: await judged(provider, task, program) for name, program in programs.items()}
    return {name: detail(verdict) for name, verdict in verdicts.items() if not verdict.passed}


async def test_no_case_of_a_whole_program_sees_what_another_left(provider: SandboxProvider) -> None:
    assert await refused(provider, STDIO, PROGRAMS) == {}


async def test_no_call_sees_what_another_left(provider: SandboxProvider) -> None:
    assert await refused(provider, CALLS, FUNCTIONS) == {}


def many(count: int, **limits: Any) -> tuple[Task, Task]:
    """The same task as calls and as a whole program, with so many cases."""
    given = Limits(**limits)
    calls = CallTests("f", tuple(Case((n,), 2 * n) for n in range(count)))
    stdio = StdioTests(tuple(StdioCase(f"{n}\n", f"{2 * n}\n") for n in range(count)))
    return Task("calls", (), calls, limits=given), Task("stdio", (), stdio, limits=given)


@pytest.mark.parametrize("provider", SHARED, indirect=True)
async def test_every_case_has_the_whole_budget(provider: SandboxProvider) -> None:
    # Together they need 4 times 0.3 s of 1 s, 4 times 100 MB of 256, and 4 times 0.6 MB of 1.
    calls, stdio = many(4, wall_seconds=1.0, cpu_seconds=1.0, memory_bytes=256 << 20)
    for work in (
        "import time\ntime.sleep(0.3)",
        "kept.append(bytearray(10**8))",
        "import sys\nprint('x' * 600000, file=sys.stderr)",
    ):
        body = "".join(f"    {line}\n" for line in work.splitlines())
        assert await refused(provider, calls, {work: f"kept = []\n\ndef f(n):\n{body}    return 2 * n\n"}) == {}
        assert await refused(provider, stdio, {work: f"kept = []\n{work}\nprint(2 * int(input()))\n"}) == {}
    # Nothing of this can stay, so that one process answers: 12 times some 0.15 s of 1 s.
    plain = "def f(n):\n    for _ in range(4 * 10**6):\n        pass\n    return 2 * n\n"
    assert await refused(provider, many(12, wall_seconds=1.0, cpu_seconds=1.0)[0], {"a plain loop": plain}) == {}


async def test_a_case_may_put_out_what_is_expected_of_it_but_not_without_end(
    provider: SandboxProvider,
) -> None:
    text = "x" * 300_000
    limits = Limits(wall_seconds=20.0, cpu_seconds=20.0, output_bytes=1 << 16)
    stdio = Task("stdio", (), StdioTests(tuple(StdioCase(f"{n}", f"{n}{text}") for n in range(6))), limits=limits)
    calls = Task("calls", (), CallTests("f", tuple(Case((n,), f"{n}{text}") for n in range(6))), limits=limits)
    assert await refused(provider, stdio, {"exact": "print(input() + 'x' * 300000)"}) == {}
    assert await refused(provider, calls, {"exact": "def f(n):\n    return str(n) + 'x' * 300000"}) == {}
    for task, program in ((stdio, "while True:\n    print('x' * 1000)"), (calls, "def f(n):\n    return 'x' * 10**6")):
        assert (await judged(provider, task, program)).status == "output_limit"


@pytest.mark.parametrize("provider", SHARED, indirect=True)
async def test_what_exceeds_the_budget_of_one_case_fails_and_keeps_the_other_results(provider: SandboxProvider) -> None:
    calls, stdio = many(4, wall_seconds=0.7, cpu_seconds=1.0, memory_bytes=128 << 20)
    for status, work in (
        ("timeout", "while n == 2:\n    n = n"),
        ("timeout", "import time\ntime.sleep(9 if n == 2 else 0)"),
        ("out_of_memory", "kept = bytearray(10**9) if n == 2 else 0"),
        ("crashed", "import os\nif n == 2: os.kill(os.getpid(), 11)"),
        ("crashed", "import os\nif n == 2: os.kill(os.getpid(), 9)"),
    ):
        body = "".join(f"    {line}\n" for line in work.splitlines())
        for task, program in (
            (calls, f"def f(n):\n{body}    return 2 * n\n"),
            (stdio, f"n = int(input())\n{work}\nprint(2 * n)\n"),
        ):
            verdict = await judged(provider, task, program)
            assert verdict.status == status, (work, detail(verdict))
            assert not verdict.tests[2].passed


async def test_no_case_can_speak_for_another_or_see_its_input(provider: SandboxProvider) -> None:
    # The channels of the run's first process, by their numbers and through /proc, and the input of other cases.
    forged = [
        """
        import os
        for d in range(3, 64):
            try:
                os.write(d, b'\\0\\0\\0\\x10{"loaded": true}')
            except OSError:
                pass
        print(0)
        """,
        """
        import os
        for d in range(8):
            try:
                open(f"/proc/{os.getppid()}/fd/{d}", "wb").write(b"x")
            except OSError:
                pass
        print(0)
        """,
        """
        import os
        for d in range(3, 64):
            try:
                os.set_blocking(d, False)
                print(os.read(d, 99))
            except OSError:
                pass
        print(0)
        """,
    ]
    for program in forged:
        verdict = await judged(provider, STDIO, program)
        assert verdict.status == "failed"
        assert all("printed '0" in t.detail for t in verdict.tests), detail(verdict)
    late = """
        import os, time
        n = int(input())
        if os.fork() == 0:
            time.sleep(0.05)
            print(2 * n + 2)
            os._exit(0)
    """
    assert (await judged(provider, STDIO, late)).scores == {"tests_passed": 0.0}
