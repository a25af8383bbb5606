"""Installs the project into the virtual environment that runs this, with a torch that suits the machine.

Run by setup.sh. Does nothing if a stamp says that it is done. Without a GPU, torch is, in this order: one that is
there already; from the index TORCH_INDEX_URL; a CPU build in the places that pip is configured with; from PyTorch's
public CPU index (another one: PYTORCH_CPU_INDEX); and only then what the ordinary index has, after saying the size.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = Path(sys.prefix) / "agent-rl-setup.json"
CPU_INDEX = os.environ.get("PYTORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
EXTRAS = "train,dev,docs"
FAILED = 3


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def pip(*arguments: str) -> bool:
    """Whether pip of this environment did what it was asked; its progress is shown."""
    return subprocess.run([*PIP, *arguments], check=False).returncode == 0


def stamp() -> dict[str, str]:
    """What an installation depends on: the project's metadata, where it lies, and the Python."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return {"pyproject": digest, "root": str(ROOT), "python": sys.version, "extras": EXTRAS}


def is_done() -> bool:
    try:
        return json.loads(STAMP.read_text()) == stamp()
    except (OSError, ValueError):
        return False


def torch_requirement() -> str:
    """Such as `torch>=2.11`, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(r for r in project["optional-dependencies"]["train"] if re.match(r"torch\b", r))


def numbers(version: str) -> tuple[int, ...]:
    """The release of a version, for comparison: 2.13.0+cpu is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def installed_torch() -> str | None:
    """The version of the torch that this Python has; None if it has none."""
    # In a process of its own: what pip has just installed is not in this one's caches.
    program = "from importlib.metadata import version; print(version('torch'))"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def works() -> bool:
    """Whether torch and the command line can be imported."""
    return subprocess.run([sys.executable, "-c", "import torch, agent_rl.cli"], check=False).returncode == 0


def has_gpu() -> bool:
    """Whether an NVIDIA GPU answers."""
    if shutil.which("nvidia-smi") is None:
        return False
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "GPU" in done.stdout


def configured_cpu_build(minimum: tuple[int, ...]) -> str | None:
    """The newest version that pip's configured indexes and links have as a CPU build (`2.13.0+cpu`); None for none."""
    listed = subprocess.run([*PIP, "index", "versions", "torch"], text=True, capture_output=True, check=False).stdout
    match = re.search(r"Available versions: (.*)", listed)
    versions = [v.strip() for v in match[1].split(",")] if match else []
    builds = [v for v in versions if v.endswith("+cpu") and numbers(v) >= minimum]
    return max(builds, key=numbers, default=None)


def install_torch() -> bool:
    """Whether a torch that suits this machine is installed now."""
    requirement = torch_requirement()
    minimum = numbers(requirement)
    there = installed_torch()
    if there is not None and numbers(there) >= minimum:
        say(f"torch {there} is installed already")
        return True
    # Its dependencies come with the project's, from the ordinary index: a torch index may not have them.
    alone = ("install", "--no-deps")
    if has_gpu():
        say(f"an NVIDIA GPU answers: installing the GPU build of {requirement} (some GB)")
        return pip("install", requirement)
    index = os.environ.get("TORCH_INDEX_URL")
    if index:
        say(f"installing {requirement} from TORCH_INDEX_URL, {index}")
        return pip(*alone, "--index-url", index, requirement)
    build = configured_cpu_build(minimum)
    if build is not None:
        say(f"no GPU: installing the CPU build torch {build}, which pip is configured to find (about 0.2 GB)")
        return pip(*alone, f"torch=={build}")
    if platform.system() == "Linux":
        say(f"no GPU: looking for a CPU build of {requirement} in {CPU_INDEX} (about 0.2 GB)")
        patience = ("--timeout", "15", "--retries", "1")
        if pip(*alone, *patience, "--index-url", CPU_INDEX, requirement):
            return True
        say("that index cannot be reached, or has none for this Python: falling back on the ordinary index")
        if platform.machine() == "x86_64":
            say("its build brings CUDA libraries that this machine cannot use: about 3 GB to download, 7 GB on disk")
            say("(to avoid this, interrupt now and set TORCH_INDEX_URL to an index with CPU builds)")
    return pip("install", requirement)


def install_project() -> bool:
    """Whether the project and all it needs are installed, with torch left as it is."""
    torch = installed_torch()
    constraints = Path(sys.prefix) / "agent-rl-constraints.txt"
    constraints.write_text(f"torch=={torch}\n")
    say(f"installing agent-rl and what it needs, with torch {torch} (about 0.3 GB)")
    command = [*PIP, "install", "--constraint", str(constraints), "--editable", f"{ROOT}[{EXTRAS}]"]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as installing:
        assert installing.stdout is not None
        for line in installing.stdout:
            if not line.startswith("Requirement already satisfied"):
                print(line, end="", flush=True)
    return installing.returncode == 0


def failed(what: str) -> int:
    arguments: Sequence[str] = (
        f"{what} could not be installed: see pip's message above.",
        "pip takes an index from PIP_INDEX_URL, further ones from PIP_EXTRA_INDEX_URL, a proxy from https_proxy.",
    )
    print("\n".join(arguments), file=sys.stderr)
    return FAILED


def main() -> int:
    """Exit code 0 if the project is installed, else 3."""
    if is_done():
        say(f"{Path(sys.prefix).name} is up to date")
        return 0
    STAMP.unlink(missing_ok=True)
    if not install_torch():
        return failed("torch")
    if not install_project():
        return failed("agent-rl")
    if not works():
        return failed("a torch that can be imported")
    STAMP.write_text(json.dumps(stamp()))
    say("installed; `source .venv/bin/activate` puts agent-rl on your path")
    return 0


if __name__ == "__main__":
    sys.exit(main())
