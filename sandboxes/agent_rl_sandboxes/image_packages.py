"""Images with more Python packages: wheels are downloaded here and installed inside, where there is no network.

So the index, proxies and certificates that this machine's pip is configured with are used, and a daemon on another
machine needs none of them. Wheels are chosen for the interpreter of the image, not for the one that runs this.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound

from agent_rl.errors import ConfigError, SandboxError
from agent_rl_sandboxes.image_build import BUILD_SECONDS, CONTENT_LABEL, DEFAULT_IMAGE, BuildProgress, Built, building

SCIENCE_IMAGE = "agent-rl-science:latest"
SCIENCE = ("agent_rl_sandboxes", "images/science/requirements.txt")
"""What HumanEval+, MBPP+ and BigCodeBench import: the packages of the image `science`."""
_WHEELS = "/agent-rl-wheels"
_DESCRIBE = """
import json, platform, sys
print(json.dumps([*sys.version_info[:2], platform.machine(), *platform.libc_ver()]))
"""
_NO_WHEEL = re.compile(r"No matching distribution found for (\S[^\n]*?)\s*$", re.MULTILINE)
"""Of pip: no wheel, or no package of that name at all."""
_TAG_CHARS = 60


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python of an image: its version, the machine, and the C library that its wheels are built for."""

    major: int
    minor: int
    machine: str
    libc: str
    libc_version: str

    def pip_options(self) -> list[str]:
        """Options of `pip download` that choose wheels for this interpreter."""
        release = f"{self.major}{self.minor}"
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.major}.{self.minor}"]
        options += [f"--abi={abi}" for abi in (f"cp{release}", "abi3", "none")]
        return options + [f"--platform={platform}" for platform in self._platforms()]

    def _platforms(self) -> list[str]:
        """The platform tags that the C library can load, the newest first (PEP 600)."""
        if self.libc != "glibc":
            return [f"musllinux_1_{minor}_{self.machine}" for minor in (2, 1)]
        newest = int(self.libc_version.split(".")[1])
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, 4, -1)]
        return [*tags, *(f"{name}_{self.machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1"))]


def science_packages() -> list[str]:
    """The requirements of the image `science`."""
    return read_requirements(files(SCIENCE[0]).joinpath(SCIENCE[1]).read_text())


