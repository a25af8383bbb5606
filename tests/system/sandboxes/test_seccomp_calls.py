"""Programs ask for every call that each filter denies, where the filter lies: the kernel answers as documented."""

from __future__ import annotations

import errno
import json
import platform
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from agent_rl.testing.contracts.sandbox_contract import values
from agent_rl.vocabulary import Isolation, Limits, RunCall, RunRequest, canonical
from agent_rl_sandboxes.docker_container import Container
from agent_rl_sandboxes.docker_engine import DockerEngine
from agent_rl_sandboxes.docker_hardening import PROGRAMS, Purpose, worker_bounds
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.seccomp import Machine, default_calls, run_denied_calls, syscall_numbers, worker_calls
from tests.component.sandboxes.providers_by_level import BY_LEVEL, Kind, provider_at, skip_without_namespaces

MARKS: dict[Kind, pytest.MarkDecorator] = {"docker": pytest.mark.docker, "local": pytest.mark.local_sandbox}
MACHINE = cast(Machine, platform.machine())
NUMBERS = syscall_numbers(MACHINE)
X32_BIT = 0x40000000
NEW_USER, SIGCHLD, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK = 0x10000000, 17, 16, 17, 38, 40
ADDR_NO_RANDOMIZE = 0x40000

# Numbers of 32-bit x86: getpid, mount, ptrace, unshare, keyctl, perf_event_open, bpf, userfaultfd, io_uring_setup.
I386_HARMLESS, I386 = 20, (21, 26, 310, 288, 336, 357, 374, 425)

# What a program is told for each [number, first argument]: itself, as a forked child, and as a program executed by it;
# and by the 32-bit entry into the kernel, where that is there ("none" where the processor or the kernel has none).
PROBE = r"""
import ctypes, json, mmap, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def errors(calls):
    found = []
    for number, argument in calls:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in (argument, 0, 0, 0, 0, 0)])
        found.append(ctypes.get_errno() if result == -1 else 0)
    return found

def in_child(action):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(action()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else "none"

def by_32_bits(numbers):
    # push rbx; mov eax, edi; xor ebx, ecx, edx, esi, edi, ebp's like; int 0x80; pop rbx; ret
    code = bytes.fromhex("53" "89f8" "31db" "31c9" "31d2" "31f6" "31ff" "cd80" "5b" "c3")
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    enter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    return [-min(enter(number), 0) for number in numbers]

def probe(calls, i386):
    everything = [errors(calls), in_child(lambda: errors(calls))]
    if os.environ.get("EXECUTED") is None:
        code = "import json, sys\n" + SOURCE + "\nprint(json.dumps(errors(json.loads(sys.argv[1]))))"
        command = [sys.executable or "python3", "-c", code, json.dumps(calls)]
        everything.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    return everything + [in_child(lambda: by_32_bits(i386)) if os.uname().machine == "x86_64" else "none"]
"""
PROGRAM = f"SOURCE = {PROBE!r}\n{PROBE}"
Call = tuple[str, int, int]
"""What it is called, its number, its first argument."""


def expected_of_a_run() -> dict[Call, int]:
    """Call -> errno, of all that the filter of a run denies."""
    denied: dict[Call, int] = {}
    allowed = default_calls(MACHINE) - run_denied_calls() | {"clone", "personality", "socket", "socketpair", "clone3"}
    for name, number in NUMBERS.items():
        if name not in allowed:
            denied[name, number, 0] = errno.EPERM
        if MACHINE == "x86_64":
            denied[f"x32 {name}", X32_BIT | number, 0] = errno.ENOSYS
    denied["clone3", NUMBERS["clone3"], 0] = errno.ENOSYS
    for flags in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        denied[f"clone {flags:#x}", NUMBERS["clone"], flags | SIGCHLD] = errno.EPERM
    for family in (AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK):
        denied[f"socket {family}", NUMBERS["socket"], family] = errno.EAFNOSUPPORT
    denied["personality", NUMBERS["personality"], ADDR_NO_RANDOMIZE] = errno.EPERM
    for number in range(max(NUMBERS.values()) + 1, 470):
        denied[f"newer {number}", number, 0] = errno.ENOSYS
    return denied


