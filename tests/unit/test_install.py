"""Which torch an installation takes, in which order, and what it says before it takes much."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install.py"


class Machine:
    """What the script asks of the machine, answered; and what it asked pip for."""

    def __init__(self, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script = script
        self.torch: str | None = None
        self.gpu = False
        self.build: str | None = None
        self.reachable = True
        self.asked: list[tuple[str, ...]] = []
        self.said: list[str] = []
        monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
        monkeypatch.setattr(script, "installed_torch", lambda: self.torch)
        monkeypatch.setattr(script, "has_gpu", lambda: self.gpu)
        monkeypatch.setattr(script, "configured_cpu_build", lambda minimum: self.build)
        monkeypatch.setattr(script, "pip", self.pip)
        monkeypatch.setattr(script, "say", self.said.append)
        monkeypatch.setattr(script.platform, "system", lambda: "Linux")
        monkeypatch.setattr(script.platform, "machine", lambda: "x86_64")

    def pip(self, *arguments: str) -> bool:
        self.asked.append(arguments)
        return self.reachable or "--index-url" not in arguments


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    spec = importlib.util.spec_from_file_location("install_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return Machine(script, monkeypatch)


def test_a_torch_that_is_there_is_kept(machine: Machine) -> None:
    machine.torch, machine.build = "2.12.1+cpu", "2.13.0+cpu"
    assert machine.script.install_torch()
    assert machine.asked == []


def test_one_that_is_too_old_is_not(machine: Machine) -> None:
    machine.torch, machine.build = "2.3.0", "2.13.0+cpu"
    assert machine.script.install_torch()
    assert machine.asked == [("install", "--no-deps", "torch==2.13.0+cpu")]


def test_a_gpu_gets_the_gpu_build(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.gpu, machine.build = True, "2.13.0+cpu"
    monkeypatch.setenv("TORCH_INDEX_URL", "https://cpu.example/whl")
    assert machine.script.install_torch()
    assert machine.asked == [("install", "torch>=2.11")]
    assert "some GB" in machine.said[0]


def test_the_named_index_comes_before_what_pip_is_configured_with(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.build = "2.13.0+cpu"
    monkeypatch.setenv("TORCH_INDEX_URL", "https://cpu.example/whl")
    assert machine.script.install_torch()
    assert machine.asked == [("install", "--no-deps", "--index-url", "https://cpu.example/whl", "torch>=2.11")]


def test_then_comes_a_cpu_build_that_pip_is_configured_to_find(machine: Machine) -> None:
    machine.build = "2.13.0+cpu"
    assert machine.script.install_torch()
    assert machine.asked == [("install", "--no-deps", "torch==2.13.0+cpu")]


def test_then_pytorchs_public_index(machine: Machine) -> None:
    assert machine.script.install_torch()
    (asked,) = machine.asked
    assert asked[-3:] == ("--index-url", "https://download.pytorch.org/whl/cpu", "torch>=2.11")


def test_and_last_the_ordinary_index_after_its_size_was_said(machine: Machine) -> None:
    machine.reachable = False
    assert machine.script.install_torch()
    assert machine.asked[-1] == ("install", "torch>=2.11")
    assert any("3 GB to download" in line for line in machine.said)


def test_another_system_has_cpu_builds_on_the_ordinary_index(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.script.platform, "system", lambda: "Darwin")
    assert machine.script.install_torch()
    assert machine.asked == [("install", "torch>=2.11")]


def test_the_newest_cpu_build_is_found_in_what_pip_lists(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    listed = "torch (2.14.0)\nAvailable versions: 2.14.0, 2.13.0+cpu, 2.9.1+cpu, 2.12.0+cpu\n"

    class Done:
        stdout = listed

    monkeypatch.setattr(machine.script.subprocess, "run", lambda *a, **k: Done)
    assert machine.script.configured_cpu_build((2, 11)) == "2.13.0+cpu"
    assert machine.script.configured_cpu_build((2, 15)) is None
