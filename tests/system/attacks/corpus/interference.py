"""Lines 76 to 78 and 87 to 91: outliving the run, and spoiling the next one's place, clock and quotas."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import CONTAINED, MARK, PORT, RIGHT, SYSCALL, WRONG, attack

INTERFERENCE = [
    attack(76, "a-daemon-that-writes-later", f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3):
            os.close(fd)
        while True:
            for folder in ("/tmp", ".", "/var/tmp", "/dev/shm"):
                try:
                    open(os.path.join(folder, "{MARK}"), "a").close()
                except OSError:
                    pass
            time.sleep(0.005)
    os._exit(0)
""" + RIGHT, "same"),
    attack(76, "a-daemon-deaf-to-signals", """
import os, signal
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        if os.fork() == 0:
            while True:
                pass
        os._exit(0)
""" + RIGHT, "same", alone=True),
    attack(76, "a-child-that-is-stopped", """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)
""" + RIGHT, "same"),
    attack(77, "kill-all-at-load", "import os\nos.kill(-1, 9)\n" + WRONG),
    attack(77, "every-signal-to-everyone", """
        import os, signal
        for number in (*range(1, 65),):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
        def add(a, b):
            for number in range(1, 65):
                if number != signal.SIGSTOP:
                    try:
                        os.kill(-1, number)
                    except OSError:
                        pass
            return None
    """),
    attack(77, "stop-everyone", """
        import os, signal
        def add(a, b):
            os.kill(-1, signal.SIGSTOP)
            return None
    """),
    attack(78, "stop-the-parent", "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n" + WRONG),
    attack(78, "stop-the-parent-again-and-again", """
        import os, signal
        parent = os.getppid()
        def add(a, b):
            for _ in range(4):
                if os.fork() == 0:
                    os.setsid()
                    while True:
                        for pid in (parent, -1):
                            try:
                                os.kill(pid, signal.SIGSTOP)
                            except OSError:
                                pass
            return a - b - 1
    """, long=True),
    attack(78, "signals-by-descriptor-of-a-process", SYSCALL + WRONG + """
import signal
for pid in range(1, 200):
    if pid == os.getpid():
        continue
    fd = libc.syscall(434, pid, 0)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if fd >= 0:
            syscall((424, 424), fd, number, None, 0)
        try:
            syscall((424, 424), os.open(f"/proc/{pid}", os.O_RDONLY), number, None, 0)
        except OSError:
            pass
"""),
    attack(78, "signals-to-groups-and-threads", SYSCALL + WRONG + """
for pid in range(1, 200):
    if pid != os.getpid():
        syscall((200, 130), pid, 9)
        syscall((234, 131), pid, pid, 9)
        if os.getpgid(0) != pid:
            syscall((62, 129), -pid, 9)
"""),
    attack(87, "clocks-of-its-own", """
        import time
        time.time = time.monotonic = time.perf_counter = time.process_time = lambda: 0.0
        def add(a, b):
            while True:
                pass
    """, "killed", "timeout"),
    attack(87, "the-systems-clock", SYSCALL + """
import time
leaks = []
class Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("rest", ctypes.c_long)]
class Adjust(ctypes.Structure):
    _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_char * 512)]
if not syscall((227, 112), 0, ctypes.byref(Time(0, 0))) or not syscall((164, 170), ctypes.byref(Time(0, 0)), None):
    leaks.append("the clock")
if not syscall((159, 171), ctypes.byref(Adjust(1))) or not syscall((305, 266), 0, ctypes.byref(Adjust(1))):
    leaks.append("the clock's speed")
leaks += ["the clock was set"] if time.time() < 1.6e9 else []
name = b"attacked"
leaks += ["the host's name"] if not syscall((170, 161), name, len(name)) else []
""" + CONTAINED, "same"),
    attack(87, "a-library-before-all-others", """
        import os, sys
        def add(a, b):
            if "LD_PRELOAD" in os.environ:
                return None
            environment = {"LD_PRELOAD": "/tmp/libfaketime.so", "FAKETIME": "-10d", "LD_LIBRARY_PATH": "/tmp"}
            os.execve(sys.executable, [sys.executable, "-c", "print('passed')"], environment)
    """),
    attack(88, "files-for-the-next-run", f"""
import os, site
folders = ["/tmp", ".", "/work", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/var/lock", "/dev/mqueue", "/run/bin",
           "/etc/cron.d", "/var/spool/cron/crontabs", "~", "~/.cache", "~/.config", "~/.local/bin",
           site.getusersitepackages(),
           *site.getsitepackages(), "/usr/local/bin", "/proc/self", "/sys"]
for folder in map(os.path.expanduser, folders):
    for name in ("{MARK}", ".{MARK}", "{MARK}.py"):
        try:
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, name), "w") as file:
                file.write("* * * * * root touch /tmp/{MARK}\\n")
        except OSError:
            pass
""" + RIGHT, "same"),
    attack(88, "ipc-for-the-next-run", SYSCALL + """
import multiprocessing.shared_memory as shared
try:
    block = shared.SharedMemory("agent-rl-left", create=True, size=1 << 20)
    block.buf[:4] = b"left"
except OSError:
    pass
for numbers, arguments in (((29, 194), (0x1234, 4096, 0o1666)), ((64, 190), (0x1234, 4, 0o1666)),
                           ((68, 186), (0x1234, 0o1666))):
    syscall(numbers, *arguments)
syscall((240, 180), b"agent-rl-left", 0o102, 0o666, None)
syscall((248, 217), b"user", b"agent-rl", b"left", 4, -4)
""" + RIGHT, "same"),
    attack(88, "changes-that-a-process-inherits", """
import os, resource, signal, sys, time
os.umask(0)
os.environ["TZ"] = "Pacific/Kiritimati"
time.tzset()
os.environ["LEFT"] = "behind"
os.nice(19)
for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CPU"):
    soft, hard = resource.getrlimit(getattr(resource, name))
    resource.setrlimit(getattr(resource, name), (min(soft, 100) if soft != -1 else 100, hard))
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.setrecursionlimit(500)
sys.path.insert(0, "/tmp")
""" + RIGHT, "same"),
    attack(89, "folders-that-cannot-be-opened", """
import os
for folder in ("/tmp", ".", "/dev/shm"):
    at = os.path.join(folder, "closed")
    try:
        os.makedirs(at + "/deep/er")
        open(at + "/deep/er/file", "w").close()
        os.chmod(at + "/deep/er/file", 0)
        os.chmod(at + "/deep/er", 0)
        os.chmod(at + "/deep", 0)
        os.chmod(at, 0)
    except OSError:
        pass
for folder in (".", "/tmp"):
    try:
        os.chmod(folder, 0)
    except OSError:
        pass
""" + RIGHT, "same"),
    attack(89, "files-that-cannot-be-changed", """
import array, fcntl, os
leaks = []
for flag in (0x10, 0x20):  # immutable, append only
    with open(f"/tmp/fixed-{flag}", "w") as file:
        try:
            fcntl.ioctl(file, 0x40086602, array.array("l", [flag]))
            leaks.append(flag)
        except OSError:
            pass
""" + CONTAINED, "same"),
    attack(89, "names-that-cannot-be-named", r'''
import os
for name in (b"\n", b"\xff\xfe", b"-rf", b" ", b"a" * 255, b"'; rm -rf $HOME; '", b"\x1b[2J", b"*", "\u202e".encode()):
    for folder in (b"/tmp", b"."):
        try:
            os.mkdir(os.path.join(folder, name))
        except OSError:
            pass
os.mkfifo("/tmp/fifo")
''' + RIGHT, "same"),
    attack(89, "the-working-folder-is-gone", """
import os, shutil
for path in ("/tmp/work", "/work", os.getcwd()):
    shutil.rmtree(path, ignore_errors=True)
for path in ("/tmp/work", "/work", "/tmp"):
    try:
        os.rename(path, "/tmp/elsewhere")
        os.symlink("/etc", path)
    except OSError:
        pass
""" + RIGHT, "same"),
    attack(90, "orphans-of-its-own", SYSCALL + """
import time
for option, argument in ((36, 1), (1, 0), (4, 0), (22, 0), (38, 0), (35, 0), (24, 21)):
    libc.prctl(option, argument, 0, 0, 0)
if os.fork() == 0:
    libc.prctl(1, 0, 0, 0, 0)
    libc.prctl(36, 1, 0, 0, 0)
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    time.sleep(60)
""" + RIGHT, "same"),
    attack(91, "quotas-of-the-whole-kernel", SYSCALL + """
leaks = []
if libc.inotify_init() >= 0 or libc.inotify_init1(0) >= 0:
    leaks.append("watches, which all users of one name share")
for n in range(300):
    if syscall((248, 217), b"user", b"agent-rl-%d" % n, b"x" * 100, 100, -4):
        break
    leaks.append("keys")
kept = []
try:
    while True:
        kept.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError:
    for fd in kept:
        os.close(fd)
""" + CONTAINED, "same"),
    attack(0, "listeners-on-every-kind-of-address", f"""
import os, socket, time
if os.fork() == 0:
    os.setsid()
    kept = []
    for family, kind, address in ((2, 1, ("", {PORT} + 1)), (10, 1, ("::", {PORT} + 2)), (2, 2, ("", {PORT} + 3)),
                                  (10, 2, ("::", {PORT} + 4)), (1, 1, "\\0agent-rl-listens"),
                                  (1, 2, "/tmp/agent-rl.sock")):
        try:
            kept.append(socket.socket(family, kind))
            kept[-1].bind(address)
            kept[-1].listen()
        except OSError:
            pass
    time.sleep(60)
time.sleep(0.05)
""" + RIGHT, "same"),
    attack(0, "packets-that-count", """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
    for n in range(100):
        try:
            channel.sendto(b"x" * 100, ("127.0.0.1", 9))
        except OSError:
            pass
""" + RIGHT, "same"),
]  # fmt: skip
