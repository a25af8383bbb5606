"""Checks whether this machine can run the Docker or the local sandbox: what is needed, what is there, how to fix it."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from docker.errors import NotFound

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import AgentRLError, ConfigError, SandboxError
from agent_rl.vocabulary import Isolation, RunCall, RunRequest, SandboxSpec, canonical
from agent_rl_sandboxes.docker_container import missing_image
from agent_rl_sandboxes.docker_engine import DockerEngine
from agent_rl_sandboxes.docker_info import check_runtime, has_apparmor, is_rootless, unfit
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE, current_image
from agent_rl_sandboxes.kernel_switches import SwitchCheck, blockers, host_checks, refusing_switches
from agent_rl_sandboxes.local_provider import LocalProvider

_OLDEST_DOCKER = (20, 10)
_PROBE = RunRequest(
    program="def probe(x):\n    return x + 1\n",
    entry_point="probe",
    calls=(RunCall("a", canonical.encode([[41], {}])),),
)
_PROBE_RUNS = 20
_PROBE_SECONDS = 60.0
_LITTLE_DISK = 2**30


_MEANING: dict[Isolation, str] = {
    "namespaces": "each run has users, processes, files and a network of its own",
    "uid": "each run is a user of its own, in a container that others were in before it",
    "container": "each run has a place of its own, made anew for it, which takes long",
    "memory": "nothing keeps runs apart",
}
APPARMOR_REMEDY = (
    'set sandbox.docker.apparmor_profile to a profile that allows mount (or to "unconfined"): it is used only for the '
    "containers of workers, which keep their own system call filter, user and limits"
)


async def examine(
    options: DockerOptions = DockerOptions(),  # noqa: B008
    image: str | None = None,
) -> list[SwitchCheck]:
    """Every check, in the order in which to fix problems; per provider, one makes a worker and runs a program."""
    local = SandboxConfig(workers=1)
    checks = await _docker(SandboxConfig(workers=1, image=image), options)
    return [*checks, *host_checks(), await _probe("local", LocalProvider, local, DockerOptions(), {})]


def usable(checks: Sequence[SwitchCheck]) -> list[str]:
    """The providers whose probe ran a program, Docker first."""
    return [c.name.partition(":")[0] for c in checks if c.name.endswith(": worker") and c.status != "failed"]


async def _docker(config: SandboxConfig, options: DockerOptions) -> list[SwitchCheck]:
    try:
        engine = await DockerEngine.connect()
    except SandboxError as error:
        reason, _, remedy = str(error).partition(": ")
        return [SwitchCheck("docker: daemon", "failed", reason, remedy)]
    try:
        info = await engine.call(engine.api.info)
        checks = [_version(info, engine), runtime_check(info, options), _limits(info), _storage(info)]
        checks.append(_filters(info, options))
        checks.append(await _image(engine, config.image))
        if engine.endpoint.kind == "unix":
            checks.append(disk_check("docker: disk", Path(str(info.get("DockerRootDir") or "/var/lib/docker"))))
    except SandboxError as error:
        return [SwitchCheck("docker: daemon", "failed", str(error), "look at the daemon's log: `journalctl -u docker`")]
    finally:
        await engine.close()
    if any(c.status == "failed" for c in checks):
        return checks
    return [*checks, await _probe("docker", DockerProvider, config, options, info), await _episode(config, options)]


def _version(info: Mapping[str, Any], engine: DockerEngine) -> SwitchCheck:
    version = str(info.get("ServerVersion"))
    rootless = ", rootless" if is_rootless(info) else ""
    detail = f"version {version}{rootless}, API {engine.api.api_version}, at {engine.endpoint.address}"
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if len(numbers) == 2 and numbers < _OLDEST_DOCKER:
        return SwitchCheck("docker: daemon", "warning", detail, "not tried with versions before 20.10: upgrade Docker")
    return SwitchCheck("docker: daemon", "ok", detail)


def runtime_check(info: Mapping[str, Any], options: DockerOptions) -> SwitchCheck:
    """The runtime that containers start with; failed if the daemon does not know the configured one."""
    try:
        check_runtime(info, options.runtime)
    except ConfigError as error:
        reason, _, remedy = str(error).removeprefix("sandbox.docker.runtime: ").partition(": ")
        return SwitchCheck("docker: runtime", "failed", reason, remedy or "name one of these in sandbox.docker.runtime")
    if options.runtime is None:
        return SwitchCheck("docker: runtime", "ok", f"{info.get('DefaultRuntime', 'runc')}, the daemon's own choice")
    return SwitchCheck("docker: runtime", "ok", f"{options.runtime}, as sandbox.docker.runtime says")


def _limits(info: Mapping[str, Any]) -> SwitchCheck:
    detail = f"cgroup version {info.get('CgroupVersion', '1')}, driver {info.get('CgroupDriver')}"
    if (reason := unfit(info)) is not None:
        return SwitchCheck("docker: limits", "failed", detail, reason)
    if info.get("CpuCfsQuota") is False:
        return SwitchCheck(
            "docker: limits",
            "warning",
            f"{detail}; processor time is not limited, so programs can slow each other down",
            "delegate the cpu controller (rootless: https://docs.docker.com/engine/security/rootless/)",
        )
    if info.get("SwapLimit") is False:
        return SwitchCheck(
            "docker: limits",
            "warning",
            f"{detail}; swap is not limited, so a program may use more memory than it is given",
            "boot with `cgroup_enable=memory swapaccount=1`, or with cgroup version 2, or turn swap off",
        )
    return SwitchCheck("docker: limits", "ok", f"{detail}; memory, swap, processes and processor time are limited")


def _storage(info: Mapping[str, Any]) -> SwitchCheck:
    driver = str(info.get("Driver"))
    if driver == "vfs":
        return SwitchCheck(
            "docker: storage", "warning", "vfs copies the whole image for each container", "use the overlay2 driver"
        )
    return SwitchCheck("docker: storage", "ok", driver)


def disk_check(name: str, folder: Path) -> SwitchCheck:
    """Whether the disk of `folder` has room for more containers and what their programs write."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return SwitchCheck(name, "ok", f"{folder} cannot be looked at ({error.strerror})")
    detail = f"{free / 2**30:.1f} GiB are free in {folder}"
    if free >= _LITTLE_DISK:
        return SwitchCheck(name, "ok", detail)
    return SwitchCheck(name, "warning", f"{detail}; if it is full, no container starts", "`docker system prune`")


