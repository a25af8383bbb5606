"""What commands say of the sandbox: tables of single providers, overrides of their keys, options that stand for it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from agent_rl.cli import main
from agent_rl.config import load_config

RUN = '[[environments]]\nenvironment = "code"\n[model]\npath = "m"\n'


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(f'{RUN}[sandbox]\nworkers = 3\nimage = "mine:1"\n[sandbox.docker]\napparmor_profile = "mine"\n')
    return path


def test_a_dry_run_prints_the_tables_and_what_it_prints_can_be_read_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config: Path
) -> None:
    code, out, _ = run(capsys, "train", config, "--dry-run", "--set", "sandbox.docker.runtime=runsc")
    assert code == 0
    sandbox = tomllib.loads(out)["sandbox"]
    assert (sandbox["workers"], sandbox["image"]) == (3, "mine:1")
    assert sandbox["docker"] == {"apparmor_profile": "mine", "runtime": "runsc"}
    (tmp_path / "again.toml").write_text(out)
    assert load_config(tmp_path / "again.toml").to_toml() == out


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sandbox.docker.runtme=x", "sandbox.docker.runtme: unknown key in [sandbox.docker] (did you mean 'runtime'?)"),
        (
            "sandbox.docker.runtime=3",
            "sandbox.docker.runtime: Input should be a valid string, got 3 ([sandbox.docker])",
        ),
        (
            "sandbox.dokcer.runtime=x",
            "sandbox.dokcer: no provider of this name is registered (docker, local, ",
        ),
        ("sandbox.dokcer.runtime=x", "(did you mean 'docker'?)"),
        ("sandbox.wrkers=3", "sandbox.wrkers: unknown key in"),
        ("sandbox.provider=local", "sandbox.docker: this table is given, and provider = 'local' does not read it"),
        ("sandbox.remote.hosts=[]", "sandbox.remote: this table is given, and provider = 'auto' does not read it"),
    ],
)
def test_a_dry_run_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], config: Path, setting: str, says: str
) -> None:
    code, out, error = run(capsys, "train", config, "--dry-run", "--set", setting)
    assert (code, out) == (2, "")
    assert says in error


@pytest.mark.parametrize(
    ("sandbox", "says"),
    [
        ("local", "sandbox.image: the local sandbox has no images"),
        ("http://127.0.0.1:1", "sandbox.image: each host has an image of its own"),
    ],
)
def test_a_sandbox_without_images_refuses_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sandbox: str, says: str
) -> None:
    arguments = ("--sandbox", sandbox, "--image", "mine:1")
    for command in (
        ("verify", tmp_path / "tasks.jsonl", tmp_path / "solutions.jsonl"),
        ("eval", "--env", "synthesis", "--policy", "gold"),
        ("envs", "validate", "synthesis"),
    ):
        code, _, error = run(capsys, *command, *arguments)
        assert (code, says in error) == (2, True), error


def test_verify_takes_its_number_of_workers_by_either_name_and_refuses_options_that_nothing_reads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tasks, solutions = tmp_path / "tasks.jsonl", tmp_path / "solutions.jsonl"
    task = {
        "task_id": "one/0",
        "prompt": "def one():\n",
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    tasks.write_text(json.dumps(task) + "\n")
    solutions.write_text(json.dumps({"task_id": "one/0", "completion": "    return 1\n"}) + "\n")
    for option in ("--workers", "--slots"):
        code, out, _ = run(capsys, "verify", tasks, solutions, "--sandbox", "docker", option, "0")
        assert (code, out) == (2, "")
    code, _, error = run(capsys, "verify", tasks, solutions, "--sandbox", "local", "--set", "docker.runtime=runsc")
    assert code == 2
    assert "sandbox.docker: this table is given, and provider = 'local' does not read it" in error
