"""Builds the image that programs and agents run in: from the Dockerfile, or from Debian packages without a registry."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import docker
import requests.exceptions
from docker.errors import DockerException, ImageNotFound

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import wording
from agent_rl_sandboxes.docker_engine import Endpoint, client, unreachable

DEFAULT_IMAGE = "agent-rl-python:latest"
CONTENT_LABEL = "agent-rl.content"
"""Carries the hash of what an image was built from, so that a build is skipped if nothing has changed."""

BUILD_SECONDS = 3600
"""How long one step of a build may be silent: pip in the image, or the daemon that keeps what it has installed."""
_SAID_CHARS = 1 << 16
"""Characters at the end of a failed build's output, of which its error shows the last lines."""
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_BUILDERS_OWN = (" ---> ", "Removing intermediate container ")
"""How lines begin that the builder adds to each step, beside what the step prints."""
_PACKAGES = ("python3", "python3-numpy", "python3-pytest")
_DEFAULT_SUITE = "bookworm"
_PUBLIC_MIRRORS = {"deb.debian.org", "security.debian.org", "archive.ubuntu.com", "security.ubuntu.com"}
_UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_HOOKS = (
    'chroot "$1" groupadd --gid 1000 agent',
    'chroot "$1" useradd --uid 1000 --gid 1000 --home-dir /work --no-create-home --shell /bin/sh agent',
    'mkdir -p "$1/work" && chroot "$1" chown 1000:1000 /work',
    'chroot "$1" find / -xdev -type f -perm /6000 -exec chmod a-s {} +',
)
_SETTINGS = (
    "USER 1000:1000",
    "WORKDIR /work",
    "ENV LANG=C.UTF-8",
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    'CMD ["python3"]',
)

BuildProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """The image now under `tag`, and whether it had to be built."""

    tag: str
    image_id: str
    action: Literal["built", "current"]


def build_image(
    bootstrap: bool = False,
    tag: str = DEFAULT_IMAGE,
    progress: BuildProgress = print,
    *,
    force: bool = False,
) -> Built:
    """`tag` names this version's image, which is built if it is missing or outdated, or with `force`.

    `bootstrap` builds from Debian (or Ubuntu) packages alone; otherwise the Dockerfile's base image comes from a
    registry. Either image counts as current. Raises SandboxError with what to do about it.
    """
    with building(tag) as api:
        found = current_image(api, tag)
        if found is not None and not force:
            progress(f"the image {tag} is there and up to date ({found[7:19]})")
            return Built(tag, found, "current")
        if bootstrap:
            _bootstrap(api, tag, progress)
        else:
            _from_dockerfile(api, tag, progress)
        image: str = api.inspect_image(tag)["Id"]
        progress(f"built {tag} ({image[7:19]})")
        return Built(tag, image, "built")


@contextlib.contextmanager
def building(tag: str) -> Iterator[docker.APIClient]:
    """A client of the daemon that builds the image `tag`. Raises SandboxError for what goes wrong with the daemon."""
    endpoint = Endpoint.find()
    try:
        api = client(endpoint, BUILD_SECONDS)
    except (DockerException, requests.exceptions.RequestException, OSError) as error:
        raise SandboxError(unreachable(endpoint, error)) from None
    try:
        yield api
    except (DockerException, requests.exceptions.RequestException) as error:
        raise SandboxError(f"the image {tag} could not be built: {error}") from error
    finally:
        api.close()


def current_image(api: docker.APIClient, tag: str) -> str | None:
    """The id of the image `tag` if this version built it; None if it is missing or another version's."""
    try:
        image = api.inspect_image(tag)
    except ImageNotFound:
        return None
    labels = image["Config"].get("Labels") or {}
    return image["Id"] if labels.get(CONTENT_LABEL) in (_dockerfile_hash(), _bootstrap_hash(host_suite())) else None


def build_folder(api: docker.APIClient, folder: Path, progress: BuildProgress = lambda line: None) -> str:
    """The tag of the image built from the Dockerfile in `folder`; built once per content of the folder."""
    if not (folder / "Dockerfile").is_file():
        raise SandboxError(f"there is no Dockerfile in {folder}")
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = file.read_bytes()
        mode = file.stat().st_mode & 0o111
        digest.update(json.dumps([str(file.relative_to(folder)), mode, len(content)]).encode() + content)
    tag = f"agent-rl-task:{digest.hexdigest()}"
    try:
        api.inspect_image(tag)
    except ImageNotFound:
        _build(api, folder, tag, digest.hexdigest(), progress)
    return tag