def _filters(info: Mapping[str, Any], options: DockerOptions) -> SwitchCheck:
    names = [str(o).removeprefix("name=").partition(",")[0] for o in info.get("SecurityOptions") or ()]
    kinds = [name for name in names if name in ("seccomp", "apparmor", "selinux")]
    if not has_apparmor(info):
        return SwitchCheck("docker: filters", "ok", ", ".join(kinds))
    if options.apparmor_profile is not None:
        return SwitchCheck("docker: filters", "ok", f"{', '.join(kinds)}; workers under {options.apparmor_profile!r}")
    detail = f"{', '.join(kinds)}; AppArmor's Docker profile denies mounts, which isolation 'namespaces' needs"
    return SwitchCheck("docker: filters", "warning", detail, APPARMOR_REMEDY)


async def _image(engine: DockerEngine, chosen: str | None) -> SwitchCheck:
    image = chosen or DEFAULT_IMAGE
    try:
        found = await engine.call(engine.api.inspect_image, image)
    except NotFound:
        return SwitchCheck("docker: image", "failed", f"{image} is missing", missing_image(image).partition(": ")[2])
    detail = f"{image}, {found['Id'][7:19]}, {found['Size'] / 1e6:.0f} MB"
    if chosen is None and await engine.call(current_image, engine.api, image) is None:
        return SwitchCheck(
            "docker: image", "warning", f"{detail}, built by another version", "run `agent-rl sandbox build`"
        )
    return SwitchCheck("docker: image", "ok", detail)


async def _probe(
    kind: Literal["docker", "local"],
    provider_class: type[SandboxProvider],
    config: SandboxConfig,
    options: DockerOptions,
    info: Mapping[str, Any],
) -> SwitchCheck:
    """Makes a worker and runs a program in it: the isolation reached, why not a higher one, how long a run takes."""
    name = f"{kind}: worker"
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            if (reason := await provider_class.available(config, options)) is not None:
                # The local sandbox's reason ends with this remedy; Docker's reasons include theirs.
                remedy = ". ".join(blockers()) if kind == "local" else ""
                return SwitchCheck(name, "failed", reason.removesuffix(remedy).rstrip(". "), remedy)
            async with provider_class(config, options) as provider:
                milliseconds = await _time_runs(provider)
                described = provider.describe()
                reasons = tuple(described.get("why_not_higher") or ())
                check = worker_check(kind, provider.isolation, reasons, milliseconds, options, info)
                return dataclasses.replace(check, detail=f"{check.detail}. {limits_said(described)}")
    except (AgentRLError, TimeoutError) as error:
        return SwitchCheck(
            name, "failed", f"a program could not be run: {error or 'no end in time'}", "see the checks above"
        )


