"""Which wheels an image needs, and what it is called."""

from __future__ import annotations

import pytest

from agent_rl.errors import ConfigError
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
