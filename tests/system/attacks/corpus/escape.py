"""Lines 79 to 86: leaving the run for the worker, the host, or the network."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import CONTAINED, RIGHT, SYSCALL, WRONG, attack

ESCAPE = [
    attack(79, "the-interpreter-is-overwritten", """
import glob, os
leaks = []
for path in ["/proc/self/exe", *glob.glob("/proc/[0-9]*/exe"), "/usr/bin/python3", "/bin/sh", "/usr/lib/os-release"]:
    for mode in (os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
        try:
            os.close(os.open(path, mode))
            leaks.append(path)
        except OSError:
            pass
""" + CONTAINED, "same"),
    attack(79, "folders-left-open", """
import os, stat
leaks = []
for name in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISDIR(os.stat(f"/proc/self/fd/{name}").st_mode) and not os.readlink(
                f"/proc/self/fd/{name}").startswith("/proc"):
            leaks.append(os.readlink(f"/proc/self/fd/{name}"))
    except OSError:
        pass
for start in ("/proc/self/cwd", "/proc/self/root"):
    try:
        if os.path.exists(start + "/../../../../../../../root/.ssh"):
            leaks.append(start)
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(79, "the-roots-of-others", """
import glob, os
leaks = []
own = os.stat("/").st_dev, os.stat("/").st_ino
for path in glob.glob("/proc/[0-9]*/root") + glob.glob("/proc/[0-9]*/cwd"):
    try:
        found = os.stat(path + "/etc")
        if path.endswith("root") and (os.stat(path).st_dev, os.stat(path).st_ino) != own:
            leaks.append(path)
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(80, "sockets-of-the-host", """
import os, socket
leaks = []
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
             "/run/systemd/private", "/run/dbus/system_bus_socket", "/run/user/0/docker.sock", "/tmp/.X11-unix/X0",
             "/run/snapd.socket", "/var/run/crio/crio.sock"):
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(path)
            leaks.append(path)
        except OSError:
            pass
""" + CONTAINED, "same"),
    attack(81, "mounts-and-namespaces", SYSCALL + """
leaks = []
flags = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000,
         "cgroup": 0x2000000}
for name, flag in flags.items():
    if not syscall((272, 97), flag):
        leaks.append(("unshare", name))
    try:
        if not syscall((308, 268), os.open(f"/proc/self/ns/{name[:3] if name != 'mount' else 'mnt'}", os.O_RDONLY), 0):
            leaks.append(("setns", name))
    except OSError:
        pass
for target in (b"/tmp", b"/proc", b"/", b"/dev"):
    if not syscall((165, 40), b"none", target, b"tmpfs", 0, None):
        leaks.append(("mount", target))
    if not syscall((165, 40), b"/", target, None, 0x1000, None):
        leaks.append(("bind", target))
    if not syscall((166, 39), target, 2):
        leaks.append(("umount", target))
    if not syscall((161, 51), target):
        leaks.append(("chroot", target))
if not syscall((155, 41), b"/tmp", b"/tmp"):
    leaks.append("pivot_root")
for numbers in ((428, 428), (430, 430), (442, 442)):
    if not syscall(numbers, -100, b"/", 1, 0, 0):
        leaks.append(numbers)
""" + CONTAINED, "same"),
    attack(81, "clone-with-namespaces", SYSCALL + """
