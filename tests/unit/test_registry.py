"""Names of classes: none is taken away by another package, and a missing package is named with its cure."""

from __future__ import annotations

import importlib.util
from importlib.metadata import EntryPoint

import pytest

from agent_rl import registry
from agent_rl.errors import ConfigError

GROUP = "agent_rl.environments"


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def installed(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_a_name_of_two_packages_is_refused_and_both_classes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = point("code", "pathlib:Path"), point("code", "decimal:Decimal")
    other = point("other", "fractions:Fraction")
    for points in ((mine, theirs, other), (theirs, mine, theirs, other)):
        installed(monkeypatch, *points)
        with pytest.raises(ConfigError, match="register 'code': name the class that is meant, decimal:Decimal or path"):
            registry.resolve("code", GROUP, key="environments.0.environment")
        # A class that is named in full, and other names, are as they were.
        assert registry.resolve("pathlib:Path", GROUP, key="k").__name__ == "Path"
        assert registry.resolve("other", GROUP, key="k").__name__ == "Fraction"


def test_a_package_that_is_found_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # An editable install beside an old one lists the same class twice.
    installed(monkeypatch, point("code", "pathlib:Path"), point("code", "pathlib:Path"))
    assert registry.resolve("code", GROUP, key="k").__name__ == "Path"


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.install_command("torch.nn") == "torch is not installed: pip install 'agent-rl[train]'"
    assert registry.install_command("vllm") == "vllm is not installed: pip install 'agent-rl[vllm]'"
    assert registry.install_command("no_such_package") == ""
    registry.require_packages("numpy")  # what is there is not asked for
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(ConfigError, match=r"torch is not installed: pip install 'agent-rl\[train\]'"):
        registry.require_packages("numpy", "torch")


def test_a_class_whose_module_needs_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"^KEY: torch is not installed: pip install 'agent-rl\[train\]'"):
        registry.resolve("package.module:Class", GROUP, key="KEY")
