"""The image is built once per content, from packages alone where asked, and failures say what to do."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound

from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.vocabulary import RunCall, RunRequest, SandboxSpec
from agent_rl.vocabulary.canonical import encode
from agent_rl_sandboxes import image_build
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.image_build import CONTENT_LABEL, build_image, current_image, host_suite
from agent_rl_sandboxes.image_packages import build_with

TAG = f"agent-rl-test:{os.getpid()}"


@pytest.mark.docker
def test_an_image_that_is_up_to_date_is_not_built_again(docker_image: str, docker_api: docker.APIClient) -> None:
    said: list[str] = []
    for bootstrap in (False, True):
        built = build_image(bootstrap, docker_image, said.append)
        assert (built.action, built.image_id) == ("current", docker_api.inspect_image(docker_image)["Id"])
    assert all("up to date" in line for line in said)


@pytest.mark.docker
def test_an_image_of_another_content_is_not_current(
    docker_image: str, docker_api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert current_image(docker_api, docker_image) is not None
    assert current_image(docker_api, "nothing:here") is None
    monkeypatch.setattr(image_build, "_PACKAGES", ("python3", "something-new"))
    monkeypatch.setattr(image_build, "_dockerfile_hash", lambda: "another")
    assert current_image(docker_api, docker_image) is None


@pytest.mark.docker
@pytest.mark.full
async def test_bootstrap_builds_a_small_image_that_runs_programs_as_nobody_in_particular(
    docker_api: docker.APIClient,
) -> None:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is missing")
    try:
        assert build_image(True, TAG, lambda line: None).action == "built"
        assert build_image(True, TAG, lambda line: None).action == "current"
        image = docker_api.inspect_image(TAG)
        assert image["Size"] < 250e6
        assert image["Config"]["User"] == "1000:1000"
        assert CONTENT_LABEL in image["Config"]["Labels"]
        async with DockerProvider(SandboxConfig(workers=1, image=TAG)) as provider:
            sandbox = provider.sandbox(SandboxSpec())
            result = await sandbox.exec(["python3", "-c", "import json, numpy, sqlite3, ssl, os; print(os.getuid())"])
            assert (result.stdout, result.stderr) == (b"1000\n", b"")
            setuid = await sandbox.exec(["sh", "-c", "find / -xdev -perm /6000 -type f 2>/dev/null"])
            assert setuid.stdout == b""
    finally:
        with contextlib.suppress(ImageNotFound):
            docker_api.remove_image(TAG, force=True)


@pytest.mark.docker
def test_what_is_missing_for_a_bootstrap_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None: ...

    monkeypatch.setattr(shutil, "which", nothing)
    with pytest.raises(SandboxError, match="as root run `apt-get install mmdebstrap`"):
        build_image(True, TAG, lambda line: None)


@pytest.mark.docker
def test_a_failed_bootstrap_shows_its_last_words_and_an_ordinary_user_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "mmdebstrap"
    fake.write_text("#!/bin/sh\necho 'I: hello' >&2\necho 'E: no mirror answers' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said: list[str] = []
    for euid, expected in ((0, "E: no mirror answers$"), (1000, "as root run `apt-get install mmdebstrap uidmap")):
        as_user: Callable[[], int] = lambda euid=euid: euid  # noqa: E731
        monkeypatch.setattr(os, "geteuid", as_user)
        with pytest.raises(SandboxError, match=expected):
            build_image(True, TAG, said.append)
    assert "  hello" in said


def test_the_release_is_the_hosts_own_or_bookworm() -> None:
    assert host_suite().isalpha()


def test_without_a_daemon_the_build_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(SandboxError, match="no Docker daemon answers at"):
        build_image()


@pytest.mark.docker
def test_a_folder_without_a_dockerfile_is_refused(docker_api: docker.APIClient, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="there is no Dockerfile in"):
        image_build.build_folder(docker_api, tmp_path)


@pytest.mark.docker
@pytest.mark.full
async def test_packages_are_added_to_an_image_that_is_otherwise_the_same(
    docker_image: str, docker_api: docker.APIClient
) -> None:
    # The wheels are downloaded: an index is needed, as by `make setup`.
    tag = f"agent-rl-test:with-{os.getpid()}"
    try:
        assert build_with(["texttable"], tag, lambda line: None, base=docker_image).action == "built"
        assert build_with(["texttable"], tag, lambda line: None, base=docker_image).action == "current"
        made, below = (docker_api.inspect_image(name)["Config"] for name in (tag, docker_image))
        assert [made[key] for key in ("User", "Cmd", "Entrypoint", "Env", "WorkingDir")] == [
            below[key] for key in ("User", "Cmd", "Entrypoint", "Env", "WorkingDir")
        ]
        program = "import texttable\ndef f():\n    return texttable.__name__\n"
        async with DockerProvider(SandboxConfig(workers=1, image=tag)) as provider:
            result = await provider.run(RunRequest(program, "f", (RunCall("1", encode([(), {}])),)))
            assert '"texttable"' in "".join(result.frames)
            left = await provider.sandbox(SandboxSpec()).exec(["sh", "-c", "ls -d /agent-rl-wheels"])
            assert left.exit_code != 0
    finally:
        with contextlib.suppress(ImageNotFound):
            docker_api.remove_image(tag, force=True)


@pytest.mark.docker
@pytest.mark.full
def test_a_package_that_no_index_has_is_named(docker_image: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be downloaded:\n.*no-such-package-anywhere"):
        build_with(["no-such-package-anywhere"], "agent-rl-test:never", lambda line: None, base=docker_image)
    with pytest.raises(SandboxError, match="the image 'nothing:here' is missing: run `agent-rl sandbox build` first"):
        build_with(["texttable"], "agent-rl-test:never", lambda line: None, base="nothing:here")
