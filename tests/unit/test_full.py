"""What `make full` demands of the control."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/full.py as a module."""
    spec = importlib.util.spec_from_file_location("full_for_tests", Path(__file__).parents[2] / "scripts" / "full.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def row(sampled: float, greedy: float) -> dict[str, object]:
    return {"pass_at_k": {"1": {"value": sampled}}, "greedy": {"value": greedy}}


@pytest.mark.parametrize(
    ("after", "met"), [(row(0.24, 0.1), (True, True)), (row(0.3, 0.34), (False, True)), (row(0.1, 0.36), (True, False))]
)
def test_the_control_may_gain_neither_in_sampled_nor_in_greedy_replies(full, after, met):
    bars = full.control_bars(row(0.2, 0.3), after, 13)
    assert [bar.what for bar in bars] == ["gain in pass@1 after 13 steps", "gain in greedy after 13 steps"]
    assert tuple(bar.met for bar in bars) == met
    assert {bar.wanted for bar in bars} == {"< 0.05"}
