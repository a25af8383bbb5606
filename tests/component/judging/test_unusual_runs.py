"""Honest programs that reserve much memory, read or start their own file, or have no processor pass. Hogs do not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from textwrap import dedent

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Case, Limits, PytestTests, StdioCase, StdioTests, Submission, Task, Verdict
from tests.component.places import LEVELS, level_of, marks_of, provider_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(wall_seconds=30.0, cpu_seconds=30.0, memory_bytes=256 << 20)
CALLS = Task("calls", (), CallTests("f", (Case((3,), 9), Case((4,), 16))), limits=LIMITS)
STDIO = Task("stdio", (), StdioTests((StdioCase("3\n", "9\n"), StdioCase("4\n", "16\n"))), limits=LIMITS)
ISOLATED = dataclasses.replace(STDIO, tests=dataclasses.replace(STDIO.tests, isolated=True))
PAIRS = Task(
    "pairs",
    (),
    PytestTests(
        {"test_it.py": b"from solution import f\ndef test_it():\n    assert (f(3), f(4)) == (9, 16)\n"},
        ("test_it.py::test_it",),
    ),
    tier="proxied",
    limits=LIMITS,
)

ROOMY = {
    "a stack of 1 GiB": """
        import sys, threading
        sys.setrecursionlimit(10**6)
        threading.stack_size((1 << 30) - 1)
        def down(n):
            return 0 if n == 0 else 1 + down(n - 1)
        def f(n):
            out = []
            thread = threading.Thread(target=lambda: out.append(n * n + down(50000) - 50000))
            thread.start()
            thread.join()
            return out[0]
    """,
    "64 threads": """
        import threading
        def f(n):
            together = threading.Barrier(65)
            threads = [threading.Thread(target=together.wait) for _ in range(64)]
            for thread in threads: thread.start()
            together.wait()
            for thread in threads: thread.join()
            return n * n
    """,
    "a larger main stack": """
        import resource, sys
        resource.setrlimit(resource.RLIMIT_STACK, (512 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
        sys.setrecursionlimit(10**6)
        def down(n):
            return 0 if n == 0 else 1 + down(n - 1)
        def f(n): return n * n + down(50000) - 50000
    """,
    "a sparse map": """
        import mmap
        def f(n):
            held = mmap.mmap(-1, 8 << 30)
            held[5 << 30] = n
            return held[5 << 30] ** 2
    """,
    "memory up to the limit": "def f(n): return n * n * len(b'x' * (240 << 20)) // (240 << 20)",
    "children that share": """
        import os
        held = b"x" * (150 << 20)
        def f(n):
            children = []
            for _ in range(4):
                if (child := os.fork()) == 0:
                    import time
                    time.sleep(0.15)
                    os._exit(held[0] & 1)
                children.append(child)
            return n * n + sum(os.waitpid(child, 0)[1] for child in children)
    """,
    "a failed request for memory": """
        def f(n):
            try:
                return len(bytearray(1 << 45))
            except MemoryError:
                return n * n
    """,
}
HOGS = {
    "at once": "def f(n): return len([0] * (10**8))",
    "bit by bit": "held = []\ndef f(n):\n    while True: held.append(b'x' * (1 << 20))",
    "in a thread with a large stack": """
        import threading
        threading.stack_size(512 << 20)
        held = []
        def eat():
            while True: held.append(b"x" * (1 << 20))
        def f(n):
            thread = threading.Thread(target=eat)
            thread.start()
            thread.join()
    """,
    "in children": """
        import os, time
        def f(n):
            for _ in range(5):
                if os.fork() == 0:
                    held = b"x" * (100 << 20)
                    time.sleep(60)
            time.sleep(60)
    """,
    "in shared memory": """
        import mmap
        held = []
        def f(n):
            while True:
                held.append(mmap.mmap(-1, 1 << 22))
                held[-1].write(b"x" * (1 << 22))
    """,
}
SELF = {
    "reads itself": "def f(n):\n    assert 'assert' in open(__file__).read()\n    return n * n",
    "knows its source": "import inspect\ndef f(n):\n    return n * n if 'n * n' in inspect.getsource(f) else 0",
    "starts itself": """
        import subprocess, sys
        def f(n):
            return int(subprocess.run([sys.executable, __file__, str(n)], capture_output=True).stdout)
        if __name__ == "__main__" and len(sys.argv) > 1:
            print(int(sys.argv[1]) ** 2)
            sys.exit()
    """,
    "spawns": """
        from multiprocessing import get_context
        def square(n): return n * n
        def f(n):
            with get_context("spawn").Pool(1) as pool: return pool.map(square, [n])[0]
    """,
    "has a fork server": """
        from multiprocessing import get_context
        def square(n): return n * n
        def f(n):
            with get_context("forkserver").Pool(1) as pool: return pool.map(square, [n])[0]
    """,
    "is run again": """
        import runpy
        def f(n):
            return n * n if "f" in runpy.run_path(__file__, run_name="again") else 0
    """,
    "writes beside itself": """
        import os, sys
        def f(n):
            os.chdir("/")
            path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes.txt")
            with open(path, "w") as file: file.write(str(n))
            assert path.startswith(sys.path[0]) and os.path.samefile(sys.argv[0], __file__)
            return int(open(path).read()) ** 2
    """,
    "changes itself": """
        import os
        def f(n):
            assert "changed" not in open(__file__).readline()
            return n * n
        def spoil():
            os.unlink(__file__)
            with open(__file__, "w") as file: file.write("changed")
        if __name__ == "__main__":
            import atexit
            atexit.register(spoil)
    """,
}
AS_MODULE = {
    "is reloaded": """
        import importlib, sys
        def f(n): return importlib.reload(sys.modules["solution"]).square(n)
        def square(n): return n * n
    """,
    "is pickled": """
        import pickle
        class Kept:
            def __init__(self, n): self.n = n
        def f(n): return pickle.loads(pickle.dumps(Kept(n))).n ** 2
    """,
    "is imported by a child": """
        import subprocess, sys
        def f(n):
            code = f"import sys; sys.path[:0] = [{sys.path[0]!r}]; import solution; print(solution.square({n}))"
            return int(subprocess.run([sys.executable, "-c", code], capture_output=True).stdout)
        def square(n): return n * n
    """,
}
PLACES = [pytest.param(place, marks=marks_of(place)) for place in LEVELS if level_of(place) != "container"]
"""Without those where each run has a container of its own: making these would take most of the time."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_in(request.param) as provider:
        assert provider.isolation == level_of(request.param)
        yield provider


async def judged(provider: SandboxProvider, task: Task, programs: dict[str, str]) -> dict[str, Verdict]:
    verifier = TaskVerifier(provider)
    return {name: await verifier.judge(task, Submission.code(dedent(text))) for name, text in programs.items()}


def wrong(found: dict[str, Verdict], status: str) -> dict[str, Verdict]:
    return {name: verdict for name, verdict in found.items() if verdict.status != status}


async def test_what_is_reserved_and_not_used_is_no_memory(provider: SandboxProvider) -> None:
    assert wrong(await judged(provider, CALLS, ROOMY), "passed") == {}


async def test_what_is_used_is(provider: SandboxProvider) -> None:
    assert wrong(await judged(provider, CALLS, HOGS), "out_of_memory") == {}


async def test_a_program_has_a_file(provider: SandboxProvider) -> None:
    assert wrong(await judged(provider, CALLS, {**SELF, **AS_MODULE}), "passed") == {}
    main = "\nif __name__ == '__main__':\n    print(f(int(input())))\n"
    scripts = {name: dedent(text) + main for name, text in SELF.items()}
    assert wrong(await judged(provider, ISOLATED, scripts), "passed") == {}
    assert wrong(await judged(provider, STDIO, scripts), "passed") == {}
    assert wrong(await judged(provider, PAIRS, {**SELF, **AS_MODULE}), "passed") == {}


BUSY = """
import os, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
def f(n):
    until = time.process_time() + 0.4
    while time.process_time() < until: pass
    return n * n
"""


BEST = [pytest.param(place, marks=marks_of(place)) for place in LEVELS if level_of(place) == "namespaces"]


@pytest.mark.parametrize("place", BEST)
async def test_a_run_whose_processor_others_have_passes(place: str) -> None:
    """Four runs of 0.4 s of work, all on the same processor, have 0.8 s each."""
    task = Task("t", (), CallTests("f", (Case((3,), 9),)), limits=Limits(wall_seconds=0.8, cpu_seconds=0.8))
    async with provider_in(place, workers=4) as four:
        verifier = TaskVerifier(four)
        verdicts = await asyncio.gather(*(verifier.judge(task, Submission.code(f"{BUSY}# {i}")) for i in range(4)))
        assert [v.status for v in verdicts] == ["passed"] * 4
        # One that sleeps is not run again, one that works on has had its time.
        ends = {"sleeps": "import time\ndef f(n): time.sleep(9)", "works": "def f(n):\n    while True: pass"}
        assert wrong(await judged(four, task, ends), "timeout") == {}