def expected_of_a_container(wider: frozenset[str]) -> dict[Call, int]:
    """Call -> errno, of all that Docker's default denies, less `wider`."""
    allowed = default_calls(MACHINE) | {"clone", "personality", "socket", "clone3"} | wider
    # What is newer than all that a profile names is ENOSYS or EPERM, as the version of runc has it.
    newest = max(NUMBERS[name] for name in allowed & NUMBERS.keys())
    denied: dict[Call, int] = {(n, at, 0): errno.EPERM for n, at in NUMBERS.items() if n not in allowed and at < newest}
    denied["clone3", NUMBERS["clone3"], 0] = errno.ENOSYS
    if "clone" not in wider:
        denied["clone", NUMBERS["clone"], NEW_USER | SIGCHLD] = errno.EPERM
    denied["socket", NUMBERS["socket"], AF_VSOCK] = errno.EPERM
    denied["personality", NUMBERS["personality"], ADDR_NO_RANDOMIZE] = errno.EPERM
    return denied


def check(answers: list[Any], expected: Mapping[Call, int], i386: list[int]) -> None:
    """The three ways to ask were answered as expected; so was the 32-bit one, where there is one."""
    *asked, by_32_bits = answers
    assert len(asked) == 3
    for errors in asked:
        assert dict(zip(expected, errors, strict=True)) == dict(expected)
    if by_32_bits != "none":
        assert by_32_bits == i386


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        pytest.param(*at, marks=pytest.mark.docker if at[0] == "docker" else pytest.mark.local_sandbox)
        for at in BY_LEVEL
    ],
)
async def test_a_run_is_denied_every_call_that_its_filter_names(kind: Kind, level: Isolation) -> None:
    await skip_without_namespaces(kind)
    expected = expected_of_a_run()
    assert len(expected) > 100
    numbers = [[number, argument] for _, number, argument in expected]
    i386 = [I386_HARMLESS, *I386]
    call = RunCall("a", canonical.encode([[numbers, i386], {}]))
    async with provider_at(kind, level) as provider:
        assert provider.isolation == level
        result = await provider.run(RunRequest(PROGRAM, "probe", (call,)))
    ((*answers,),) = values(result)
    check(answers, expected, [errno.ENOSYS] * len(i386))


@pytest.fixture
async def engine() -> AsyncIterator[DockerEngine]:
    engine = await DockerEngine.connect()
    yield engine
    await engine.close()


@pytest.mark.docker
@pytest.mark.parametrize(
    ("purpose", "wider"),
    [("strict", frozenset[str]()), ("uid_worker", frozenset[str]()), ("worker", worker_calls())],
)
async def test_a_container_is_denied_every_call_that_dockers_default_denies(
    engine: DockerEngine, docker_image: str, docker_provider: DockerProvider, purpose: Purpose, wider: frozenset[str]
) -> None:
    expected = expected_of_a_container(wider)
    assert len(expected) > 50
    numbers = [[number, argument] for _, number, argument in expected]
    i386 = [I386_HARMLESS, *(number for number in I386 if purpose != "worker" or number not in (21, 310))]
    ask = f"{PROGRAM}\nprint(json.dumps(probe(*json.loads(sys.argv[1]))))"
    bounds, owner = worker_bounds(Limits()), docker_provider.owner
    container = await Container.start(engine, image=docker_image, purpose=purpose, bounds=bounds, owner=owner)
    try:
        stream = await container.exec(["python3", "-c", ask, json.dumps([numbers, i386])], user=PROGRAMS)
        said: dict[int, bytes] = {1: b"", 2: b""}
        while (frame := await stream.read_frame()) is not None:
            said[frame[0]] += frame[1]
        stream.close()
        await stream.wait_closed()
    finally:
        await container.close()
    # 26, ptrace, is allowed by Docker's default: it ends in what the kernel says of tracing process 0.
    answers = json.loads(said[1] or said[2])
    if answers[-1] != "none":
        answers[-1] = [error for number, error in zip(i386, answers[-1], strict=True) if number not in (20, 26)]
    check(answers, expected, [errno.EPERM] * (len(i386) - 2))