leaks = []
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x7e020000):
    pid = libc.syscall(56 if x86 else 220, flag | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        leaks.append(hex(flag))
class Arguments(ctypes.Structure):
    _fields_ = [("value", ctypes.c_uint64 * 11)]
arguments = Arguments()
arguments.value[0], arguments.value[4] = 0x10000000, 17
pid = libc.syscall(435, ctypes.byref(arguments), ctypes.sizeof(arguments))
if pid == 0:
    os._exit(0)
if pid > 0:
    leaks.append("clone3")
""" + CONTAINED, "same"),
    attack(82, "devices", """
import os, stat
leaks = []
for number, (kind, major, minor) in enumerate(((stat.S_IFBLK, 8, 0), (stat.S_IFCHR, 1, 1), (stat.S_IFBLK, 259, 0),
                                               (stat.S_IFBLK, 252, 0), (stat.S_IFCHR, 10, 229))):
    path = f"/tmp/device-{number}"
    try:
        os.mknod(path, kind | 0o600, os.makedev(major, minor))
        os.open(path, os.O_RDONLY)
        leaks.append(path)
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(82, "another-user", """
import glob, os, shutil, subprocess
leaks = []
before = os.getuid(), os.geteuid(), os.getgid(), os.getegid()
for action in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.setresuid(0, 0, 0),
               lambda: os.setreuid(61373, 61373)):
    try:
        action()
        leaks.append("an identity")
    except OSError:
        pass
for tool in ("su", "sudo", "newgrp", "mount", "passwd", "pkexec", "chsh", "newuidmap", "fusermount"):
    path = shutil.which(tool)
    if path:
        try:
            if subprocess.run([path, "-c", "id -u"], capture_output=True, timeout=0.5, stdin=-3).stdout.strip() == b"0":
                leaks.append(tool)
        except (OSError, subprocess.SubprocessError):
            pass
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
leaks += [name for name in ("CapEff", "CapPrm", "CapInh", "CapAmb") if status[name].strip("0")]
leaks += [name for name, value in (("NoNewPrivs", "1"), ("Seccomp", "2")) if status[name] != value]
leaks += [] if before == (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) and before[0] else [before]
""" + CONTAINED, "same"),
    attack(82, "a-setuid-program-of-its-own", """
import os, shutil, subprocess, sys
leaks = []
try:
    shutil.copy(sys.executable, "/tmp/python")
    os.chmod("/tmp/python", 0o6755)
    found = subprocess.run(["/tmp/python", "-c", "import os; print(os.geteuid())"], capture_output=True, timeout=2)
    if found.stdout.strip() == b"0":
        leaks.append("root")
except OSError:
    pass
""" + CONTAINED, "same"),
    attack(83, "hard-links-to-what-runs-us", """
import glob, os, sys
leaks = []
others = glob.glob("/proc/[0-9]*/exe")
for n, path in enumerate(["/proc/self/exe", sys.executable, "/etc/passwd", "/usr/bin/env", *others]):
    for follow in (True, False):
        try:
            os.link(path, f"/tmp/hard-{n}-{follow}", follow_symlinks=follow)
            leaks.append(path)
        except OSError:
            pass
""" + CONTAINED, "same"),
    attack(83, "links-that-lead-out", """
import os
for n, target in enumerate(("/", "/etc/passwd", "/root", "/proc/1/root", "/home", "/usr/bin/python3", "..", "loop-6")):
    for folder in ("/tmp", ".", "/dev/shm"):
        try:
            os.symlink(target, os.path.join(folder, f"loop-{n}"))
        except OSError:
            pass
""" + RIGHT, "same"),
    attack(85, "metadata-gateway-and-names", """
import socket
leaks = []
for family, address in ((2, ("169.254.169.254", 80)), (2, ("172.17.0.1", 22)), (2, ("172.17.0.1", 2375)),
                        (2, ("10.0.0.1", 53)), (2, ("192.168.0.1", 80)), (2, ("100.100.100.200", 80)),
                        (10, ("fe80::1", 80)), (10, ("fd00:ec2::254", 80))):
    with socket.socket(family) as channel:
        channel.settimeout(0.2)
        try:
            channel.connect(address)
            leaks.append(address)
        except OSError:
            pass
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(b"secret.example.org", address)
            leaks.append(("a packet", address))
        except OSError:
            pass
for action in (lambda: socket.getaddrinfo("secret.example.org", 80),
               lambda: socket.gethostbyname("metadata.google.internal")):
    try:
        leaks.append(action())
    except OSError:
        pass
leaks += [line for line in open("/proc/net/dev") if line.strip().startswith(("eth", "en", "docker", "veth", "wl"))]
""" + CONTAINED, "same"),
    attack(85, "services-of-the-host-on-loopback", """
import socket
leaks = []
for port in (22, 53, 80, 111, 443, 631, 2375, 2376, 3306, 5000, 5432, 6379, 8000, 8080, 8888, 9000, 29500):
    for family, host in ((2, "127.0.0.1"), (10, "::1")):
        with socket.socket(family) as channel:
            channel.settimeout(0.05)
            try:
                channel.connect((host, port))
                leaks.append(port)
            except OSError:
                pass
""" + CONTAINED, "same"),
    attack(86, "families-of-sockets", """
import socket
leaks = []
for family in (3, 4, 5, 9, 15, 16, 17, 21, 26, 29, 30, 31, 32, 36, 38, 39, 40, 41, 43, 44, 45):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind).close()
            leaks.append((family, kind))
        except OSError:
            pass
for family in (socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
        leaks.append("raw")
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(86, "corners-of-the-kernel", SYSCALL + """
calls = {"io_uring_setup": (425, 425), "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
         "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "memfd_create": (319, 279),
         "open_by_handle_at": (304, 265), "kexec_load": (246, 104), "init_module": (175, 105), "reboot": (169, 142),
         "swapon": (167, 224), "acct": (163, 89), "syslog": (103, 116), "fanotify_init": (300, 262), "kcmp": (312, 272)}
leaks = [name for name, numbers in calls.items() if syscall(numbers, 8, 0, 0, 0, 0, 0) not in (1, 38)]
""" + CONTAINED, "same"),
    attack(86, "calls-of-another-architecture", SYSCALL + """
leaks = []
if x86:
    for number in (0x40000000 | 39, 0x40000000 | 272, 0x40000000 | 56):
        if syscall((number, 0), 0x10000000 | 17, 0, 0, 0, 0) not in (1, 38):
            leaks.append(hex(number))
    # mov eax, 20 (getpid of 32 bits); int 0x80; ret
    import mmap
    try:
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(bytes.fromhex("b814000000cd80c3"))
        function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        if function() == os.getpid():
            leaks.append("int 0x80")
    except (OSError, PermissionError):
        pass
""" + CONTAINED, "same"),
    attack(0, "the-kernels-switches", """
import glob, os
leaks = []
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory",
             "/proc/sys/user/max_user_namespaces", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/binfmt_misc/register",
             "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/sys/fs/cgroup/cgroup.procs", "/proc/self/uid_map",
             "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/msgmax", "/proc/sys/kernel/shmmax",
             *glob.glob("/sys/fs/cgroup/*/release_agent"), *glob.glob("/sys/fs/cgroup/*/cgroup.procs")):
    try:
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, b"1")
        leaks.append(path)
    except OSError:
        pass
""" + CONTAINED, "same"),
    attack(0, "a-debugger-for-oneself", SYSCALL + WRONG + """
pid = os.fork()
if pid == 0:
    syscall((101, 117), 0, 0, 0, 0)
    os._exit(0)
os.waitpid(pid, 0)
for request in (16, 0x4206):
    syscall((101, 117), request, os.getppid(), 0, 0)
"""),
]  # fmt: skip
