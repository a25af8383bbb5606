"""Right, by way of the library: streams, files, threads, processes, clocks."""

from __future__ import annotations

from tests.system.attacks.honest.program import honest

# fmt: off
LIBRARY = [
    honest("printing-while-computing", """
        import sys
        def solve(n):
            for i in range(n):
                print("step", i, "🎈", end="\\r")
                print("warning", i, file=sys.stderr, flush=True)
            return n
    """, (500, 500)),
    honest("printing-at-load-and-at-exit", """
        import atexit, logging
        logging.basicConfig(level=logging.DEBUG)
        logging.info("loaded")
        atexit.register(print, "bye")
        print('{"passed": false}')
        def solve(n):
            logging.getLogger("solve").debug("n = %s", n)
            return n
    """, (3, 3)),
    honest("another-standard-output", """
        import contextlib, io
        def solve(text):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                print(text)
            return out.getvalue()
    """, ("a", "a\n")),
    honest("slow-imports", """
        import asyncio, concurrent.futures, ctypes, difflib, email.message, http.client, logging.handlers, sqlite3
        import multiprocessing, pathlib, pickle, secrets, ssl, tempfile, unittest.mock, urllib.request, uuid
        import xml.dom.minidom
        def solve(a, b):
            return difflib.SequenceMatcher(None, a, b).ratio()
    """, ("abcd", "bcde", 0.75)),
    honest("threads", """
        import queue, threading
        def solve(n):
            todo, done, lock = queue.Queue(), [], threading.Lock()
            def work():
                while (item := todo.get()) is not None:
                    with lock:
                        done.append(item * item)
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads: thread.start()
            for item in range(n): todo.put(item)
            for _ in threads: todo.put(None)
            for thread in threads: thread.join()
            return sorted(done)
    """, (20, [n * n for n in range(20)])),
    honest("threads-that-stay", """
        import threading, time
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        threading.Timer(60, print).start()
        def solve(n):
            return threading.active_count() >= 1 and n
    """, (2, 2)),
    honest("a-pool-of-threads", """
        from concurrent.futures import ThreadPoolExecutor, as_completed
        def solve(n):
            with ThreadPoolExecutor(4) as pool:
                return sorted(f.result() for f in as_completed(pool.submit(pow, i, 2) for i in range(n)))
    """, (10, [n * n for n in range(10)])),
    honest("processes", """
        import multiprocessing
        def square(n): return n * n
        def solve(n):
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(square, range(n))
    """, (5, [0, 1, 4, 9, 16])),
    honest("a-fork-and-a-pipe", """
        import os
        def solve(n):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(writer, str(n * 2).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            return int(os.read(reader, 100))
    """, (21, 42)),
    honest("another-python", """
        import subprocess, sys
        def solve(n):
            command = [sys.executable, "-c", f"print({n} + 1)"]
            return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    """, (1, 2)),
    honest("a-shell-and-a-pipeline", """
        import os, subprocess
        def solve(text):
            return subprocess.check_output("sort | uniq -c | wc -l", shell=True, input=text.encode()).strip()
    """, ("b\na\nb\n", b"2")),
    honest("async", """
        import asyncio
        async def later(n):
            await asyncio.sleep(0.001)
            return n * n
        def solve(n):
            async def main():
                return await asyncio.gather(*map(later, range(n)))
            return asyncio.run(main())
    """, (5, [0, 1, 4, 9, 16])),
    honest("an-async-server-on-loopback", """
        import asyncio
        def solve(text):
            async def main():
                async def answer(reader, writer):
                    writer.write((await reader.readline()).upper())
                    writer.close()
                server = await asyncio.start_server(answer, "127.0.0.1", 0)
                async with server:
                    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                    writer.write(text.encode() + b"\\n")
                    return (await reader.read()).decode()
            return asyncio.run(main())
    """, ("abc", "ABC\n")),
    honest("temporary-files", """
        import os, pathlib, shutil, tempfile
        def solve(text):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder, "a", "b.txt")
                path.parent.mkdir()
                path.write_text(text)
                shutil.copy(path, "copy.txt")
            with open("copy.txt") as file, tempfile.NamedTemporaryFile("w+") as other:
                other.write(file.read() * 2)
                other.seek(0)
                return other.read()
    """, ("ab", "abab")),
    honest("sqlite-and-csv", """
        import csv, io, sqlite3
        def solve(rows):
            with sqlite3.connect("data.db") as base:
                base.execute("create table t (a int, b text)")
                base.executemany("insert into t values (?, ?)", rows)
                out = io.StringIO()
                csv.writer(out).writerows(base.execute("select b, sum(a) from t group by b order by b"))
                return out.getvalue()
    """, ([(1, "x"), (2, "y"), (3, "x")], "x,4\r\ny,2\r\n")),
    honest("signal-handlers-and-timers", """
        import signal, time
        def solve(n):
            rung = []
            signal.signal(signal.SIGALRM, lambda *a: rung.append(n))
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            while not rung:
                time.sleep(0.001)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            return rung
    """, (4, [4])),
    honest("times-and-dates", """
        import datetime, time
        def solve(year):
            time.sleep(0.01)
            started = time.perf_counter()
            assert datetime.datetime.now(datetime.timezone.utc).year >= 2024 and time.process_time() >= 0
            assert time.perf_counter() >= started
            return (datetime.date(year, 3, 1) - datetime.timedelta(days=1)).isoformat()
    """, (2024, "2024-02-29"), (2023, "2023-02-28")),
    honest("random-with-a-seed", """
        import random
        def solve(seed):
            first = random.Random(seed).sample(range(100), 5)
            random.seed(seed)
            return first == random.sample(range(100), 5) and 0 <= random.SystemRandom().random() < 1
    """, (5, True)),
    honest("locales-and-encodings", """
        import codecs, locale, sys
        def solve(text):
            locale.setlocale(locale.LC_ALL, "C")
            assert sys.getdefaultencoding() == "utf-8"
            return codecs.encode(text, "rot13"), text.encode("utf-16-le"), locale.atof("1.5")
    """, ("ab", ("no", b"a\x00b\x00", 1.5))),
    honest("pickles-of-its-own", """
        import base64, copy, json, pickle, zlib
        class Node:
            def __init__(self, n): self.n, self.next = n, None
        def solve(n):
            node = Node(n)
            node.next = node
            back = pickle.loads(zlib.decompress(zlib.compress(pickle.dumps(copy.deepcopy(node)))))
            return back.next.next.n, json.loads(json.dumps({"n": n}))
    """, (3, (3, {"n": 3}))),
    honest("weak-references-and-finalizers", """
        import gc, weakref
        class Thing: pass
        def solve(n):
            gone = []
            thing = Thing()
            weakref.finalize(thing, gone.append, n)
            thing.itself = thing
            del thing
            gc.collect()
            return gone
    """, (7, [7])),
    honest("ctypes", """
        import ctypes
        def solve(n):
            libc = ctypes.CDLL(None)
            pair = (ctypes.c_int * 2)(n, libc.abs(-n))
            return list(pair)
    """, (5, [5, 5])),
    honest("numpy-where-there-is-one", """
        try:
            import numpy as np
        except ImportError:
            np = None
        def solve(rows):
            return rows if np is None else (np.array(rows) @ np.eye(2)).astype(int).tolist()
    """, ([[1, 2], [3, 4]], [[1, 2], [3, 4]])),
    honest("a-lot-of-memory", """
        def solve(n):
            held = bytearray(n)
            held[::4096] = b"x" * len(held[::4096])
            return len(held)
    """, (200 << 20, 200 << 20)),
    honest("a-second-of-work", "def solve(n):\n    return sum(i * i for i in range(n))",
           (3_000_000, 8999995500000500000)),
    honest("warnings-and-deprecated-ways", """
        import warnings
        warnings.warn("old", DeprecationWarning)
        def solve(n):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                warnings.warn("now")
            return len(seen) + n
    """, (1, 2)),
    honest("its-own-traceback", """
        import sys, traceback
        def solve(n):
            try:
                raise KeyError(n)
            except KeyError:
                return traceback.format_exc().splitlines()[-1], sys.exc_info()[0].__name__
    """, (1, ("KeyError: 1", "KeyError"))),
    honest("tracing-and-profiling-itself", """
        import cProfile, sys
        def solve(n):
            seen = []
            sys.settrace(lambda frame, event, arg: seen.append(event))
            abs(n)
            sys.settrace(None)
            profile = cProfile.Profile()
            return profile.runcall(lambda: n + 1)
    """, (1, 2)),
]
# fmt: on
