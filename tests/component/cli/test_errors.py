"""The user's mistakes: one clear line and exit 2, and what other failures exit with."""

import json
import os
import subprocess
import sys

import pytest

from agent_rl.cli import main
from agent_rl.errors import CheckFailed, ConfigError, LearnerError, SandboxError


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a mistake of the user's prints; exit 2, and nothing like a traceback."""
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    return error


def test_a_missing_config(capsys):
    assert mistake(capsys, "train", "nowhere.toml") == "error: CONFIG: there is no file nowhere.toml\n"


def test_an_unknown_key_with_the_nearest_valid_one(capsys, config):
    error = mistake(capsys, "train", config, "--dry-run", "--set", "loop.group_sise=8")
    assert "loop.group_sise: unknown key" in error
    assert "did you mean 'group_size'?" in error


def test_a_value_of_the_wrong_kind(capsys, config):
    assert "loop.steps: " in mistake(capsys, "train", config, "--dry-run", "--set", "loop.steps=many")
    assert "--set: expected key=value" in mistake(capsys, "train", config, "--dry-run", "--set", "steps")


def test_a_group_of_one_with_maxrl(capsys, config):
    error = mistake(capsys, "train", config, "--dry-run", "--set", "loop.group_size=1")
    assert "loop.group_size: " in error
    assert "'maxrl' needs at least 2 rollouts of a task: fewer have no baseline, and no gradient" in error


@pytest.mark.parametrize("setting", ["sampling.top_p=0.9", "sampling.top_k=5"])
def test_truncated_sampling_in_training(capsys, config, setting):
    assert "bias the importance ratios: refused in training" in mistake(
        capsys, "train", config, "--dry-run", "--set", setting
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("class Ecco: pass", "has no 'Echo' (did you mean 'Ecco'?)"),
        ("Echo = 3", "is not an Environment"),
    ],
)
def test_an_environment_that_cannot_be_imported(capsys, config, text, message):
    (config.parent / "broken.py").write_text(text)
    named = f"{config.parent}/broken.py:Echo"
    assert message in mistake(capsys, "eval", "--env", named, "--policy", "gold", "--sandbox", "local")


def test_an_environment_that_is_not_registered(capsys):
    error = mistake(capsys, "eval", "--env", "maths", "--policy", "gold", "--sandbox", "local")
    assert "'maths' is not registered" in error


def test_an_unknown_option_of_an_environment(capsys):
    named = "agent_rl_envs.math:Math"
    error = mistake(capsys, "eval", "--env", named, "--option", "datsaet=x", "--policy", "gold", "--sandbox", "local")
    assert "environments.0.options" in error
    assert "did you mean 'dataset'?" in error
    assert "--option: expected KEY=VALUE" in mistake(
        capsys, "eval", "--env", named, "--option", "dataset", "--policy", "gold"
    )


def test_a_malformed_row_by_file_and_line(capsys, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n{"question": "q"}\n')
    arguments = ("--env", "agent_rl_envs.math:Math", "--option", f"dataset={path}", "--policy", "gold")
    assert f"{path}, line 2: 'answer' is missing" in mistake(capsys, "eval", *arguments, "--sandbox", "memory-test")


def test_a_model_without_a_chat_template(capsys, config, tiny_tokenizer):
    tiny_tokenizer(config.parent / "model")
    error = mistake(capsys, "eval", config, "--policy", config.parent / "model")
    assert "has no chat template" in error
    assert "model.chat_template" in error


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "--policy: name the policy to evaluate"),
        ("https://localhost:8000/v1", "a policy behind a URL cannot be evaluated"),
        ("{tmp}/model", "holds neither a model (config.json) nor a run that has written a checkpoint"),
        ("{tmp}/run.toml", "run.toml is neither a folder nor the name of a model on the hub"),
        ("../nowhere/at all", "is neither a folder nor the name of a model on the hub"),
    ],
)
def test_a_policy_that_is_none(capsys, config, spec, message):
    assert message in mistake(capsys, "eval", config, "--policy", spec.format(tmp=config.parent))


