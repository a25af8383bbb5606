"""By class, what the list has no line for: what runs share without a file (open files, inodes, the kernel's counts)."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import CONTAINED, HARD_LIMIT_TASK, RIGHT, SYSCALL, attack

SHARED_STATE = [
    attack(88, "flags-and-locks-of-open-files", """
import fcntl, os, struct
for fd in (0, *range(5, 16)):
    for action in (lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK | os.O_ASYNC),
                   lambda: fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid()), lambda: fcntl.fcntl(fd, 10, 10),
                   lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda: os.lseek(fd, 5, os.SEEK_SET)):
        try:
            action()
        except OSError:
            pass
""" + RIGHT, "same"),
    attack(88, "hints-leases-and-watches-of-files", """
import fcntl, os, struct
leaks = []
for path in ("/etc/passwd", "/etc", "/usr/bin/env", "/dev/null", "/usr", os.path.realpath("/proc/self/exe")):
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        continue
    for command, argument in ((1024, fcntl.F_RDLCK), (1026, 0x80000001), (1036, struct.pack("Q", 3)),
                              (1038, struct.pack("Q", 3))):
        try:
            fcntl.fcntl(fd, command, argument)
            leaks.append((path, command))
        except OSError:
            pass
""" + CONTAINED, "same"),
    attack(88, "times-and-rights-of-devices-and-files", """
import os
devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
for path in (*devices, "/etc/passwd", "/usr/bin/env", "/tmp"):
    for action in (lambda: os.utime(path), lambda: os.utime(path, (1, 1)), lambda: os.chmod(path, 0o777),
                   lambda: os.setxattr(path, "user.left", b"behind"), lambda: os.chown(path, os.getuid(), os.getgid()),
                   lambda: os.truncate(path, 0)):
        try:
            action()
        except OSError:
            pass
""" + RIGHT, "same"),
    attack(91, "counts-that-the-whole-host-shares", SYSCALL + """
leaks = []
context = ctypes.c_ulong()
if not syscall((206, 0), 1 << 16, ctypes.byref(context)):
    leaks.append("asynchronous files")
for numbers in ((162, 81), (306, 267)):
    fd = os.open("/usr", os.O_RDONLY)
    if not syscall(numbers, fd):
        leaks.append("disks are written out")
kept = []
try:
    while True:
        kept.append(os.pipe())
except OSError:
    pass
""" + CONTAINED, "same"),
    attack(91, "protocols-that-the-kernel-would-load", """
import socket
leaks = []
for family in (socket.AF_INET, socket.AF_INET6):
    for kind, protocol in ((5, 132), (1, 132), (6, 33), (2, 115), (3, 255), (10, 1), (3, 1), (3, 58)):
        try:
            socket.socket(family, kind, protocol).close()
            leaks.append((family, kind, protocol))
        except OSError:
            pass
""" + CONTAINED, "same"),
    attack(88, "descriptors-in-flight", """
import array, os, socket
kept = []
try:
    for n in range(60):
        one, other = socket.socketpair()
        carried = array.array("i", [other.fileno(), one.fileno(), 0])
        for _ in range(3):
            one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, carried)])
        one.close()
        other.close()
except OSError:
    pass
""" + RIGHT, "same"),
    attack(88, "groups-options-and-addresses-of-the-network", """
import socket, struct
for family, level, option, value in (
    (2, 0, 35, struct.pack("4s4s", bytes([224, 0, 0, 99]), bytes([127, 0, 0, 1]))),
    (10, 41, 20, struct.pack("16si", bytes([0xFF, 2]) + bytes(13) + b"c", 1)),
    (2, 1, 25, b"lo"), (2, 1, 36, bytes([7, 0, 0, 0])), (2, 0, 19, bytes([1, 0, 0, 0])),
    (2, 1, 12, bytes([7, 0, 0, 0])),
):
    channel = socket.socket(family, socket.SOCK_DGRAM)
    try:
        channel.setsockopt(level, option, value)
    except OSError:
        pass
    for address in (("127.0.0.2", 9), ("255.255.255.255", 9)) if family == 2 else (("ff02::1", 9), ("::1", 9)):
        try:
            channel.connect(address)
            channel.send(b"x")
        except OSError:
            pass
""" + RIGHT, "same"),
    attack(88, "names-and-personalities-of-the-process", SYSCALL + """
libc.prctl(15, b"worker_server", 0, 0, 0)  # PR_SET_NAME
for option, argument in ((4, 0), (29, 10**9), (41, 1), (53, 0), (8, 1), (28, 63), (23, 21)):
    libc.prctl(option, argument, 0, 0, 0)
for value in (0, 8, 0x20000, 0x40000, 0x8000000):
    syscall((135, 92), value)
syscall((251, 30), 1, 0, 3 << 13)  # ioprio_set, idle
syscall((149, 228), 0, 1 << 20)
libc.mlockall(3)
""" + RIGHT, "same"),
    attack(98, "its-own-limit-ends-it-like-a-stranger", """
        import resource
        def add(a, b):
            resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
            while True:
                pass
    """, "fails", "crashed", "timeout", task=HARD_LIMIT_TASK),
    attack(98, "a-filter-of-its-own-ends-it", SYSCALL + """
import struct
def add(a, b):
    program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x80000000), 8)  # kill the process
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(program)), 16)
    libc.prctl(22, 2, header, 0, 0)
    os.getpid()
""", "fails", "crashed"),
    attack(75, "children-in-every-state", """
        import os, signal, time
        for n in range(24):
            if os.fork() == 0:
                if n % 4 == 0:
                    os.kill(os.getpid(), signal.SIGSTOP)
                elif n % 4 == 1:
                    os._exit(0)
                elif n % 4 == 2:
                    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
                    os.execv("/bin/sleep", ["sleep", "60"])
                os.setsid()
                time.sleep(60)
                os._exit(0)
    """ + RIGHT.replace("\n", "\n        "), "same"),
    attack(24, "the-result-channel-is-handed-to-a-child", """
        import array, os, socket, time
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            os.setsid()
            data, control, *_ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
            channel = array.array("i", control[0][2])[0]
            time.sleep(0.2)
            while True:
                os.write(channel, b"\\0\\0\\0\\x0f{\\"passed\\":true}")
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [3]))])
        os.close(3)
        def add(a, b):
            time.sleep(60)
    """, "killed"),
    attack(0, "a-brother-of-the-run", SYSCALL + """
CLONE_PARENT = 0x8000
pid = libc.syscall(56 if x86 else 220, CLONE_PARENT | 17, 0, 0, 0, 0)
if pid == 0:
    import time
    os.setsid()
    time.sleep(60)
    os._exit(0)
""" + RIGHT, "same"),
]  # fmt: skip
