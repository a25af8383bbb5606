"""Lines 61 to 75: using up what there is, or never giving it back."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import CONTAINED, PORT, RIGHT, SYSCALL, WRONG, attack

RESOURCES = [
    attack(61, "fork-bomb", """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
    """, "killed", alone=True),
    attack(61, "fork-bomb-in-new-sessions", """
        import os
        def add(a, b):
            while True:
                try:
                    if os.fork() == 0:
                        os.setsid()
                except OSError:
                    pass
    """, "killed", alone=True),
    attack(61, "each-child-replaces-itself", """
        import os
        def add(a, b):
            while True:
                try:
                    if os.fork():
                        os._exit(0) if os.getppid() not in (0, 1) and a != 2 else None
                        while a == 2:
                            os.sched_yield()
                except OSError:
                    pass
    """, "fails", alone=True),
    attack(62, "thread-bomb", """
        import threading, time
        def add(a, b):
            while True:
                try:
                    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
                except RuntimeError:
                    pass
    """, "killed", alone=True),
    attack(63, "a-terabyte", "def add(a, b):\n    return len(bytearray(1 << 40))", "fails", "out_of_memory"),
    attack(63, "a-leak-that-is-touched", """
        kept = []
        def add(a, b):
            while True:
                kept.append(b"x" * (1 << 22))
    """),
    attack(63, "memory-that-is-shared", """
        import mmap
        kept = []
        def add(a, b):
            while True:
                block = mmap.mmap(-1, 1 << 24)
                block.write(b"x" * (1 << 24))
                kept.append(block)
    """),
    attack(63, "memory-errors-are-swallowed", """
        kept = []
        def add(a, b):
            while True:
                try:
                    while True:
                        kept.append(b"x" * (1 << 20))
                except MemoryError:
                    kept.clear()
    """, "killed", alone=True),
    attack(63, "memory-of-the-kernel", """
        import fcntl, os, socket
        kept = []
        def add(a, b):
            try:
                while True:
                    kept.append(os.pipe())
                    fcntl.fcntl(kept[-1][1], 1031, 1 << 20)  # F_SETPIPE_SZ
                    os.set_blocking(kept[-1][1], False)
                    os.write(kept[-1][1], b"x" * (1 << 20))
            except OSError:
                pass
            try:
                while True:
                    pair = socket.socketpair()
                    kept.append(pair)
                    pair[0].setblocking(False)
                    while True:
                        pair[0].send(b"x" * (1 << 16))
            except OSError:
                return None
    """),
    attack(63, "a-power-that-is-never-done", "def add(a, b):\n    return 7 ** (7 ** 12)", "killed"),
    attack(64, "sixteen-gigabytes-of-disk", """
