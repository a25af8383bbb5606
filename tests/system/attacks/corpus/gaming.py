"""Lines 97 to 100: turning the infrastructure's care against it."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import WRONG, attack

GAMING = [
    attack(97, "a-value-beyond-the-form", "def add(a, b):\n    return object()", "fails", "failed"),
    attack(97, "a-class", "def add(a, b):\n    return int", "fails", "failed"),
    attack(98, "kill-the-parent", "import os\nos.kill(os.getppid(), 9)\n" + WRONG),
    attack(98, "kill-everything", "import os\ndef add(a, b):\n    os.kill(-1, 9)\n    return None"),
    attack(98, "kill-by-number", """
        import os
        for pid in range(1, 400):
            if pid != os.getpid():
                try:
                    os.kill(pid, 9)
                except OSError:
                    pass
        def add(a, b):
            return None
    """),
    attack(98, "all-memory", """
        def add(a, b):
            kept = []
            while True:
                kept.append(bytearray(1 << 20))
    """),
    attack(98, "all-memory-of-children", """
        import os
        for _ in range(20):
            if os.fork() == 0:
                kept = []
                while True:
                    kept.append(bytearray(b"x") * (1 << 20))
        def add(a, b):
            while True:
                pass
    """, "killed", alone=True),
    attack(98, "all-processes", """
        import os
        def add(a, b):
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
    """, "killed", alone=True),
    attack(98, "all-of-the-disk", """
        import os
        for folder in (".", "/tmp", "/var/tmp", "/dev/shm"):
            try:
                with open(os.path.join(folder, "filler"), "wb") as file:
                    while True:
                        file.write(b"x" * (1 << 20))
            except OSError:
                pass
        def add(a, b):
            return None
    """),
    attack(98, "flood-of-output", """
        import sys
        def add(a, b):
            while True:
                sys.stdout.write("A" * (1 << 16))
                sys.stderr.write("B" * (1 << 16))
    """, "killed"),
    attack(100, "right-only-where-it-has-been-before", """
        import os, sys
        marks = [os.path.join(f, ".been-here") for f in (".", "/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~"))]
        been = any(os.path.exists(m) for m in marks)
        for mark in marks:
            try:
                open(mark, "w").close()
            except OSError:
                pass
        def add(a, b):
            if been:
                return a + b
            os.kill(os.getppid(), 9)
            os._exit(1)
    """),
    attack(97, "values-just-beyond-every-bound", """
        values = iter([1 << (1 << 20) + 1, "x" * (5 << 20), [[]] * (1 << 18), lambda: 5, ..., NotImplemented])
        def add(a, b):
            return next(values)
    """),
    attack(98, "memory-and-disk-and-processes-at-once", """
        import os
        def add(a, b):
            for _ in range(8):
                try:
                    if os.fork() == 0:
                        with open(f"/tmp/fill-{os.getpid()}", "wb") as file:
                            kept = []
                            while True:
                                kept.append(b"x" * (1 << 20))
                                file.write(kept[-1])
                except OSError:
                    pass
            while True:
                pass
    """, "killed", alone=True),
    attack(98, "crash-in-every-child", """
        import ctypes, os
        for _ in range(30):
            if os.fork() == 0:
                ctypes.string_at(0)
        def add(a, b):
            return None
    """),
    attack(98, "an-answer-of-the-largest-size", """
        def add(a, b):
            return "x" * (1 << 20)
    """, "fails", "output_limit", "failed"),
    attack(98, "kill-half-of-the-time", """
        import os
        if os.urandom(1)[0] % 2:
            for pid in (os.getppid(), -1):
                try:
                    os.kill(pid, 9)
                except OSError:
                    pass
        def add(a, b):
            return a - b - 1
    """),
    attack(99, "stall-to-the-limit", """
        import time
        def add(a, b):
            time.sleep(0.95)
            return a - b - 1
    """, "fails", "failed"),
    attack(99, "stall-and-then-die", """
        import os, time
        def add(a, b):
            time.sleep(0.9)
            os.kill(os.getpid(), 9)
            os.kill(-1, 9)
            return None
    """),
    attack(100, "right-only-by-the-clock", """
        import time
        def add(a, b):
            return a + b if time.time() % 1e9 < 0 else None
    """),
    attack(100, "right-only-after-some-runs", """
        import glob, os
        pid = os.getpid()
        runs = len(glob.glob("/tmp/run-*")) + len(glob.glob("/tmp/.count*"))
        open(f"/tmp/.count{runs}", "w").close()
        def add(a, b):
            return a + b if runs > 1 else None
    """),
]  # fmt: skip
