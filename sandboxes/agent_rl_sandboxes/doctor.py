"""Is this machine ready for either sandbox? Each thing that they need, what was found, and how to mend it."""

from __future__ import annotations

import asyncio
import platform
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from docker.errors import NotFound

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import AgentRLError, SandboxError
from agent_rl.verify import canonical
from agent_rl.vocabulary import RunCall, RunRequest, SandboxSpec
from agent_rl_sandboxes.build import DEFAULT_IMAGE, current_image
from agent_rl_sandboxes.docker import DockerProvider, unfit
from agent_rl_sandboxes.docker_container import missing_image
from agent_rl_sandboxes.docker_engine import Engine
from agent_rl_sandboxes.local import LocalProvider

Status = Literal["ok", "warning", "failed"]

_OLDEST_DOCKER = (20, 10)
_PROBE = RunRequest(
    program="def probe(x):\n    return x + 1\n",
    entry_point="probe",
    calls=(RunCall("a", canonical.encode([[41], {}])),),
)
_PROBE_RUNS = 20
_PROBE_SECONDS = 60.0
_LITTLE_DISK = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a sandbox needs. `name` begins with whose need it is (docker, host, local)."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


async def examine(config: SandboxConfig | None = None) -> list[Check]:
    """Every check, in the order in which to mend; the last of each provider's makes a slot and runs a program in it."""
    config = config or SandboxConfig()
    return [*await _docker(config), *host_checks(), await _probe("local: slot", LocalProvider, config)]


def usable(checks: Sequence[Check]) -> list[str]:
    """The providers whose probe ran a program, Docker first."""
    return [c.name.partition(":")[0] for c in checks if c.name.endswith(": slot") and c.status != "failed"]


async def _docker(config: SandboxConfig) -> list[Check]:
    try:
        engine = await Engine.connect()
    except SandboxError as error:
        reason, _, remedy = str(error).partition(": ")
        return [Check("docker: daemon", "failed", reason, remedy)]
    try:
        info = await engine.call(engine.api.info)
        checks = [_version(info, engine), _limits(info), _storage(info), _filters(info, config)]
        checks.append(await _image(engine, config))
        if engine.endpoint.kind == "unix":
            checks.append(disk_check("docker: disk", Path(str(info.get("DockerRootDir") or "/var/lib/docker"))))
    except SandboxError as error:
        return [Check("docker: daemon", "failed", str(error), "look at the daemon's log: `journalctl -u docker`")]
    finally:
        await engine.close()
    if any(c.status == "failed" for c in checks):
        return checks
    return [*checks, await _probe("docker: slot", DockerProvider, config), await _episode(config)]


def _version(info: Mapping[str, Any], engine: Engine) -> Check:
    version = str(info.get("ServerVersion"))
    rootless = " (rootless)" if any("rootless" in str(o) for o in info.get("SecurityOptions") or ()) else ""
    detail = f"version {version}{rootless}, API {engine.api.api_version}, at {engine.endpoint.address}"
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if len(numbers) == 2 and numbers < _OLDEST_DOCKER:
        return Check("docker: daemon", "warning", detail, "not tried with versions before 20.10: upgrade Docker")
    return Check("docker: daemon", "ok", detail)


def _limits(info: Mapping[str, Any]) -> Check:
    detail = f"cgroup version {info.get('CgroupVersion', '1')}, driver {info.get('CgroupDriver')}"
    if (reason := unfit(info)) is not None:
        return Check("docker: limits", "failed", detail, reason)
    if info.get("CpuCfsQuota") is False:
        return Check(
            "docker: limits",
            "warning",
            f"{detail}; processor time is not limited, so programs can slow each other down",
            "delegate the cpu controller (rootless: https://docs.docker.com/engine/security/rootless/)",
        )
    if info.get("SwapLimit") is False:
        return Check(
            "docker: limits",
            "warning",
            f"{detail}; swap is not limited, so a program may use more memory than it is given",
            "boot with `cgroup_enable=memory swapaccount=1`, or with cgroup version 2, or turn swap off",
        )
    return Check("docker: limits", "ok", f"{detail}; memory, swap, processes and processor time are limited")


def _storage(info: Mapping[str, Any]) -> Check:
    driver = str(info.get("Driver"))
    if driver == "vfs":
        return Check(
            "docker: storage", "warning", "vfs copies the whole image for each container", "use the overlay2 driver"
        )
    return Check("docker: storage", "ok", driver)