def read_requirements(text: str) -> list[str]:
    """The lines of a requirements file without comments. Options of pip in it (`-r`, `--index-url`) are refused."""
    lines = [line.split(" #")[0].strip() for line in text.splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    for line in wanted:
        if line.startswith("-"):
            raise ConfigError(
                f"only packages can stand in a requirements file here, not {line!r}", key="--requirements"
            )
    return wanted


def tag_with(packages: Sequence[str]) -> str:
    """The name of the default image with `packages`, such as agent-rl-python:numpy-pandas."""
    text = re.sub(r"[^\w.]+", "-", "-".join(sorted(packages))).strip("-.")
    if len(text) > _TAG_CHARS:
        text = f"{text[: _TAG_CHARS - 9]}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
    return f"{DEFAULT_IMAGE.partition(':')[0]}:{text}"


def build_with(
    packages: Sequence[str],
    tag: str,
    progress: BuildProgress = print,
    *,
    base: str = DEFAULT_IMAGE,
    force: bool = False,
) -> Built:
    """`tag` names the image `base` with `packages` installed; built if it is missing or outdated, or with `force`.

    Raises ConfigError for a package that pip does not find, and SandboxError with what to do about it.
    """
    with building(tag) as api:
        return _build_with(api, packages, tag, progress, base, force)


def _build_with(
    api: docker.APIClient, packages: Sequence[str], tag: str, progress: BuildProgress, base: str, force: bool
) -> Built:
    try:
        under = api.inspect_image(base)
    except ImageNotFound:
        raise SandboxError(f"the image {base!r} is missing: run `agent-rl sandbox build` first") from None
    content = hashlib.blake2b(json.dumps([under["Id"], sorted(packages)]).encode(), digest_size=16).hexdigest()
    with contextlib.suppress(ImageNotFound):
        found = api.inspect_image(tag)
        if (found["Config"].get("Labels") or {}).get(CONTENT_LABEL) == content and not force:
            progress(f"the image {tag} is there and up to date ({found['Id'][7:19]})")
            return Built(tag, found["Id"], "current")
    with _root_container(api, base) as container, tempfile.TemporaryDirectory(prefix="agent-rl-wheels-") as folder:
        interpreter = Interpreter(*json.loads(_inside(api, container, ["python3", "-I", "-c", _DESCRIBE])))
        progress(f"downloading {', '.join(packages)} for Python {interpreter.major}.{interpreter.minor}")
        _download(packages, interpreter, Path(folder))
        size = sum(wheel.stat().st_size for wheel in Path(folder).iterdir())
        progress(f"installing {size / 1e6:.0f} MB of wheels in {tag}")
        _install(api, container, packages, Path(folder))
        image = _commit(api, container, under["Config"], tag, content)
    progress(f"built {tag} ({image[7:19]})")
    return Built(tag, image, "built")


def _download(packages: Sequence[str], interpreter: Interpreter, folder: Path) -> None:
    """Wheels of `packages`, of all that they need, and of pip are in `folder`. Raises ConfigError or SandboxError.

    A package that is published as source alone is built here, if its wheel fits every interpreter.
    """
    if importlib.util.find_spec("pip") is None:
        raise SandboxError(f"pip is missing beside agent-rl: install it with `{sys.executable} -m ensurepip`")
    failed = _pip("download", f"--dest={folder}", "--no-deps", "--only-binary=:all:", "--", "pip")
    options = [f"--dest={folder}", f"--find-links={folder}", *interpreter.pip_options()]
    built: set[str] = set()
    while not failed and (failed := _pip("download", *options, "--", *packages)):
        without_wheel = _NO_WHEEL.search(failed)
        if without_wheel is None or without_wheel[1] in built:
            break
        built.add(without_wheel[1])
        if _pip("wheel", f"--wheel-dir={folder}", "--no-deps", "--", without_wheel[1]):
            break
        unfit = [wheel.name for wheel in folder.glob("*.whl") if not wheel.name.endswith("-none-any.whl")]
        if any(_same_project(name, without_wheel[1]) for name in unfit):
            failed = f"ERROR: {without_wheel[1]} has no wheel for this interpreter, and is not pure Python"
            break
        failed = ""
    if failed:
        said = [line for line in failed.splitlines() if line.startswith("ERROR")] or failed.splitlines()
        raise ConfigError("these packages cannot be downloaded:\n" + "\n".join(said[-4:]), key="--with")


def _pip(verb: str, *arguments: str) -> str:
    """What pip says of its failure; "" if it succeeds."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", verb, "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
    return "" if done.returncode == 0 else done.stderr.strip() or f"ERROR: pip {verb} failed"


def _same_project(wheel: str, requirement: str) -> bool:
    names = [re.sub(r"[-_.]+", "-", name).lower() for name in (wheel.partition("-")[0], requirement)]
    return bool(re.match(rf"{re.escape(names[0])}(?![\w.-])", names[1]))


def _install(api: docker.APIClient, container: str, packages: Sequence[str], folder: Path) -> None:
    """The packages are installed in the container, and the wheels are gone from it."""
    names = sorted(wheel.name for wheel in folder.iterdir())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, arcname=_WHEELS.strip("/"))
    api.put_archive(container, "/", archive.getvalue())
    pip = next(f"{_WHEELS}/{name}/pip" for name in names if name.startswith("pip-"))
    options = ["--no-index", f"--find-links={_WHEELS}", "--no-cache-dir", "--ignore-installed", "--quiet"]
    options += ["--break-system-packages", "--root-user-action=ignore", "--no-warn-script-location"]
    _inside(api, container, ["python3", "-I", pip, "install", *options, "--", *packages])
    _inside(api, container, ["rm", "-rf", _WHEELS])


def _commit(api: docker.APIClient, container: str, config: dict[str, Any], tag: str, content: str) -> str:
    """The id of the image made from the container, with the user and the command of the image below."""
    changes = [f"USER {config.get('User') or '0:0'}", f"LABEL {CONTENT_LABEL}={content}"]
    changes += [f"{key.upper()} {json.dumps(config[key])}" for key in ("Entrypoint", "Cmd") if config.get(key)]
    name, _, version = tag.rpartition(":")
    if not name or "/" in version:
        name, version = tag, "latest"
    return str(api.commit(container, repository=name, tag=version, changes=changes)["Id"])


@contextlib.contextmanager
def _root_container(api: docker.APIClient, image: str) -> Iterator[str]:
    """A running container of `image` without a network, as root; removed at the end."""
    options = api.create_host_config(network_mode="none")
    hold = ["sleep", str(BUILD_SECONDS)]
    # An entry point that was set here would stay in the committed image if the image below has none.
    entrypoint = hold[:1] if api.inspect_image(image)["Config"].get("Entrypoint") else None
    command = hold[1:] if entrypoint else hold
    made = api.create_container(image, command, entrypoint=entrypoint, user="0:0", host_config=options)
    try:
        api.start(made["Id"])
        yield made["Id"]
    finally:
        api.remove_container(made["Id"], force=True)


def _inside(api: docker.APIClient, container: str, command: list[str]) -> str:
    """The output of a command in the container. Raises SandboxError with its last lines if it failed."""
    started = api.exec_create(container, command, user="0:0")
    output = api.exec_start(started["Id"]).decode("utf-8", "replace")
    if api.exec_inspect(started["Id"])["ExitCode"] != 0:
        raise SandboxError(f"{' '.join(command[:4])} failed in the image:\n" + "\n".join(output.splitlines()[-8:]))
    return output