def test_questions_that_cannot_be_answered(capsys, config):
    assert "--k: pass@8 needs" in mistake(capsys, "eval", config, "--policy", "gold", "--samples", "4", "--k", "1,8")
    assert "--k: expected numbers" in mistake(capsys, "eval", config, "--policy", "gold", "--k", "one")
    assert "give either CONFIG or --env" in mistake(capsys, "eval", "--policy", "gold")
    assert "give either CONFIG or --env" in mistake(capsys, "eval", config, "--env", "math", "--policy", "gold")


def test_files_of_verify_that_are_none(capsys, tmp_path):
    arguments = ("verify", tmp_path / "tasks.jsonl", tmp_path / "solutions.jsonl", "--sandbox", "memory-test")
    assert "tasks.jsonl" in mistake(capsys, *arguments)


def test_nothing_to_resume(capsys, config, monkeypatch):
    monkeypatch.chdir(config.parent)
    assert "--resume: there is no run of run in runs/" in mistake(capsys, "train", config, "--resume")


def test_a_dry_run_prints_the_whole_configuration(capsys, config):
    import tomllib

    code, out, error = run(capsys, "train", config, "--dry-run", "--set", "loop.steps=7")
    assert (code, error) == (0, "")
    resolved = tomllib.loads(out)
    assert resolved["loop"]["steps"] == 7
    assert resolved["loop"]["max_staleness"] == 1
    assert not (config.parent / "runs").exists()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("bad", key="k"), 2, "error: k: bad"),
        (CheckFailed("no"), 1, "error: no"),
        (SandboxError("died"), 3, "error: died"),
        (ExceptionGroup("", [LearnerError("died"), ExceptionGroup("", [ConfigError("bad")])]), 2, "error: bad"),
        (ExceptionGroup("", [LearnerError("died")]), 3, "error: died"),
    ],
)
def test_every_error_is_one_line_and_a_code(capsys, monkeypatch, error, code, line):
    def fail(path):
        raise error

    monkeypatch.setattr("agent_rl.report.write_report", fail)
    assert run(capsys, "report", "somewhere") == (code, "", line + "\n")


def test_an_interrupt_exits_as_shells_expect(capsys, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("agent_rl.report.write_report", interrupt)
    assert run(capsys, "report", "somewhere")[0] == 130


def test_a_bug_is_shown_in_full_and_is_no_failed_check(capsys, monkeypatch):
    monkeypatch.setattr("agent_rl.report.write_report", lambda path: 1 / 0)
    code, _, error = run(capsys, "report", "somewhere")
    assert code == 3
    assert "ZeroDivisionError" in error


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user starts it."""
    program = "import sys; from agent_rl.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_the_process_exits_with_the_code_and_prints_no_traceback():
    done = command_line("train", "nowhere.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: CONFIG: there is no file nowhere.toml\n"
    assert command_line("nonsense").returncode == 2


def test_help_is_there_for_each_command_and_loads_nothing_heavy():
    program = """
import json, sys
from agent_rl.cli import main
codes = [main([*command, "--help"]) for command in json.loads(sys.argv[1])]
heavy = {"torch", "transformers", "datasets", "matplotlib", "docker", "rich.table", "numpy"} & set(sys.modules)
print(json.dumps([codes, sorted(heavy)]), file=sys.stderr)
"""
    names = ("train", "eval", "verify", "doctor", "report", "envs")
    commands = [[], *([name] for name in names), ["envs", "list"], ["envs", "new"], ["envs", "validate"]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    arguments = [sys.executable, "-c", program, json.dumps(commands)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=60)
    assert json.loads(done.stderr) == [[0] * len(commands), []]
    for name in names:
        assert f"\n  {name} " in done.stdout