def disk_check(name: str, folder: Path) -> Check:
    """Whether the disk of `folder` has room for more containers and what their programs write."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check(name, "ok", f"{folder} cannot be looked at ({error.strerror})")
    detail = f"{free / 2**30:.1f} GiB are free in {folder}"
    if free >= _LITTLE_DISK:
        return Check(name, "ok", detail)
    return Check(name, "warning", f"{detail}; where it is full, no container starts", "`docker system prune`")


def _filters(info: Mapping[str, Any], config: SandboxConfig) -> Check:
    options = [str(o) for o in info.get("SecurityOptions") or ()]
    if any("apparmor" in o for o in options) and config.apparmor_profile is None:
        return Check(
            "docker: filters",
            "warning",
            "seccomp; AppArmor's Docker profile denies mounts, without which runs get containers of their own (slow)",
            'set sandbox.apparmor_profile to a profile that allows mount (or to "unconfined"): it is used only for the '
            "containers of slots, which keep their own system call filter, user and limits",
        )
    names = [o.removeprefix("name=").partition(",")[0] for o in options]
    return Check("docker: filters", "ok", ", ".join(names) or "none")


async def _image(engine: Engine, config: SandboxConfig) -> Check:
    image = config.image or DEFAULT_IMAGE
    try:
        found = await engine.call(engine.api.inspect_image, image)
    except NotFound:
        return Check("docker: image", "failed", f"{image} is missing", missing_image(image).partition(": ")[2])
    detail = f"{image}, {found['Id'][7:19]}, {found['Size'] / 1e6:.0f} MB"
    if config.image is None and await engine.call(current_image, engine.api, image) is None:
        return Check("docker: image", "warning", f"{detail}, built by another version", "run `agent-rl sandbox build`")
    return Check("docker: image", "ok", detail)


async def _probe(name: str, provider_class: Any, config: SandboxConfig) -> Check:
    """A slot is made and a program run in it: the isolation had, why not a higher one, how long it took."""
    config = config.model_copy(update={"slots": 1, "minimum_isolation": "container"})
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            if (reason := await provider_class.available(config)) is not None:
                return Check(name, "failed", "not to be had here", reason)
            async with provider_class(config) as provider:
                milliseconds = await _time_runs(provider)
                return _isolation(name, provider, milliseconds)
    except (AgentRLError, TimeoutError) as error:
        return Check(name, "failed", f"a program could not be run: {error or 'no end in time'}", "see the checks above")


async def _time_runs(provider: SandboxProvider) -> float:
    """The median milliseconds of a trivial run. Raises SandboxError where its answer is not the right one."""
    times: list[float] = []
    for _ in range(_PROBE_RUNS if provider.isolation == "namespaces" else 1):
        began = time.perf_counter()
        result = await provider.run(_PROBE)
        times.append(time.perf_counter() - began)
        if result.status != "completed" or not any("42" in frame for frame in result.frames):
            said = result.stderr.decode("utf-8", "replace").strip()[-300:]
            raise SandboxError(f"the probe's run was {result.status}, with {list(result.frames)!r} {said}")
    return statistics.median(times) * 1e3


def _isolation(name: str, provider: SandboxProvider, milliseconds: float) -> Check:
    detail = f"isolation {provider.isolation!r}, a run takes {milliseconds:.1f} ms"
    if provider.isolation == "namespaces":
        return Check(name, "ok", detail)
    why = "; ".join(provider.describe().get("why_not_higher") or ())
    blocked = " ".join(c.remedy for c in host_checks() if c.status == "failed")
    return Check(name, "warning", f"{detail}; {why}", blocked or "runs are slower; see the checks of filters above")


async def _episode(config: SandboxConfig) -> Check:
    """An agent's sandbox is made and a command run in it."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS), DockerProvider(config.model_copy(update={"slots": 1})) as provider:
            sandbox = provider.sandbox(SandboxSpec())
            began = time.perf_counter()
            result = await sandbox.exec(["python3", "-c", "print(6 * 7)"])
            seconds = time.perf_counter() - began
            await sandbox.close()
    except (AgentRLError, TimeoutError) as error:
        return Check("docker: episode", "failed", f"no sandbox could be made: {error or 'no end in time'}")
    if result.stdout != b"42\n":
        return Check("docker: episode", "failed", f"a command was {result.status}: {result.stderr[-300:]!r}")
    return Check("docker: episode", "ok", f"a sandbox's first command takes {seconds:.2f} s")


def host_checks(root: Path = Path("/")) -> list[Check]:
    """What this kernel allows an ordinary user, as read from `root`; the local sandbox needs all of it."""
    if platform.system() != "Linux":
        return [Check("host: kernel", "failed", platform.system(), "the local sandbox needs Linux: use Docker")]
    checks = [
        _switch(root, "kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        _switch(root, "user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        _switch(
            root,
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ]
    python = root / "usr/bin/python3"
    checks.append(
        Check("host: python", "ok", str(python))
        if python.exists()
        else Check("host: python", "failed", "/usr/bin/python3 is missing", "as root: `apt-get install python3`")
    )
    known = _read(root / "proc/filesystems") or ""
    checks.append(
        Check("host: tmpfs", "ok", "known to the kernel")
        if "\ttmpfs" in known
        else Check("host: tmpfs", "failed", "not known to the kernel", "use a kernel with CONFIG_TMPFS")
    )
    return checks


def _switch(root: Path, name: str, forbidding: str, command: str) -> Check:
    """A kernel setting that forbids user namespaces at the value `forbidding`; one that is absent forbids nothing."""
    title = f"host: {name.replace('/', '.')}"
    value = _read(root / "proc/sys" / name)
    if value is None:
        return Check(title, "ok", "not present in this kernel")
    if value.strip() != forbidding:
        return Check(title, "ok", value.strip())
    return Check(
        title,
        "failed",
        f"{value.strip()}: ordinary users cannot make namespaces",
        f"as root: `{command}` (and the same line in /etc/sysctl.d/90-agent-rl.conf to keep it)",
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
