"""Which wheels an image needs, and what it is called."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from agent_rl.errors import ConfigError
from agent_rl_sandboxes import image_packages
from agent_rl_sandboxes.image_packages import Interpreter, read_requirements, science_packages, tag_with


def test_wheels_are_chosen_for_the_image_and_not_for_this_machine() -> None:
    options = Interpreter(3, 12, "aarch64", "glibc", "2.17").pip_options()
    assert options[:4] == ["--only-binary=:all:", "--implementation=cp", "--python-version=3.12", "--abi=cp312"]
    platforms = [option.partition("=")[2] for option in options if option.startswith("--platform=")]
    # What glibc 2.17 loads: wheels for it and for older ones, by their new and their old names; nothing newer.
    assert (platforms[0], platforms[-1]) == ("manylinux_2_17_aarch64", "manylinux1_aarch64")
    assert "manylinux2014_aarch64" in platforms
    assert all("x86_64" not in platform and "2_18" not in platform for platform in platforms)
    assert "--platform=musllinux_1_2_x86_64" in Interpreter(3, 12, "x86_64", "", "").pip_options()


def test_a_requirements_file_holds_packages_and_comments() -> None:
    assert read_requirements("# all\nnumpy>=1.26  # arrays\n\n pandas\n") == ["numpy>=1.26", "pandas"]
    with pytest.raises(ConfigError, match=r"only packages can stand in a requirements file here, not '-r more\.txt'"):
        read_requirements("numpy\n-r more.txt\n")
    packages = science_packages()
    assert {"numpy", "pandas", "scipy", "scikit-learn", "matplotlib"} <= set(packages)
    assert len(packages) == len(set(packages))


def test_an_image_is_named_after_its_packages_whatever_their_order() -> None:
    assert tag_with(["pandas", "numpy"]) == tag_with(["numpy", "pandas"]) == "agent-rl-python:numpy-pandas"
    assert tag_with(["numpy>=1.26,<2"]) == "agent-rl-python:numpy-1.26-2"
    many = [f"package{n}" for n in range(40)]
    assert len(tag_with(many).partition(":")[2]) <= 60
    assert tag_with(many) != tag_with([*many[:-1], "another"])


class _Index:
    """What `pip` says where `wheels` exist, and `sources` are built as the wheels that are named."""

    def __init__(self, folder: Path, wheels: set[str], sources: dict[str, str]) -> None:
        self.folder, self.wheels, self.sources = folder, wheels, sources
        self.built: list[str] = []

    def __call__(self, verb: str, *arguments: str) -> str:
        wanted = arguments[arguments.index("--") + 1 :]
        if verb == "wheel":
            self.built += wanted
            if wanted[0] not in self.sources:
                return "ERROR: no source"
            (self.folder / self.sources[wanted[0]]).touch()
            return ""
        here = {wheel.name.partition("-")[0] for wheel in self.folder.iterdir()} | self.wheels | {"pip"}
        missing = [name for name in wanted if name not in here]
        return f"ERROR: Could not find it\nERROR: No matching distribution found for {missing[0]}" if missing else ""


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ({"old": "old-1.0-py3-none-any.whl"}, ""),
        (
            {"old": "old-1-cp311-cp311-linux_x86_64.whl"},
            "old has no wheel for this interpreter, and is not pure Python",
        ),
        ({}, "No matching distribution found for old"),
    ],
)
def test_a_package_without_wheels_is_built_if_it_is_pure_python(
    source: dict[str, str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = _Index(tmp_path, {"numpy"}, source)
    monkeypatch.setattr(image_packages, "_pip", index)
    with pytest.raises(ConfigError, match=re.escape(error)) if error else contextlib.nullcontext():
        image_packages._download(["numpy", "old"], Interpreter(3, 11, "x86_64", "glibc", "2.36"), tmp_path)
    assert index.built == ["old"]
