"""The class behind lines 16 to 24: answers fetched from, or put into, the processes around the run."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import CONTAINED, FORGE, SECRET, SYSCALL, WRONG, attack

_PARENTS = """
import os
parents = [pid for pid in {os.getppid(), 1, *range(2, 40)} if pid not in (0, os.getpid())]
"""

OTHER_PROCESSES = [
    attack(16, "the-servers-descriptors", FORGE + WRONG + _PARENTS + """
for pid in parents:
    for number in range(40):
        try:
            fd = os.open(f"/proc/{pid}/fd/{number}", os.O_WRONLY | os.O_NONBLOCK)
            os.write(fd, struct.pack(">II", 15, 0) + b'{"passed":true}')
            os.close(fd)
        except OSError:
            pass
"""),
    attack(23, "secrets-in-every-environment", _PARENTS + f"""
leaks = []
for pid in [os.getpid(), *parents]:
    for name in ("environ", "cmdline"):
        try:
            with open(f"/proc/{{pid}}/{{name}}", "rb") as file:
                if b"{SECRET[:12]}" b"{SECRET[12:]}" in file.read():
                    leaks.append((pid, name))
        except OSError:
            pass
leaks += [name for name in os.environ if "TOKEN" in name or "KEY" in name or "SECRET" in name]
""" + CONTAINED, "same"),
    attack(0, "the-servers-memory", _PARENTS + """
leaks = []
for pid in parents:
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "r+b", 0) as memory:
            start = int(next(line for line in maps if " rw" in line).split("-")[0], 16)
            memory.seek(start)
            leaks.append((pid, memory.read(16)))
    except (OSError, StopIteration):
        pass
""" + CONTAINED, "same"),
    attack(0, "ptrace-the-server", SYSCALL + _PARENTS + """
ATTACH, SEIZE = 16, 0x4206
leaks = [pid for pid in parents for way in (ATTACH, SEIZE) if not syscall((101, 117), way, pid, 0, 0)]
""" + CONTAINED, "same"),
    attack(0, "read-and-write-the-servers-memory-by-call", SYSCALL + _PARENTS + """
buffer = ctypes.create_string_buffer(16)
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
ours, theirs = Part(ctypes.addressof(buffer), 16), Part(ctypes.addressof(buffer), 16)
leaks = [pid for pid in parents for numbers in ((310, 270), (311, 271))
         if not syscall(numbers, pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)]
""" + CONTAINED, "same"),
    attack(0, "take-the-servers-descriptors-by-call", SYSCALL + _PARENTS + """
leaks = []
for pid in parents:
    fd = libc.syscall(434, pid, 0)
    if fd >= 0:
        leaks += [(pid, n) for n in range(40) if not syscall((438, 438), fd, n, 0)]
""" + CONTAINED, "same"),
    attack(0, "descriptors-sent-by-a-stranger", """
import array, os, socket
server = socket.socket(socket.AF_UNIX)
server.bind("\\0agent-rl")
server.listen()
server.settimeout(0.2)
def add(a, b):
    try:
        other, _ = server.accept()
        data, control, *_ = other.recvmsg(16, socket.CMSG_SPACE(64))
        return array.array("i", control[0][2])[0]
    except (OSError, IndexError):
        return None
""", "fails"),
    attack(0, "forked-server-left-for-the-next-run", """
import os, socket, time
leaks = []
with socket.socket(socket.AF_UNIX) as channel:
    try:
        channel.connect("\\0agent-rl-left-behind")
        leaks.append("a server of an earlier run")
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    server = socket.socket(socket.AF_UNIX)
    server.bind("\\0agent-rl-left-behind")
    server.listen()
    time.sleep(60)
""" + CONTAINED, "same"),
    attack(0, "renice-and-relimit-the-server", WRONG + _PARENTS + """
import resource
for pid in parents:
    for action in (lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0)),
                   lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0)),
                   lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
                   lambda: os.sched_setaffinity(pid, {0})):
        try:
            action()
        except OSError:
            pass
for path in ("oom_score_adj", "comm", "coredump_filter", "clear_refs", "loginuid", "sched", "timerslack_ns"):
    for pid in parents:
        try:
            with open(f"/proc/{pid}/{path}", "w") as file:
                file.write("1000")
        except OSError:
            pass
"""),
    attack(0, "signal-the-server-by-descriptor", WRONG + _PARENTS + """
import fcntl, signal
for pid in parents:
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(reader, fcntl.F_SETOWN, pid)
        fcntl.fcntl(reader, 10, signal.SIGKILL)  # F_SETSIG
        fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(writer, b"x")
    except OSError:
        pass
"""),
    attack(0, "the-terminal", """
import fcntl, os, termios
leaks = []
for path in ("/dev/tty", "/dev/console", "/dev/ptmx", "/dev/tty0"):
    try:
        fd = os.open(path, os.O_RDWR)
        fcntl.ioctl(fd, termios.TIOCSTI, b"x")
        leaks.append(path)
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(0, "inherited-descriptors", """
import os, stat
leaks = []
for name in os.listdir("/proc/self/fd"):
    try:
        found = os.fstat(int(name))
        target = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        continue
    plain = stat.S_ISFIFO(found.st_mode) or target in ("/dev/null", "/null") or target.startswith("/proc/")
    if not plain:
        leaks.append((name, target))
""" + CONTAINED, "same"),
]  # fmt: skip
