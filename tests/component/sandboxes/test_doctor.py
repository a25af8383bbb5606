"""The doctor names what blocks and says how to fix it, from what a kernel and a daemon say of themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent_rl.errors import SandboxError
from agent_rl_sandboxes import sandbox_commands, sandbox_doctor
from agent_rl_sandboxes.docker_info import has_apparmor, is_rootless, unfit
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.kernel_switches import SwitchCheck, blockers, host_checks
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.sandbox_doctor import examine, runtime_check, usable, worker_check

INFO: dict[str, Any] = {
    "OSType": "linux",
    "MemoryLimit": True,
    "PidsLimit": True,
    "SwapLimit": True,
    "CgroupVersion": "2",
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
}


def kernel(root: Path, **switches: str) -> Path:
    """A root folder whose /proc/sys holds `switches` (dots as double underscores), with python3 and tmpfs."""
    for name, value in switches.items():
        file = root / "proc/sys" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/filesystems").write_text("nodev\ttmpfs\n\text4\n")
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/bin/python3").touch()
    return root


def by_name(checks: list[SwitchCheck]) -> dict[str, SwitchCheck]:
    return {check.name: check for check in checks}


def test_a_permissive_kernel_passes(tmp_path: Path) -> None:
    checks = host_checks(kernel(tmp_path, kernel__unprivileged_userns_clone="1", user__max_user_namespaces="95000"))
    assert {check.status for check in checks} == {"ok"}
    assert by_name(checks)["host: user.max_user_namespaces"].detail == "95000"


@pytest.mark.parametrize(
    ("switch", "value", "remedy"),
    [
        ("kernel__unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user__max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        (
            "kernel__apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user__max_net_namespaces", "0", "sysctl -w user.max_net_namespaces=15000"),
    ],
)
def test_a_switch_that_forbids_namespaces_is_named_with_its_remedy(
    tmp_path: Path, switch: str, value: str, remedy: str
) -> None:
    failed = [check for check in host_checks(kernel(tmp_path, **{switch: value})) if check.status == "failed"]
    assert [check.name for check in failed] == [f"host: {switch.replace('__', '.')}"]
    assert remedy in failed[0].remedy
    assert "as root" in failed[0].remedy
    # The local sandbox says the same where it refuses.
    (blocker,) = blockers(tmp_path)
    assert blocker.startswith(f"{switch.replace('__', '.')} is {value}, so that ")
    assert failed[0].remedy in blocker


def test_where_no_switch_refuses_a_filter_around_this_process_may(tmp_path: Path) -> None:
    root = kernel(tmp_path)
    assert blockers(root) == ["Otherwise use Docker: sandbox.provider = 'docker'"]
    (root / "proc/self").mkdir()
    (root / "proc/self/status").write_text("Seccomp:\t2\n")
    assert "--security-opt seccomp=unconfined" in blockers(root)[0]


# Which level, what it means, why not the next, and what to do


REFUSED = "namespaces: unshare(CLONE_NEWUSER): EPERM (Operation not permitted)"


def test_the_best_level_needs_no_remedy(tmp_path: Path) -> None:
    check = worker_check("docker", "namespaces", (), 4.04, DockerOptions(), INFO, kernel(tmp_path))
    assert (check.name, check.status, check.isolation, check.remedy) == ("docker: worker", "ok", "namespaces", "")
    assert check.detail == (
        "isolation 'namespaces': each run has users, processes, files and a network of its own; a run takes 4.0 ms"
    )


def test_a_weaker_level_says_what_refused_each_better_one_and_the_switch_to_turn(tmp_path: Path) -> None:
    root = kernel(tmp_path, user__max_user_namespaces="0")
    reasons = (REFUSED, "uid: becoming user 1900000000: EPERM (Operation not permitted)")
    check = worker_check("docker", "container", reasons, 200.0, DockerOptions(), INFO, root)
    assert (check.status, check.isolation) == ("warning", "container")
    assert check.detail.startswith("isolation 'container': each run has a place of its own, made anew for it")
    assert "Not 'namespaces': unshare(CLONE_NEWUSER): EPERM (Operation not permitted). Not 'uid': becom" in check.detail
    assert check.remedy.startswith("as root: `sysctl -w user.max_user_namespaces=15000`")


APPARMOR = {**INFO, "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"]}


@pytest.mark.parametrize(
    ("options", "info", "reason", "remedy"),
    [
        # Docker's AppArmor profile: EACCES at the first mount.
        (
            DockerOptions(),
            APPARMOR,
            "namespaces: mounting none on /: EACCES (Permission denied)",
            'set sandbox.docker.apparmor_profile to a profile that allows mount (or to "unconfined")',
        ),
        (
            DockerOptions(apparmor_profile="unconfined"),
            APPARMOR,
            REFUSED,
            "the kernel or a filter around the Docker daemon refuses this",
        ),
        (
            DockerOptions(),
            INFO,
            "namespaces: unshare(CLONE_NEWUSER): ENOSPC (No space)",
            "namespaces are at their limit",
        ),
        (
            DockerOptions(runtime="runsc"),
            {**INFO, "DefaultRuntime": "runc"},
            "namespaces: writing /proc/self/setgroups: ENOENT (No such file or directory)",
            "nothing to fix if 'runsc' is wanted for its own kernel",
        ),
    ],
)
def test_each_thing_that_blocks_has_its_remedy(
    tmp_path: Path, options: DockerOptions, info: dict[str, Any], reason: str, remedy: str
) -> None:
    check = worker_check("docker", "uid", (reason,), 10.0, options, info, kernel(tmp_path))
    assert check.remedy.startswith(remedy)
    assert check.detail.endswith(f"Not 'namespaces': {reason.partition(': ')[2]}")


def test_for_the_local_sandbox_the_remedy_is_this_hosts(tmp_path: Path) -> None:
    root = kernel(tmp_path, kernel__apparmor_restrict_unprivileged_userns="1")
    check = worker_check("local", "container", (REFUSED,), 10.0, DockerOptions(), {}, root)
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in check.remedy


async def test_where_no_worker_can_be_had_the_reason_and_the_remedy_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def refused(self: LocalProvider, setup: object) -> None:
        raise SandboxError("the worker server cannot start: unshare(CLONE_NEWUSER): EPERM")

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(LocalProvider, "_open", refused)
    monkeypatch.setattr(sandbox_doctor, "blockers", lambda: ["turn this"])
    monkeypatch.setattr("agent_rl_sandboxes.local_provider.blockers", lambda: ["turn this"])
    worker = by_name(await examine())["local: worker"]
    reason = "the local sandbox cannot work here: the worker server cannot start: unshare(CLONE_NEWUSER): EPERM"
    assert (worker.status, worker.detail, worker.remedy) == ("failed", reason, "turn this")


# Runtimes and rootless daemons, as they describe themselves


def test_the_runtime_is_said_and_an_unknown_one_fails_with_those_there_are() -> None:
    info = {**INFO, "Runtimes": {"runc": {}, "crun": {}}, "DefaultRuntime": "runc"}
    assert runtime_check(info, DockerOptions()).detail == "runc, the daemon's own choice"
    assert runtime_check(info, DockerOptions(runtime="crun")).status == "ok"
    check = runtime_check(info, DockerOptions(runtime="runsc"))
    assert (check.status, check.detail) == ("failed", "this Docker daemon has no such runtime, only crun, runc")
    assert check.remedy == "install gVisor, then as root `runsc install` and `systemctl restart docker`"


# What `docker info` says of a rootless daemon 24.0 on Ubuntu 24.04 with systemd and delegated controllers.
ROOTLESS: dict[str, Any] = {
    **INFO,
    "ServerVersion": "24.0.7",
    "CgroupDriver": "systemd",
    "CpuCfsQuota": True,
    "Driver": "overlay2",
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"],
}


def test_a_rootless_daemon_is_accepted_and_one_without_controllers_is_not() -> None:
    assert unfit(ROOTLESS) is None
    assert is_rootless(ROOTLESS)
    assert not is_rootless(INFO)
    # AppArmor profiles need root: no remedy is offered for what is not there.
    assert not has_apparmor(ROOTLESS)
    limits = sandbox_doctor._limits(ROOTLESS)
    assert (limits.status, limits.detail) == (
        "ok",
        "cgroup version 2, driver systemd; memory, swap, processes and processor time are limited",
    )
    # Only memory and pids are delegated to users by default: programs are held in, and may slow each other down.
    slow = sandbox_doctor._limits({**ROOTLESS, "CpuCfsQuota": False})
    assert (slow.status, "delegate the cpu controller (rootless" in slow.remedy) == ("warning", True)
    # Cgroup version 1, or no systemd: nothing is limited.
    bare = {**ROOTLESS, "CgroupVersion": "1", "CgroupDriver": "none", "MemoryLimit": False, "PidsLimit": False}
    reason = unfit(bare)
    assert reason is not None
    assert reason.startswith("this Docker daemon cannot enforce memory and process limits (cgroup version 1, rootless")


def test_a_missing_python_and_tmpfs_are_named(tmp_path: Path) -> None:
    checks = by_name(host_checks(tmp_path))
    assert checks["host: python"].remedy == "as root: `apt-get install python3`"
    assert checks["host: tmpfs"].status == "failed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"OSType": "windows"}, "Linux containers are needed"),
        ({"MemoryLimit": False, "CgroupVersion": "1"}, "cannot enforce memory limits"),
        ({"PidsLimit": False}, "cannot enforce process limits"),
        ({"SecurityOptions": ["name=rootless"]}, "no seccomp"),
    ],
)
def test_a_daemon_that_cannot_hold_programs_in_is_refused(change: dict[str, Any], reason: str | None) -> None:
    found = unfit({**INFO, **change})
    assert found is None if reason is None else found is not None and reason in found


async def test_without_a_daemon_only_docker_fails_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    checks = by_name(await examine())
    daemon = checks["docker: daemon"]
    assert daemon.status == "failed"
    assert daemon.detail == f"no Docker daemon answers at {tmp_path}/none.sock"
    assert "set DOCKER_HOST" in daemon.remedy
    assert "docker: worker" not in checks
    assert "local: worker" in checks


async def test_a_transport_that_cannot_attach_says_how_to_forward_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://user@host")
    daemon = by_name(await examine())["docker: daemon"]
    assert daemon.status == "failed"
    assert "ssh -nNT -L" in daemon.detail + daemon.remedy


@pytest.mark.docker
async def test_with_a_daemon_every_check_passes_and_a_program_has_run() -> None:
    checks = by_name(await examine())
    assert [name for name, check in checks.items() if check.status == "failed" and name.startswith("docker")] == []
    worker = checks["docker: worker"]
    assert worker.isolation in ("namespaces", "uid", "container")
    assert worker.detail.startswith(f"isolation {worker.isolation!r}: each run ")
    assert " ms" in checks["docker: worker"].detail
    assert checks["docker: episode"].status == "ok"
    assert "docker" in usable(list(checks.values()))


@pytest.mark.docker
async def test_a_missing_image_is_a_failed_check() -> None:
    image = by_name(await examine(image="nothing:here"))["docker: image"]
    assert (image.status, image.detail) == ("failed", "nothing:here is missing")
    assert "agent-rl sandbox build" in image.remedy


def test_the_command_writes_what_it_shows_and_fails_where_nothing_is_usable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checks = [
        SwitchCheck("docker: daemon", "failed", "none answers", "start it"),
        SwitchCheck("local: worker", "failed", "no [namespaces]", "allow them"),
    ]

    async def answer(options: DockerOptions, image: str | None) -> list[SwitchCheck]:
        return checks

    monkeypatch.setattr(sandbox_commands, "examine", answer)
    file = tmp_path / "doctor.json"
    result = CliRunner().invoke(sandbox_commands.sandbox_app, ["doctor", "--json", str(file)])
    assert "no [namespaces]" in result.output
    assert "fix: allow them" in result.output
    assert "neither Docker nor the local sandbox" in str(result.exception)
    assert json.loads(file.read_text()) == {
        "schema_version": 1,
        "usable": [],
        "isolation": {},
        "checks": [
            {
                "name": "docker: daemon",
                "status": "failed",
                "detail": "none answers",
                "remedy": "start it",
                "isolation": None,
            },
            {
                "name": "local: worker",
                "status": "failed",
                "detail": "no [namespaces]",
                "remedy": "allow them",
                "isolation": None,
            },
        ],
    }
    checks[1] = SwitchCheck("local: worker", "warning", "isolation 'uid'", isolation="uid")
    result = CliRunner().invoke(sandbox_commands.sandbox_app, ["doctor", "--json", str(file)])
    assert result.exit_code == 0
    assert result.output.endswith("usable: local (isolation 'uid')\n")
    assert json.loads(file.read_text())["isolation"] == {"local": "uid"}
    assert sandbox_doctor.usable(checks) == ["local"]


def test_a_disk_that_is_nearly_full_is_a_warning_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2**30))
    assert sandbox_doctor.disk_check("docker: disk", tmp_path).status == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2**30 - 1))
    check = sandbox_doctor.disk_check("docker: disk", tmp_path)
    assert (check.status, check.remedy) == ("warning", "`docker system prune`")
    assert check.detail.startswith(f"1.0 GiB are free in {tmp_path}")
