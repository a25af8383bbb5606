"""Whole programs that use what a process of their own gives: files, databases, loops, threads, processes, settings."""

from __future__ import annotations

import dataclasses

from tests.system.attacks.honest.program import LIMITS, Honest, whole_programs
from tests.system.attacks.honest.whole_input import CASES

_LARGE = dataclasses.replace(LIMITS, memory_bytes=512 << 20)

# fmt: off
_SUMS = {
    "an-event-loop-that-is-closed": """
        import asyncio
        async def main():
            input()
            print(sum(map(int, input().split())))
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.close()
    """,
    "asyncio-queues": """
        import asyncio
        async def main():
            input()
            queue, done = asyncio.Queue(), []
            async def work():
                while True:
                    done.append(await queue.get())
                    queue.task_done()
            workers = [asyncio.create_task(work()) for _ in range(3)]
            for x in input().split():
                queue.put_nowait(int(x))
            await queue.join()
            for worker in workers:
                worker.cancel()
            print(sum(done))
        asyncio.run(main())
    """,
    "asyncio-run-twice": """
        import asyncio
        async def read():
            return input()
        asyncio.run(read())
        print(sum(map(int, asyncio.run(read()).split())))
    """,
    "a-handler-of-its-own": """
        import logging, sys
        class Out(logging.Handler):
            def emit(self, record):
                sys.stdout.write(self.format(record) + "\\n")
        log = logging.getLogger("app")
        log.addHandler(Out())
        log.propagate = False
        log.setLevel("INFO")
        input()
        log.info(sum(map(int, input().split())))
    """,
    "logging-to-a-file": """
        import logging
        logging.basicConfig(filename="run.log", level=logging.DEBUG, format="%(message)s")
        input()
        logging.debug(sum(map(int, input().split())))
        logging.shutdown()
        print(open("run.log").read())
    """,
    "sqlite-in-a-file": """
        import sqlite3
        base = sqlite3.connect("t.db")
        base.execute("create table t (x int)")
        input()
        base.executemany("insert into t values (?)", [(int(x),) for x in input().split()])
        base.commit()
        print(base.execute("select sum(x) from t").fetchone()[0])
    """,
    "sqlite-in-memory": """
        import sqlite3
        base = sqlite3.connect(":memory:")
        base.create_aggregate("total_of", 1, type("T", (), {
            "__init__": lambda self: setattr(self, "n", 0),
            "step": lambda self, x: setattr(self, "n", self.n + x),
            "finalize": lambda self: self.n,
        }))
        base.execute("create table t (x int)")
        input()
        base.executemany("insert into t values (?)", [(int(x),) for x in input().split()])
        print(*base.execute("select total_of(x) from t").fetchone())
    """,
    "a-file-that-must-not-be-there": """
        input()
        with open("out.txt", "x") as f:
            f.write(str(sum(map(int, input().split()))))
        print(open("out.txt").read())
    """,
    "a-file-that-grows": """
        input()
        with open("log.txt", "a") as f:
            f.writelines(x + "\\n" for x in input().split())
        print(sum(map(int, open("log.txt"))))
    """,
    "folders-and-chdir": """
        import os
        os.makedirs("work/inner")
        os.chdir("work/inner")
        input()
        open("x", "w").write(input())
        os.chdir("../..")
        print(sum(map(int, open("work/inner/x").read().split())))
    """,
    "a-temporary-file": """
        import tempfile
        input()
        with tempfile.TemporaryFile("w+") as f:
            f.write(input())
            f.seek(0)
            print(sum(map(int, f.read().split())))
    """,
    "a-shelf": """
        import shelve
        input()
        with shelve.open("kept") as shelf:
            for i, x in enumerate(input().split()):
                shelf[str(i)] = int(x)
        with shelve.open("kept") as shelf:
            print(sum(shelf.values()))
    """,
    "a-pickle-in-a-file": """
        import pickle
        class Box:
            def __init__(self, xs): self.xs = xs
        input()
        pickle.dump(Box(list(map(int, input().split()))), open("box", "wb"))
        print(sum(pickle.load(open("box", "rb")).xs))
    """,
    "a-module-that-it-writes": """
        import pathlib, sys
        pathlib.Path("made.py").write_text("def add(*xs):\\n    return sum(xs)\\n")
        sys.path.insert(0, ".")
        from made import add
        input()
        print(add(*map(int, input().split())))
    """,
    "its-own-file": """
        assert "sum(map(int" in open(__file__).read()
        input()
        print(sum(map(int, input().split())))
    """,
    "a-process-of-its-own-file": """
        import subprocess, sys
        if sys.argv[1:] == ["child"]:
            print(sum(map(int, sys.stdin.read().split()[1:])))
        else:
            subprocess.run([sys.executable, __file__, "child"], check=True)
    """,
    "argv-and-the-main-guard": """
        import sys
        def main(argv):
            assert len(argv) == 1
            input()
            print(sum(map(int, input().split())))
            return 0
        if __name__ == "__main__":
            sys.exit(main(sys.argv))
    """,
    "a-pool-of-forks": """
        import multiprocessing as mp
        if __name__ == "__main__":
            mp.set_start_method("fork")
            input()
            with mp.Pool(2) as pool:
                print(sum(pool.map(int, input().split())))
    """,
    "spawned-processes": """
        import multiprocessing as mp
        def put(q, x): q.put(int(x))
        if __name__ == "__main__":
            context = mp.get_context("spawn")
            q = context.Queue()
            n = int(input())
            total = 0
            child = context.Process(target=put, args=(q, sum(map(int, input().split()))))
            child.start()
            total = q.get()
            child.join()
            print(total)
    """,
    "a-pool-executor": """
        from concurrent.futures import ProcessPoolExecutor
        def half(xs): return sum(xs)
        if __name__ == "__main__":
            input()
            xs = list(map(int, input().split()))
            with ProcessPoolExecutor(2) as pool:
                print(sum(pool.map(half, [xs[::2], xs[1::2]])))
    """,
    "shared-memory": """
        import multiprocessing as mp
        def add(total, x):
            with total.get_lock():
                total.value += x
        if __name__ == "__main__":
            total = mp.Value("q", 0)
            input()
            ps = [mp.Process(target=add, args=(total, int(x))) for x in input().split()]
            for p in ps: p.start()
            for p in ps: p.join()
            print(total.value)
    """,
    "threads-and-a-pool": """
        from concurrent.futures import ThreadPoolExecutor
        input()
        with ThreadPoolExecutor(8) as pool:
            print(sum(pool.map(int, input().split())))
    """,
    "a-daemon-that-stays": """
        import threading, time
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        input()
        print(sum(map(int, input().split())))
    """,
    "a-signal-handler-and-an-alarm": """
        import signal
        signal.signal(signal.SIGALRM, lambda *a: None)
        signal.alarm(60)
        input()
        print(sum(map(int, input().split())))
    """,
    "settings-of-the-interpreter": """
        import faulthandler, gc, sys
        sys.setrecursionlimit(10**6)
        sys.setswitchinterval(0.5)
        sys.set_int_max_str_digits(0)
        gc.disable()
        gc.freeze()
        faulthandler.enable()
        input()
        print(sum(map(int, input().split())))
    """,
    "a-limit-on-its-own-stack": """
        import resource, sys
        soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
        resource.setrlimit(resource.RLIMIT_STACK, (hard, hard))
        sys.setrecursionlimit(1 << 20)
        input()
        print(sum(map(int, input().split())))
    """,
    "a-seed-and-a-shuffle": """
        import random
        random.seed(5)
        input()
        xs = list(map(int, input().split()))
        random.shuffle(xs)
        print(sum(xs))
    """,
    "state-in-modules": """
        import collections, math, sys
        assert not hasattr(math, "cases")
        math.cases = 1
        sys.modules["cases"] = collections
        input()
        print(sum(map(int, input().split())))
    """,
    "the-environment": """
        import os
        assert "SEEN_BEFORE" not in os.environ
        os.environ["SEEN_BEFORE"] = "1"
        os.environ.clear()
        input()
        print(sum(map(int, input().split())))
    """,
    "a-decimal-context-and-a-locale": """
        import decimal, locale
        decimal.getcontext().prec = 5
        locale.setlocale(locale.LC_ALL, "C")
        input()
        print(sum(map(decimal.Decimal, input().split())))
    """,
    "built-ins-of-its-own": """
        import builtins
        real = print
        def print(*args, **kwargs):
            real(*args, **kwargs)
        builtins.print = print
        def sum(xs):
            total = 0
            for x in xs: total += x
            return total
        input()
        print(sum(map(int, input().split())))
    """,
    "an-exception-hook": """
        import os, sys
        def hook(kind, error, trace):
            print(error.args[0], flush=True)
            os._exit(0)
        sys.excepthook = hook
        input()
        raise ValueError(sum(map(int, input().split())))
    """,
    "an-exception-hook-that-exits": """
        import sys
        class Done(Exception): pass
        def hook(kind, error, trace):
            if kind is Done:
                print(*error.args)
                sys.exit(0)
            sys.__excepthook__(kind, error, trace)
        sys.excepthook = hook
        input()
        raise Done(sum(map(int, input().split())))
    """,
    "from-future-and-a-docstring": '''
        """Adds numbers."""
        from __future__ import annotations
        def main(xs: list[int] | None = None) -> undefined:
            input()
            print(sum(map(int, input().split())))
        main()
    ''',
    "an-umask-and-a-session": """
        import os
        os.umask(0o077)
        os.nice(1)
        input()
        print(sum(map(int, input().split())))
    """,
    "a-trace-function": """
        import sys
        sys.settrace(lambda *a: None)
        input()
        print(sum(map(int, input().split())))
        sys.settrace(None)
    """,
}
_DEEP = {
    "recursion-with-a-large-stack": """
        import sys, threading
        def main():
            sys.setrecursionlimit(10**6)
            def depth(n):
                return 0 if n == 0 else 1 + depth(n - 1)
            print(depth(int(input())))
        threading.stack_size(256 << 20)
        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
    """,
    "recursion-by-a-trampoline": """
        from types import GeneratorType
        def bootstrap(f):
            stack = []
            def wrapped(*args):
                if stack:
                    return f(*args)
                to = f(*args)
                while True:
                    if type(to) is GeneratorType:
                        stack.append(to)
                        to = next(to)
                    else:
                        stack.pop()
                        if not stack:
                            return to
                        to = stack[-1].send(to)
            return wrapped
        @bootstrap
        def depth(n):
            if n == 0:
                yield 0
            yield 1 + (yield depth(n - 1))
        print(depth(int(input())))
    """,
    "recursion-with-a-cache-and-a-limit": """
        import sys
        from functools import cache
        sys.setrecursionlimit(10**6)
        @cache
        def depth(n):
            return 0 if n == 0 else 1 + depth(n - 1)
        n = int(input())
        for i in range(0, n, 400):
            depth(i)
        print(depth(n))
    """,
    "two-hundred-megabytes-a-case": "held = b'x' * (200 << 20)\nprint(int(input()) + held.count(b'y'))",
    "a-thread-with-half-a-gigabyte-of-stack": """
        import threading
        threading.stack_size(512 * 1024 * 1024 - 1 & ~4095)
        t = threading.Thread(target=lambda: print(int(input())))
        t.start()
        t.join()
    """,
}
_BYTES = {
    "bytes-written": "import sys\nsys.stdout.buffer.write(bytes(reversed(sys.stdin.buffer.read())))",
    "bytes-by-os-write": "import os\nos.write(1, os.read(0, 1 << 16)[::-1])",
    "surrogate-escapes": """
        import sys
        for stream in sys.stdin, sys.stdout:
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
        sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])
    """,
    "latin-1": """
        import io, sys
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="latin-1", newline="").read()
        out = io.TextIOWrapper(sys.stdout.buffer, encoding="latin-1", newline="")
        out.write(text[::-1])
        out.flush()
    """,
    "a-raw-file": "import io\nio.FileIO(1, 'w').write(io.FileIO(0).readall()[::-1])",
    "a-memoryview": "import sys\nsys.stdout.buffer.write(memoryview(sys.stdin.buffer.read())[::-1].tobytes())",
    "a-bytearray": "import sys\nb = bytearray(sys.stdin.buffer.read())\nb.reverse()\nsys.stdout.buffer.write(b)",
}
_FLOATS = {
    "as-fraction": "from fractions import Fraction\nprint(float(sum(map(Fraction, input().split()))))",
    "as-decimal": "from decimal import Decimal\nprint(sum(map(Decimal, input().split())))",
    "with-digits": "print('%.10f' % sum(map(float, input().split())))",
    "in-scientific-notation": "print(f'{sum(map(float, input().split())):.12e}')",
    "by-fsum": "import math\nprint(math.fsum(map(float, input().split())))",
}
_ORDERS = {
    "a-set-of-lines": "print(*set(input().split()), sep='\\n')",
    "lines-in-reverse": "import sys\nfor x in reversed(sys.stdin.read().split()):\n    print(' ', x)",
    "lines-from-threads": """
        import sys, threading
        ts = [threading.Thread(target=sys.stdout.write, args=(x + "\\n",)) for x in input().split()]
        for t in ts: t.start()
        for t in ts: t.join()
    """,
}
# fmt: on

WHOLE_LIBRARY: list[Honest] = [
    *whole_programs({f"whole-{name}": text for name, text in _SUMS.items()}, *CASES),
    *whole_programs(_DEEP, ("9000\n", "9000\n"), ("7\n", "7\n"), limits=_LARGE),
    *whole_programs(_BYTES, (b"\x00\xff\r\nab\n", b"\nba\n\r\xff\x00"), (b"\x80", b"\x80"), comparison="exact"),
    *whole_programs(
        {f"a-sum-{name}": text for name, text in _FLOATS.items()}, ("0.1 0.2\n", "0.3\n"), comparison="float"
    ),
    *whole_programs(_ORDERS, ("a b c\n", "a\nb\nc\n"), ("x\n", "x\n"), comparison="any_order"),
]
