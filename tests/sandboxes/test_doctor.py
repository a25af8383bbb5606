"""The doctor names what blocks and says how to mend it, from what a kernel and a daemon say of themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent_rl.config import SandboxConfig
from agent_rl_sandboxes import commands, doctor
from agent_rl_sandboxes.docker import unfit
from agent_rl_sandboxes.doctor import Check, examine, host_checks, usable

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


def by_name(checks: list[Check]) -> dict[str, Check]:
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
    ],
)
def test_a_switch_that_forbids_namespaces_is_named_with_its_remedy(
    tmp_path: Path, switch: str, value: str, remedy: str
) -> None:
    failed = [check for check in host_checks(kernel(tmp_path, **{switch: value})) if check.status == "failed"]
    assert [check.name for check in failed] == [f"host: {switch.replace('__', '.')}"]
    assert remedy in failed[0].remedy
    assert "as root" in failed[0].remedy


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
    checks = by_name(await examine(SandboxConfig()))
    daemon = checks["docker: daemon"]
    assert daemon.status == "failed"
    assert daemon.detail == f"no Docker daemon answers at {tmp_path}/none.sock"
    assert "set DOCKER_HOST" in daemon.remedy
    assert "docker: slot" not in checks
    assert "local: slot" in checks


async def test_a_transport_that_cannot_attach_says_how_to_forward_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://user@host")
    daemon = by_name(await examine(SandboxConfig()))["docker: daemon"]
    assert daemon.status == "failed"
    assert "ssh -nNT -L" in daemon.detail + daemon.remedy


@pytest.mark.docker
async def test_with_a_daemon_every_check_passes_and_a_program_has_run() -> None:
    checks = by_name(await examine(SandboxConfig()))
    assert [name for name, check in checks.items() if check.status == "failed" and name.startswith("docker")] == []
    assert checks["docker: slot"].detail.startswith("isolation '")
    assert " ms" in checks["docker: slot"].detail
    assert checks["docker: episode"].status == "ok"
    assert "docker" in usable(list(checks.values()))


@pytest.mark.docker
async def test_a_missing_image_is_a_failed_check() -> None:
    image = by_name(await examine(SandboxConfig(image="nothing:here")))["docker: image"]
    assert (image.status, image.detail) == ("failed", "nothing:here is missing")
    assert "agent-rl sandbox build" in image.remedy


def test_the_command_writes_what_it_shows_and_fails_where_nothing_is_usable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checks = [
        Check("docker: daemon", "failed", "none answers", "start it"),
        Check("local: slot", "failed", "no [namespaces]", "allow them"),
    ]

    async def answer(config: SandboxConfig) -> list[Check]:
        return checks

    monkeypatch.setattr(commands, "examine", answer)
    file = tmp_path / "doctor.json"
    result = CliRunner().invoke(commands.sandbox_app, ["doctor", "--json", str(file)])
    assert "no [namespaces]" in result.output
    assert "mend: allow them" in result.output
    assert "neither Docker nor the local sandbox" in str(result.exception)
    assert json.loads(file.read_text()) == {
        "schema_version": 1,
        "usable": [],
        "checks": [
            {"name": "docker: daemon", "status": "failed", "detail": "none answers", "remedy": "start it"},
            {"name": "local: slot", "status": "failed", "detail": "no [namespaces]", "remedy": "allow them"},
        ],
    }
    checks[1] = Check("local: slot", "warning", "isolation 'uid'")
    assert CliRunner().invoke(commands.sandbox_app, ["doctor"]).exit_code == 0
    assert doctor.usable(checks) == ["local"]


def test_a_disk_that_is_nearly_full_is_a_warning_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2**30))
    assert doctor.disk_check("docker: disk", tmp_path).status == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2**30 - 1))
    check = doctor.disk_check("docker: disk", tmp_path)
    assert (check.status, check.remedy) == ("warning", "`docker system prune`")
    assert check.detail.startswith(f"1.0 GiB are free in {tmp_path}")
