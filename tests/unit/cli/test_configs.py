"""Every config that is shipped resolves, names what exists, and says in a comment what it costs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from agent_rl.algorithms import with_defaults
from agent_rl.cli import main
from agent_rl.config import load_config
from agent_rl.environments import make_environments
from agent_rl.judging.task_verifier import make_verifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.toml"))


def test_people_find_what_they_start_from() -> None:
    assert {config.name for config in CONFIGS} >= {
        "quickstart.toml",
        "arithmetic-tool.toml",
        "humaneval_eval.toml",
        "code_qwen_1gpu_colocated.toml",
        "code_qwen_2gpu_split.toml",
    }


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_dry_run_prints_it_resolved(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", str(config), "--dry-run"]) == 0
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(capsys.readouterr().out)
    assert load_config(resolved) == with_defaults(load_config(config))
    assert tomllib.loads(resolved.read_text()).keys() >= tomllib.loads(config.read_text()).keys()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_its_environments_and_their_options_exist(config: Path) -> None:
    loaded = load_config(config)
    made = make_environments(loaded.environments, make_verifier(loaded.sandbox, InMemoryProvider(), 0))
    assert len(made) == len(loaded.environments)


@pytest.mark.parametrize("config", [c for c in CONFIGS if "qwen" in c.stem], ids=lambda path: path.stem)
def test_a_comment_shows_what_memory_it_takes(config: Path) -> None:
    comment = [line for line in config.read_text().splitlines() if line.startswith("#")]
    assert any("GB" in line and "bytes" in line for line in comment)


def test_a_shipped_config_is_found_by_its_name_from_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_config(next(c for c in CONFIGS if c.stem == "quickstart"))
    for name in ("quickstart", "quickstart.toml", "configs/quickstart.toml"):
        assert load_config(name) == shipped
    # A file of one's own comes first, and another folder's name is not looked up.
    (tmp_path / "quickstart.toml").write_text(CONFIGS[0].read_text())
    assert load_config("quickstart.toml") == load_config(CONFIGS[0])
    assert main(["train", "mine/quickstart.toml"]) == 2
    assert main(["train", "quickstat"]) == 2
    said = capsys.readouterr().err
    assert "there is no file mine/quickstart.toml" in said
    assert "did you mean 'quickstart'?" in said


def test_wheel_and_sdist_hold_what_the_help_names() -> None:
    built = tomllib.loads((CONFIGS[0].parents[1] / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert built["wheel"]["force-include"] == {"configs": "agent_rl/configs"}
    assert {"configs", "scripts", "tests", "docs"} <= set(built["sdist"]["include"])