def host_suite() -> str:
    """The release to build from: the host's own if Debian or Ubuntu (the host has its keys); else bookworm."""
    facts: dict[str, str] = {}
    try:
        for line in Path("/etc/os-release").read_text().splitlines():
            key, _, value = line.partition("=")
            facts[key] = value.strip('"')
    except OSError:
        return _DEFAULT_SUITE
    known = facts.get("ID") in ("debian", "ubuntu") and facts.get("VERSION_CODENAME")
    return facts["VERSION_CODENAME"] if known else _DEFAULT_SUITE


def _dockerfile_hash() -> str:
    return _hash(files("agent_rl_sandboxes").joinpath("images", "python", "Dockerfile").read_text())


def _bootstrap_hash(suite: str) -> str:
    return _hash(json.dumps([suite, _PACKAGES, _UNWANTED, _HOOKS, _SETTINGS]))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _from_dockerfile(api: docker.APIClient, tag: str, progress: BuildProgress) -> None:
    progress(f"building {tag} from its Dockerfile (the base image is downloaded, about 50 MB)")
    with as_file(files("agent_rl_sandboxes").joinpath("images", "python")) as folder:
        try:
            _build(api, folder, tag, _dockerfile_hash(), progress)
        except SandboxError as error:
            raise SandboxError(
                f"{error}\nWhere no image registry can be reached: `agent-rl sandbox build --bootstrap`"
            ) from error


def _build(api: docker.APIClient, folder: Path, tag: str, content: str, progress: BuildProgress) -> None:
    said = ""
    try:
        answers: Iterator[dict[str, Any]] = api.build(
            path=str(folder), tag=tag, rm=True, forcerm=True, decode=True, labels={CONTENT_LABEL: content}
        )
        failed = ""
        for answer in answers:  # to the end, which closes the connection
            failed = failed or str(answer.get("error", "")).strip()
            stream = _COLOUR.sub("", answer.get("stream", ""))
            said = (said + stream * (not stream.startswith(_BUILDERS_OWN)))[-_SAID_CHARS:]
            if line := stream.strip():
                progress(line)
        if failed:
            raise SandboxError(f"the image {tag} could not be built: {failed}\n{wording.block(said)}".rstrip())
    except (DockerException, requests.exceptions.RequestException) as error:
        raise SandboxError(f"the image {tag} could not be built: {error}") from error


def _bootstrap(api: docker.APIClient, tag: str, progress: BuildProgress) -> None:
    suite = host_suite()
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise SandboxError("mmdebstrap is missing; as root run `apt-get install mmdebstrap`")
    progress(f"building {tag} from the packages of {suite} (about 80 MB are downloaded; half a minute)")
    with tempfile.TemporaryDirectory(prefix="agent-rl-image-") as folder:
        archive = Path(folder, "rootfs.tar")
        command = [tool, "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
        command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _UNWANTED]
        command += [f"--customize-hook={hook}" for hook in _HOOKS]
        # To stdout: in its unprivileged mode mmdebstrap writes as another user, who cannot enter our folder.
        command += [suite, "-", *_private_mirrors(suite)]
        _run_mmdebstrap(command, archive, progress)
        progress(f"importing {archive.stat().st_size / 1e6:.0f} MB into Docker")
        settings = [*_SETTINGS, f"LABEL {CONTENT_LABEL}={_bootstrap_hash(suite)}"]
        name, _, version = tag.rpartition(":")
        answer = api.import_image_from_file(str(archive), repository=name, tag=version, changes=settings)
    for line in str(answer).splitlines():
        if '"error"' in line:
            raise SandboxError(f"Docker did not take the image: {line}")


def _run_mmdebstrap(command: list[str], archive: Path, progress: BuildProgress) -> None:
    said: list[str] = []
    with (
        archive.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace") as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.rstrip())
            if line.startswith("I:"):
                progress(f"  {line[2:].strip()}")
    if process.returncode != 0:
        remedy = (
            ""
            if os.geteuid() == 0
            else (
                "\nAn ordinary user needs uid ranges and unprivileged user namespaces for this: as root run "
                "`apt-get install mmdebstrap uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
                "$USER`, or let root run `agent-rl sandbox build --bootstrap` once: the image is the daemon's"
            )
        )
        raise SandboxError("mmdebstrap failed:\n" + "\n".join(said[-8:]) + remedy)


def _private_mirrors(suite: str) -> list[str]:
    """The mirrors that the host gets `suite` from; none if they are the public ones, which mmdebstrap knows."""
    try:
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = [line.split() for line in listed.splitlines()]
    mirrors = {f[2] for f in found if len(f) == 3 and f[0] == suite and f[1] == "main"}
    public = any(urlparse(mirror).hostname in _PUBLIC_MIRRORS for mirror in mirrors)
    return [] if public else sorted(mirrors)
