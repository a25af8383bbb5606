"""Attacks that the runs of an isolating `SandboxProvider` must withstand. For the usage see `sandbox_contract`."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.testing.contracts.sandbox_contract import ADD, IN_MEMORY, request, run_values, values
from agent_rl.vocabulary import Limits, RunResult

SHORT = Limits(wall_seconds=1.0, cpu_seconds=1.0, memory_bytes=256 << 20, processes=32, disk_bytes=4 << 20, inodes=256)

# Everything visible to a run that an earlier run could have left: processes, files (except the run's own program),
# environment, standard descriptors.
PROBE = """
import os
def add(a, b):
    processes = [name for name in os.listdir('/proc') if name.isdigit()]
    files = [os.path.join(at, name) for top in ('/tmp', '/work', '/dev/shm', '/var/tmp')
             for at, _, names in os.walk(top) for name in names
             if not os.path.samefile(os.path.join(at, name), __file__)]
    opened = sorted(int(n) for n in os.listdir('/proc/self/fd'))
    return [len(processes), files, dict(os.environ), opened[:4], os.getcwd(), a + b]
"""


async def probe(provider: SandboxProvider) -> list[object]:
    """The state that a run sees. It must not depend on earlier runs."""
    (seen,) = await run_values(provider, PROBE, (1, 2))
    return seen


async def hostile(provider: SandboxProvider, program: str, limits: Limits = SHORT) -> RunResult:
    """The result of `program`. It ended in time, and an honest run after it sees no trace of it."""
    before = await probe(provider)
    started = time.monotonic()
    result = await provider.run(request(program, (2, 3), limits=limits))
    # The limit plus one second, and extra time for a loaded machine to notice.
    assert time.monotonic() - started < limits.wall_seconds + 10.0
    assert await probe(provider) == before
    assert await run_values(provider, ADD, (2, 3)) == [5]
    return result


ENDINGS = {
    "loops forever": ("while True: pass", "timeout"),
    "sleeps forever": ("import time\ntime.sleep(1e9)", "timeout"),
    "ignores every signal": (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        "timeout",
    ),
    "swallows everything": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "timeout",
    ),
    "exits at once": ("import os\nos._exit(0)", "completed"),
    "exits when called": ("import os\ndef add(a, b): os._exit(0)", "completed"),
    "closes every descriptor": ("import os\nos.closerange(0, 1024)\ndef add(a, b): return a + b", "completed"),
    "reads address 0": ("import ctypes\nctypes.string_at(0)", "crashed"),
    "aborts": ("import os\nos.abort()", "crashed"),
    "overflows the stack": (
        "import sys\nsys.setrecursionlimit(10**9)\n"
        "class Deep:\n    def __repr__(self): return repr(self)\ndef add(a, b): return repr(Deep())",
        "crashed",
    ),
    "allocates a terabyte": ("held = bytearray(1 << 40)", "out_of_memory"),
    "allocates bit by bit": ("held = []\nwhile True: held.append(bytearray(8 << 20))", "out_of_memory"),
    "raises MemoryError when called": ("def add(a, b):\n    return len(bytearray(1 << 40))", "out_of_memory"),
    "floods standard output": ("while True: print('A' * 10000)", "output_limit"),
    "floods standard error": ("import os\nwhile True: os.write(2, b'A' * 65536)", "output_limit"),
    "floods the result channel": (
        "import os\nwhile True:\n    for n in range(3, 6):\n        try: os.write(n, b'A' * 65536)\n"
        "        except OSError: pass",
        "completed",  # what is no frame ends the run at once, with an anomaly
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_however_a_run_ends_it_has_a_status_and_no_effect(provider: SandboxProvider, name: str) -> None:
    program, status = ENDINGS[name]
    # A program that ends by itself gets a longer limit, so that it ends even on a slow machine.
    limits = SHORT if status == "timeout" else replace(SHORT, wall_seconds=20.0, cpu_seconds=20.0)
    result = await hostile(provider, program, limits)
    assert result.status == status
    assert values(result) in ([], ["MemoryError"])


async def test_killing_everything_ends_in_no_answer(provider: SandboxProvider) -> None:
    result = await hostile(provider, "import os\nos.kill(-1, 9)\nos.kill(os.getppid(), 9)\nos.kill(os.getpid(), 9)")
    assert values(result) == []


@pytest.mark.parametrize(
    "bomb",
    [
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(99,)).start()\n"
        "    except RuntimeError: pass",
        "import subprocess\nwhile True:\n    try: subprocess.Popen(['sleep', '99'], start_new_session=True)\n"
        "    except OSError: pass",
    ],
    ids=["forks", "threads", "sessions"],
)
async def test_a_bomb_goes_off_in_its_own_run_only(provider: SandboxProvider, bomb: str) -> None:
    result = await hostile(provider, bomb)
    assert result.status in ("timeout", "out_of_memory")
    assert values(result) == []


async def test_daemons_end_with_the_run_that_started_them(provider: SandboxProvider) -> None:
    program = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(0.3)\n"
        "        open('/tmp/late', 'w').write('x')\n        os.write(3, b'late')\n        time.sleep(99)\n"
        "    os._exit(0)\n" + ADD
    )
    result = await hostile(provider, program)
    assert (result.status, values(result)) == ("completed", [5])
    assert result.seconds < 60  # the daemon would go on for 99 s
    await asyncio.sleep(0.4)
    assert (await probe(provider))[1] == []


async def test_a_descendant_that_holds_the_pipes_is_not_waited_for(provider: SandboxProvider) -> None:
    program = "import subprocess\nsubprocess.Popen(['sleep', '99'], close_fds=False)\n" + ADD
    result = await hostile(provider, program)
    assert (result.status, values(result)) == ("completed", [5])


async def test_files_are_gone_with_their_run(provider: SandboxProvider) -> None:
    program = (
        "import os\nfor n, top in enumerate(('/tmp', '.', '/dev/shm', '/var/tmp')):\n"
        "    folder = f'{top}/deep-{n}'\n    os.makedirs(folder + '/er')\n"
        "    open(folder + '/er/file', 'w').write('x')\n    os.chmod(folder, 0)\n" + ADD
    )
    assert values(await hostile(provider, program)) == [5]


async def test_the_disk_is_limited_in_bytes_and_in_files(provider: SandboxProvider) -> None:
    program = """