def limits_said(described: Mapping[str, Any]) -> str:
    """By what a provider limits the memory and the time of runs, from its description."""
    waits = "does not count" if described.get("waits_known") else "counts, since the kernel does not tell it apart"
    return f"Memory is limited by {described.get('memory')}; time in which a run has no processor {waits}"


async def _time_runs(provider: SandboxProvider) -> float:
    """The median milliseconds of a trivial run. Raises SandboxError if its answer is wrong."""
    times: list[float] = []
    for _ in range(_PROBE_RUNS if provider.isolation == "namespaces" else 1):
        began = time.perf_counter()
        result = await provider.run(_PROBE)
        times.append(time.perf_counter() - began)
        if result.status != "completed" or not any("42" in frame for frame in result.frames):
            said = result.stderr.decode("utf-8", "replace").strip()[-300:]
            raise SandboxError(f"the probe's run was {result.status}, with {list(result.frames)!r} {said}")
    return statistics.median(times) * 1e3


def worker_check(
    kind: Literal["docker", "local"],
    isolation: Isolation,
    reasons: Sequence[str],
    milliseconds: float,
    options: DockerOptions,
    info: Mapping[str, Any],
    root: Path = Path("/"),
) -> SwitchCheck:
    """The level of isolation reached and what it means; why not the next better one, and what to do about it."""
    detail = f"isolation {isolation!r}: {_MEANING[isolation]}; a run takes {milliseconds:.1f} ms"
    if isolation == "namespaces":
        return SwitchCheck(f"{kind}: worker", "ok", detail, isolation=isolation)
    why = ". ".join(f"Not {level!r}: {reason}" for level, _, reason in (r.partition(": ") for r in reasons))
    remedies = _remedies(kind, reasons, options, info, root)
    return SwitchCheck(f"{kind}: worker", "warning", f"{detail}. {why}", ". ".join(remedies), isolation)


def _remedies(
    kind: Literal["docker", "local"],
    reasons: Sequence[str],
    options: DockerOptions,
    info: Mapping[str, Any],
    root: Path,
) -> list[str]:
    """What to do to get the best level, by what refused it; the kernel's switches apply to both providers."""
    switches = [switch.remedy for switch in refusing_switches(root)]
    if kind == "docker" and options.runtime is not None and info.get("DefaultRuntime") != options.runtime:
        return [
            f"nothing to fix if {options.runtime!r} is wanted for its own kernel, which offers no more: programs are "
            "held in by that. For 'namespaces' leave sandbox.docker.runtime away"
        ]
    if switches:
        return switches
    if kind == "docker" and has_apparmor(info) and options.apparmor_profile is None:
        return [APPARMOR_REMEDY]
    if kind == "local":
        return blockers(root)
    if any("ENOSPC" in reason for reason in reasons):
        return ["namespaces are at their limit: raise user.max_user_namespaces, or end other programs that hold some"]
    return ["the kernel or a filter around the Docker daemon refuses this (a daemon in a container or a virtual host?)"]


async def _episode(config: SandboxConfig, options: DockerOptions) -> SwitchCheck:
    """Makes an agent's sandbox and runs a command in it."""
    try:
        async with (
            asyncio.timeout(_PROBE_SECONDS),
            DockerProvider(config, options) as provider,
        ):
            sandbox = provider.sandbox(SandboxSpec())
            began = time.perf_counter()
            result = await sandbox.exec(["python3", "-c", "print(6 * 7)"])
            seconds = time.perf_counter() - began
            await sandbox.close()
    except (AgentRLError, TimeoutError) as error:
        return SwitchCheck("docker: episode", "failed", f"no sandbox could be made: {error or 'no end in time'}")
    if result.stdout != b"42\n":
        return SwitchCheck("docker: episode", "failed", f"a command was {result.status}: {result.stderr[-300:]!r}")
    return SwitchCheck("docker: episode", "ok", f"a sandbox's first command takes {seconds:.2f} s")
