"""Whole programs in real sandboxes: honest ones of every habit pass in both modes, and what lies or hangs fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from textwrap import dedent
from typing import Any

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Case, Limits, StdioCase, StdioTests, Submission, Task
from tests.component.places import PLACES, provider_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(wall_seconds=2.0, cpu_seconds=2.0, memory_bytes=256 * 2**20)
ROOMY = Limits(wall_seconds=30.0, cpu_seconds=30.0)
CASES = tuple(StdioCase(f"{a} {b}\n", f"{a + b}\n") for a, b in ((1, 2), (3, 4), (10, -3), (0, 0)))
READ = "a, b = map(int, input().split())\n"
HONEST = {
    "input": READ + "print(a + b)",
    "buffers": "import sys\na, b = map(int, sys.stdin.buffer.read().split())\nsys.stdout.buffer.write(b'%d' % (a + b))",
    "descriptors": "import os\na, b = map(int, os.read(0, 99).split())\nos.write(1, b'%d' % (a + b))",
    "open": "a, b = map(int, open(0).read().split())\nprint(a + b)",
    "device": "a, b = map(int, open('/dev/stdin').read().split())\nprint(a + b)",
    "lines": "import sys\nfor line in sys.stdin:\n    print(sum(map(int, line.split())))",
    "fileinput": "import fileinput\nfor line in fileinput.input():\n    print(sum(map(int, line.split())))\n    break",
    "sys-exit": READ + "import sys\nprint(a + b)\nsys.exit(0)",
    "exit": READ + "print(a + b)\nexit()",
    "os-exit": READ + "import os, sys\nprint(a + b)\nsys.stdout.flush()\nos._exit(0)",
    "main": f"def main():\n    {READ}    print(a + b)\n\nif __name__ == '__main__':\n    main()",
    "big-thread": """
        import sys, threading
        sys.setrecursionlimit(10**6)
        threading.stack_size(1 << 26)
        def down(n):
            return 0 if n == 0 else 1 + down(n - 1)
        def main():
            a, b = map(int, input().split())
            print(a + b + down(5000) - 5000)
        threading.Thread(target=main).start()
    """,
    "pool": READ + "from concurrent.futures import ThreadPoolExecutor as P\nprint(P(2).submit(lambda: a + b).result())",
    "atexit": READ + "import atexit\natexit.register(lambda: print(a + b))",
    "closes-streams": READ + "import sys\nprint(a + b)\nsys.stdout.close()\nsys.stdin.close()",
    "closes-descriptors": READ + "import os, sys\nprint(a + b)\nsys.stdout.flush()\nos.close(0)\nos.close(1)",
    "replaces-streams": READ + "import sys, io\nreal, sys.stdout = sys.stdout, io.StringIO()\nprint(a + b)\n"
    "real.write(sys.stdout.getvalue())",
    "forks": READ + "import os\nif os.fork() == 0:\n    print(a + b)\nelse:\n    os.wait()",
    "subprocess": READ + "import subprocess\nsubprocess.run(['/bin/sh', '-c', f'echo {a + b}'])",
    "builtins": "import builtins\nold = input\nbuiltins.input = lambda: old() + ' 0'\n"
    "print(sum(map(int, input().split())))",
    "counter": "import math\nmath.calls = getattr(math, 'other', 0)\n" + READ + "print(a + b + math.calls)",
    "changes-folder": READ + "import os\nos.chdir('/')\nprint(a + b)",
    "environment": READ + "import os\nassert 'SEEN' not in os.environ\nos.environ['SEEN'] = '1'\nprint(a + b)",
    "exception-hook": READ + "import os, sys\ndef hook(kind, error, trace):\n    print(error.args[0], flush=True)\n"
    "    os._exit(0)\nsys.excepthook = hook\nraise ValueError(a + b)",
    "exception-hook-that-exits": READ + "import atexit, sys\natexit.register(lambda: print(a + b))\n"
    "sys.excepthook = lambda *raised: sys.exit(0)\n1 / 0",
    "stderr": READ + "import sys\nprint('thinking', file=sys.stderr)\nprint(a + b)",
    "module-of-builtins": READ + "__builtins__.print(a + b)",
    "file-left-open": READ + "out = open(1, 'w', closefd=False)\nout.write(str(a + b))",
    "file-of-a-function": READ
    + "out = open('/dev/stdout', 'w')\ndef say(x):\n    out.write(str(x))\n\nsay(a + b)\nexit()",
    "stream-of-bytes": READ + "import os\nout = os.fdopen(1, 'wb')\nout.write(b'%d' % (a + b))",
    "stream-of-a-thread": READ + "import threading\nout = open(1, 'w', closefd=False)\ndef say():\n"
    "    out.write(str(a + b))\nthreading.Thread(target=say).start()",
    "finalizer": READ + "class Last:\n    def __del__(self):\n        print(a + b)\nlast = Last()",
    "finalizer-after-exit": READ + "class Last:\n    def __del__(self):\n        print(a + b)\nlast = Last()\nexit()",
    "finalizer-that-raises": READ + "class Last:\n    def __del__(self):\n        1 / 0\nlast = Last()\nprint(a + b)",
    "generator-left-open": READ + "def say():\n    try:\n        yield\n    finally:\n        print(a + b)\n\n"
    "left = say()\nnext(left)",
    "stream-of-c": READ + "import ctypes\nctypes.CDLL(None).printf(b'%d', a + b)",
    "stream-replaced-at-the-end": READ + "import sys\nprint(a + b)\nsys.stdout = open('/dev/null', 'w')",
}
HOSTILE: dict[str, tuple[str, str]] = {
    "wrong": (READ + "print(a - b)", "failed"),
    "nothing": ("pass", "failed"),
    "exit-code": (READ + "print(a + b)\nraise SystemExit(1)", "failed"),
    "raises": (READ + "print(a + b)\n1 / 0", "failed"),
    "prints-more-at-its-end": (
        READ + "print(a + b)\nclass Last:\n    def __del__(self):\n        print(0)\nlast = Last()",
        "failed",
    ),
    "raises-and-its-hook-returns": (READ + "import sys\nprint(a + b)\nsys.excepthook = print\n1 / 0", "failed"),
    "raises-and-its-hook-fails": (READ + "import sys\nprint(a + b)\nsys.excepthook = None\n1 / 0", "failed"),
    "syntax": ("a, b = map(int,", "failed"),
    "os-exit-at-once": ("import os\nos._exit(0)", "failed"),
    "claims": ("print('PASS')\nprint('{\"passed\": true}')", "failed"),
    "kills-itself": ("import os\nos.kill(os.getpid(), 9)", ""),
    "spins": ("while True:\n    pass", "timeout"),
    "waits": ("import time\ntime.sleep(1e6)", "timeout"),
    "thread-that-stays": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,)).start()",
        "timeout",
    ),
    "floods": ("while True:\n    print('x' * 9999)", "output_limit"),
    "memory": ("x = [bytearray(1 << 24) for _ in range(1 << 20)]", "out_of_memory"),
    "closes-all": ("import os\nos.closerange(0, 1024)", "failed"),
    "scans-for-expected": (
        "import gc\nfound = [o for o in gc.get_objects() if 'expected' in str(type(o))]\nprint(found)",
        "failed",
    ),
    "forges-frames": (
        """
        import os, struct
        for fd in range(3, 64):
            try:
                os.write(fd, struct.pack(">I", 5) + b"[1,2]")
            except OSError:
                pass
        """,
        "",
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_of(request.param) as started:
        yield started


def task_of(limits: Limits, **options: Any) -> Task:
    return Task("sums", (), StdioTests(CASES, **options), limits=limits)


@pytest.mark.parametrize("isolated", [False, True], ids=["together", "isolated"])
async def test_honest_programs_pass(provider: SandboxProvider, isolated: bool) -> None:
    verifier = TaskVerifier(provider)
    failing: dict[str, str] = {}
    for name, program in HONEST.items():
        verdict = await verifier.judge(task_of(ROOMY, isolated=isolated), Submission.code(dedent(program).lstrip()))
        if not verdict.passed:
            failing[name] = f"{verdict.status}: {[t.detail for t in verdict.tests if not t.passed][:1]}"
    assert failing == {}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_lies_or_hangs_fails_and_leaves_the_next_one_alone(provider: SandboxProvider, name: str) -> None:
    program, status = HOSTILE[name]
    verifier = TaskVerifier(provider, cache_size=0)
    verdict = await verifier.judge(task_of(LIMITS), Submission.code(dedent(program).lstrip()))
    assert not verdict.passed
    assert verdict.status == (status or verdict.status), [t.detail for t in verdict.tests][:2]
    assert verdict.seconds <= LIMITS.wall_seconds + 10
    assert (await verifier.judge(task_of(LIMITS), Submission.code(HONEST["input"]))).passed


@pytest.mark.parametrize("isolated", [False, True], ids=["together", "isolated"])
async def test_no_case_sees_the_files_or_the_process_of_another(provider: SandboxProvider, isolated: bool) -> None:
    program = Submission.code("import os\ninput()\nprint(len(os.listdir('.')))\nopen(os.urandom(8).hex(), 'w')\n")
    # Its own file is there.
    stdio = StdioTests(tuple(StdioCase("x\n", "1\n") for _ in range(3)), isolated=isolated)
    assert (await TaskVerifier(provider).judge(Task("t", (), stdio, limits=ROOMY), program)).passed
    program = Submission.code("calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)\n")
    calls = CallTests("f", tuple(Case((n,), 1) for n in range(3)), isolated=isolated)
    assert (await TaskVerifier(provider).judge(Task("t", (), calls, limits=ROOMY), program)).passed