def add(a, b):
    written = 0
    try:
        with open('/tmp/large', 'wb') as file:
            while True: written += file.write(bytes(1 << 16))
    except OSError: pass
    made = 0
    try:
        while True:
            open(f'/tmp/file-{made}', 'w').close()
            made += 1
    except OSError: pass
    return [written, made]
"""
    result = await hostile(provider, program)
    ((written, made),) = values(result)
    # The file system itself uses a few pages and inodes.
    assert 0 < written <= SHORT.disk_bytes
    assert 0 < made <= SHORT.inodes


async def test_the_system_cannot_be_written_to(provider: SandboxProvider) -> None:
    program = """
import os
def add(a, b):
    written = []
    for folder in '/ /usr /usr/bin /usr/lib /etc /bin /var /home /root /dev /proc /sys'.split():
        try:
            open(os.path.join(folder, 'left-here'), 'w').close()
            written.append(folder)
        except OSError: pass
    return written
"""
    assert values(await hostile(provider, program)) == [[]]


async def test_no_privilege_is_had_or_gained(provider: SandboxProvider) -> None:
    program = """
import os
def add(a, b):
    status = dict(line.rstrip('\\n').split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
    return [os.getuid() == 0, status['CapEff'].strip('0'), status['CapPrm'].strip('0'), status['NoNewPrivs'],
            status['Seccomp'], dict(os.environ)]
"""
    assert await run_values(provider, program, (1, 2)) == [[False, "", "", "1", "2", {}]]


async def test_the_filter_refuses_what_only_an_escape_needs(provider: SandboxProvider) -> None:
    # Numbers of x86_64 and aarch64.
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
index = 0 if os.uname().machine == 'x86_64' else 1
calls = {'unshare': ((272, 97), 0x10000000), 'mount': ((165, 40), 0), 'ptrace': ((101, 117), 0),
         'keyctl': ((250, 219), 0), 'io_uring_setup': ((425, 425), 1), 'bpf': ((321, 280), 0),
         'userfaultfd': ((323, 282), 0), 'perf_event_open': ((298, 241), 0), 'pivot_root': ((155, 41), 0),
         'setns': ((308, 268), 0), 'clone': ((56, 220), 0x10000000 | 17), 'clone3': ((435, 435), 0)}
def add(a, b):
    allowed = []
    for name, (numbers, argument) in calls.items():
        if libc.syscall(numbers[index], argument, 0, 0, 0, 0) != -1 or ctypes.get_errno() not in (1, 38):
            allowed.append([name, ctypes.get_errno()])
    return allowed
"""
    assert await run_values(provider, program, (1, 2)) == [[]]


async def test_there_is_no_network(provider: SandboxProvider) -> None:
    program = """
import errno, socket
def add(a, b):
    outcomes = []
    for address in (('1.1.1.1', 53), ('169.254.169.254', 80), ('172.17.0.1', 80), ('10.0.0.1', 80)):
        with socket.socket() as channel:
            channel.settimeout(2)
            outcomes.append(errno.errorcode.get(channel.connect_ex(address)))
    families = []
    for family in (16, 17, 38, 40):
        try: socket.socket(family, socket.SOCK_RAW).close()
        except OSError: families.append(family)
    return [sorted(set(outcomes)), families]
"""
    ((outcomes, families),) = await run_values(provider, program, (1, 2))
    assert outcomes == ["ENETUNREACH"]
    assert families == [16, 17, 38, 40]


async def test_nobodys_secrets_are_there(provider: SandboxProvider) -> None:
    program = """
import os
def add(a, b):
    found = []
    for path in ('/root', '/home', '/var/run/docker.sock', '/run/docker.sock', '/run/containerd', '/etc/shadow'):
        try:
            found += [path] if (os.listdir(path) if os.path.isdir(path) else open(path).read()) else []
        except OSError: pass
    return found
"""
    assert await run_values(provider, program, (1, 2)) == [[]]


async def test_an_earlier_runs_values_are_not_in_memory(provider: SandboxProvider) -> None:
    for _ in range(3):
        await run_values(provider, "def add(a, b):\n    return 'kangaroo' * 50\n", (1, 2))
    # The word itself is in this program's memory too, but never ten times in a row.
    program = f"{IN_MEMORY}def add(word, held):\n    kept = word * held\n    return in_memory(word)\n"
    # The second call is the control: it holds 50 in a row itself.
    assert await run_values(provider, program, ("kangaroo", 1), ("kangaroo", 50)) == [False, True]


async def test_fixed_ports_are_free_again_in_the_next_run(provider: SandboxProvider) -> None:
    # Without SO_REUSEADDR a port with a connection in TIME_WAIT cannot be bound.
    program = """
import socket
def add(a, b):
    server = socket.socket()
    server.bind(('127.0.0.1', 5001))
    server.listen()
    client = socket.create_connection(('127.0.0.1', 5001))
    side, _ = server.accept()
    side.sendall(b'hello')
    side.close()
    return client.recv(5)
"""
    for _ in range(4):
        assert await run_values(provider, program, (1, 2)) == [b"hello"]


@pytest.mark.parametrize(
    ("program", "anomaly"),
    [
        ("import os\nos.write(3, b'PASS' * 3)\n" + ADD, True),
        ("import os\nos.write(3, b'\\xff\\xff\\xff\\xff')\nos._exit(0)", True),
        ("import os\nos.write(3, b'\\0\\0\\0\\x02\\xff\\xfe')\nos._exit(0)", True),
        ("import os\nos.write(3, b'\\0')\nos._exit(0)", True),
        ("import os\nfor _ in range(10**4): os.write(3, b'\\0\\0\\0\\x02{}')\nos._exit(0)", True),
        ("import os\nos._exit(0)", False),
    ],
    ids=["text", "huge length", "no text", "partial", "too many", "nothing"],
)
async def test_what_an_honest_run_never_writes_is_an_anomaly(
    provider: SandboxProvider, program: str, anomaly: bool
) -> None:
    result = await hostile(provider, program)
    assert bool(result.anomalies) == anomaly
    assert len(result.frames) < 10


async def test_a_forged_frame_is_handed_on_as_it_is(provider: SandboxProvider) -> None:
    # Nothing in the worker decides whether to believe it.
    text = '{"id": "0a", "value": 5}'
    program = f"import os\nos.write(3, {len(text).to_bytes(4, 'big')!r} + {text.encode()!r})\nos._exit(0)"
    result = await hostile(provider, program)
    assert [json.loads(frame) for frame in result.frames] == [{"id": "0a", "value": 5}]


async def test_honest_but_unusual_programs_run(provider: SandboxProvider) -> None:
    program = """
import subprocess, sys, tempfile, threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
def square(n): return n * n
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
def add(a, b):
    with ThreadPoolExecutor(8) as pool: threads = list(pool.map(square, range(8)))
    with get_context('fork').Pool(2) as pool: processes = pool.map(square, range(4))
    with tempfile.TemporaryFile() as file:
        file.write(b'kept'); file.seek(0); kept = file.read()
    sys.setrecursionlimit(20000)
    out = subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True, text=True).stdout
    return [threads, processes, kept, deep(9000), out]
"""
    limits = Limits(wall_seconds=20.0, cpu_seconds=20.0)
    result = await provider.run(request(program, (1, 2), limits=limits))
    assert values(result) == [[[n * n for n in range(8)], [0, 1, 4, 9], b"kept", 9000, "1\n"]], result


async def test_a_cancelled_run_gives_its_worker_back(provider: SandboxProvider) -> None:
    for _ in range(3):
        running = [asyncio.ensure_future(provider.run(request("while True: pass", (1, 2)))) for _ in range(4)]
        await asyncio.sleep(0.2)
        for task in running:
            task.cancel()
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    started = time.monotonic()
    assert await run_values(provider, ADD, (1, 2)) == [3]
    assert time.monotonic() - started < 15.0


__all__ = [name for name in globals() if name.startswith("test_")]  # pyright: ignore[reportUnsupportedDunderAll]