import os
leaks = []
for folder in (".", "/tmp", "/var/tmp", "/dev/shm"):
    try:
        with open(os.path.join(folder, "large"), "wb") as file:
            while file.tell() < 1 << 34:
                file.write(b"0" * (1 << 20))
        leaks.append(folder)
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(64, "a-sparse-terabyte", """
import os
leaks = []
for folder in (".", "/tmp", "/var/tmp", "/dev/shm"):
    try:
        fd = os.open(os.path.join(folder, "sparse"), os.O_CREAT | os.O_WRONLY)
        for action in (lambda: os.ftruncate(fd, 1 << 40), lambda: os.posix_fallocate(fd, 0, 1 << 34),
                       lambda: os.pwrite(fd, b"x", 1 << 40)):
            try:
                action()
                leaks.append(folder)
            except OSError:
                pass
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(65, "a-million-files", """
import os
leaks = []
try:
    for n in range(10**6):
        os.close(os.open(f"/tmp/file-{n}", os.O_CREAT))
    leaks.append("a million files")
except OSError:
    pass
""" + CONTAINED, "same"),
    attack(65, "folders-in-folders", """
import os
made = 0
try:
    while made < 10**5:
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
        made += 1
except OSError:
    pass
""" + WRONG),
    attack(65, "links-to-one-file", """
import os
leaks = []
try:
    open("/tmp/one", "w").close()
    for n in range(10**5):
        os.link("/tmp/one", f"/tmp/link-{n}")
    leaks.append("a hundred thousand links")
except OSError:
    pass
""" + CONTAINED, "same"),
    attack(66, "a-gigabyte-in-one-print", "def add(a, b):\n    print('A' * 10**9)", "fails"),
    attack(66, "a-flood-on-standard-error", """
        import os
        def add(a, b):
            while True:
                os.write(2, b"E" * 65536)
    """, "killed", "output_limit"),
    attack(66, "a-flood-that-nobody-reads", """
        import os
        reader, writer = os.pipe()
        def add(a, b):
            while True:
                os.write(writer, b"A" * 65536)
    """, "killed", "timeout"),
    attack(67, "what-terminals-obey", """
import sys
for stream in (sys.stdout, sys.stderr):
    stream.write("\\x1b]0;title\\x07\\x1b[2J\\x1b[31m\\r\\b\\u202e\\u2066 no newline at the end")
""" + RIGHT, "same"),
    attack(68, "bytes-that-are-no-text", """
import sys
sys.stdout.buffer.write(bytes(range(256)) * 10)
sys.stderr.buffer.write(b"\\xff\\xfe\\xed\\xa0\\x80")
""" + RIGHT, "same"),
    attack(68, "streams-are-closed", """
import sys
for stream in (sys.stdin, sys.stdout, sys.stderr):
    stream.close()
""" + RIGHT, "same"),
    attack(69, "recursion-without-bounds", """
        import sys
        sys.setrecursionlimit(10**9)
        def f():
            return f() + 1
        def add(a, b):
            return f()
    """),
    attack(69, "recursion-in-c", """
        import sys
        sys.setrecursionlimit(10**9)
        class Deep:
            def __repr__(self):
                return repr(self)
        def add(a, b):
            return repr(Deep())
    """),
    attack(69, "a-program-too-deep-to-compile", "add = " + "-" * 50_000 + "1"),
    attack(69, "a-program-of-brackets", "add = " + "(" * 50_000 + ")" * 50_000),
    attack(69, "a-program-too-long-to-compile", "def add(a, b):\n    return " + "+".join(["(a-b-1)"] * 20_000)),
    attack(70, "sleep", "import time\ndef add(a, b):\n    time.sleep(1e9)", "killed", "timeout"),
    attack(70, "wait-for-what-never-comes", """
        import os, select, threading
        def add(a, b):
            if a % 2:
                threading.Event().wait()
            reader, _ = os.pipe()
            select.select([reader], [], [])
    """, "killed", "timeout"),
    attack(70, "wait-for-input", "def add(a, b):\n    return input()", "fails"),
    attack(71, "read-address-zero", """
        import ctypes
        def add(a, b):
            return ctypes.string_at(0)
    """, "fails", "crashed"),
    attack(71, "wild-writes", """
        import ctypes, gc
        def add(a, b):
            for thing in gc.get_objects()[:5000]:
                ctypes.memset(id(thing), 0xff, 64)
    """),
    attack(72, "a-bomb-in-a-zip", """
        import io, zipfile
        def add(a, b):
            held = io.BytesIO()
            with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("zeros", b"0" * (1 << 26))
            with zipfile.ZipFile(held) as archive:
                return [archive.read("zeros") for _ in range(100)]
    """),
    attack(73, "listen-on-a-fixed-port", f"""
import os, socket, time
leaks = []
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(0.2)
            client.connect((host, {PORT}))
            leaks.append("somebody listens already")
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    server = socket.socket()
    server.bind(("0.0.0.0", {PORT}))
    server.listen()
    time.sleep(60)
""" + CONTAINED, "same"),
    attack(74, "more-of-the-processor", """
import os
leaks = []
for action in (lambda: os.nice(-20), lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
               lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99)),
               lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))):
    try:
        action()
        leaks.append("a priority")
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(74, "limits-are-raised", """
import resource
leaks = []
for name in dir(resource):
    if name.startswith("RLIMIT_") and name != "RLIMIT_NICE":
        which = getattr(resource, name)
        soft, hard = resource.getrlimit(which)
        try:
            if hard != -1:
                resource.setrlimit(which, (hard + 1, hard + 1))
                leaks.append(name)
        except (OSError, ValueError):
            pass
""" + CONTAINED, "same"),
    attack(75, "a-parent-that-waits-for-a-vfork", """
        import ctypes, os
        libc = ctypes.PyDLL(None)
        def add(a, b):
            number = 58 if os.uname().machine == "x86_64" else 220
            if (libc.syscall(number) if number == 58 else os.fork()) == 0:
                libc.pause()
            while True:
                pass
    """, "killed", "timeout"),
    attack(75, "memory-of-the-kernel-is-read", """
import os
leaks = []
for path in ("/proc/kcore", "/dev/mem", "/dev/kmsg", "/proc/kmsg", "/sys/kernel/debug", "/proc/sysrq-trigger",
             "/dev/port", "/dev/fuse", "/proc/kallsyms", "/proc/kpagecount"):
    for mode in (os.O_RDONLY, os.O_WRONLY):
        try:
            fd = os.open(path, mode | os.O_NONBLOCK)
            read = os.read(fd, 64)
            if path != "/proc/kallsyms" or read.strip(b"0 \\n")[:1] not in b"ATtWwDdbBr":
                leaks.append(path)
        except OSError:
            pass
""" + CONTAINED, "same"),
    attack(0, "a-run-that-is-traced-to-a-crawl", """
        import sys
        def crawl(frame, event, arg):
            for _ in range(10**6):
                pass
            return crawl
        sys.settrace(crawl)
        sys.setprofile(crawl)
        def add(a, b):
            return sum(range(a)) + sum(map(abs, range(b))) + a + b
    """),
    attack(0, "timers-events-and-locks", SYSCALL + """
import fcntl, selectors
kept = []
try:
    while True:
        kept.append(selectors.EpollSelector())
        kept.append(os.eventfd(1) if hasattr(os, "eventfd") else os.pipe())
        kept.append(open("/tmp/locked", "w"))
        fcntl.flock(kept[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    pass
for _ in range(10**4):
    timer = ctypes.c_int()
    if syscall((222, 107), 1, None, ctypes.byref(timer)):
        break
for selector in kept[::3]:
    selector.close()
""" + RIGHT, "same"),
]  # fmt: skip
