"""What the commands do when all is well, and when a check does not hold."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from itertools import islice
from pathlib import Path

import pytest

from agent_rl.audit.mutation_score import MutationScore, SplitMutationScore, Survivor
from agent_rl.audit.null_agents import stub_replies
from agent_rl.audit.validation_report import SplitReport, TaskProblem, TaskReport, ValidationReport
from agent_rl.cli import main
from agent_rl.cli.new_environment import write_environment
from agent_rl.cli.train_command import latest_run, new_run, print_outcome
from agent_rl.cli.validation_tables import print_report
from agent_rl.config import parse_config
from agent_rl.errors import ConfigError
from agent_rl.records.eval_file import append_row
from agent_rl.records.eval_row import Estimate, EvalRow
from agent_rl.records.run_directory import RunDirectory
from agent_rl.registry import resolve

MEMORY = ("--sandbox", "memory-test")
SYNTHETIC = '''
from agent_rl.contracts import Environment
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import AnswerTests, Message, Task, Verdict

class Echo(Environment):
    """Passes who says the answer; made wrong by its options' name."""

    async def load(self, split):
        if split not in ("train", "test"):
            raise ConfigError("the splits are train and test", key="split", value=split)
        return [Task(f"echo/{{split}}/{{n}}", (Message.user({prompt}),), AnswerTests("yes"), oracle={oracle})
                for n in range(3)]

    async def rollout(self, task, agent, sandbox):
        passed = {passes}
        return Verdict(passed, "passed" if passed else "failed", "values", None)
'''
GOOD = {"prompt": 'f"{split} {n}"', "oracle": '"yes"', "passes": 'await agent.say(task.prompt) == "yes"'}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def environment(folder: Path, **changed: str) -> str:
    """The name of a small environment, with some of its code replaced."""
    path = folder / f"echo_{abs(hash(tuple(changed)))}.py"
    path.write_text(SYNTHETIC.format(**{**GOOD, **changed}))
    return f"{path}:Echo"


@pytest.mark.parametrize(("policy", "value"), [("gold", 1.0), ("empty", 0.0)])
def test_eval_writes_a_list_of_rows(capsys, tmp_path, policy, value):
    file = tmp_path / "out" / "eval.json"
    arguments = ("eval", "--env", environment(tmp_path), "--policy", policy, *MEMORY, "--json", file)
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert out.splitlines()[0] == "sandbox: memory-test (sandbox.provider = 'memory-test')"
    assert out.splitlines()[-1] == f"echo, test: {3 * value:.0f} of 3 passed"
    (row,) = json.loads(file.read_text())
    # Wilson's interval of 0 or all of 3 tasks: z^2 / (3 + z^2) = 3.84 / 6.84 wide.
    low, high = (0.0, pytest.approx(0.5615, abs=1e-4)) if value == 0 else (pytest.approx(0.4385, abs=1e-4), 1.0)
    assert row["pass_at_k"]["1"] == {"value": value, "low": low, "high": high}
    assert (row["environment"], row["split"], row["num_tasks"], row["num_excluded"]) == ("echo", "test", 3, 0)


def test_eval_takes_the_environments_of_a_config(capsys, tmp_path):
    config = tmp_path / "run.toml"
    names = [environment(tmp_path), environment(tmp_path, oracle='"no"')]
    entries = "".join(f'[[environments]]\nenvironment = "{n}"\nname = "e{i}"\n' for i, n in enumerate(names))
    config.write_text(f'{entries}[model]\npath = "unused"\n')
    file = tmp_path / "eval.json"
    options = ("--samples", 4, "--k", "1,4", "--tasks", 2, "--split", "train", "--greedy", "--json", file)
    code, out, _ = run(capsys, "eval", config, "--policy", "gold", *MEMORY, *options)
    assert code == 0
    assert out.splitlines()[-1] == "`agent-rl envs validate` says why an oracle solution does not pass"
    rows = json.loads(file.read_text())
    assert [(r["environment"], r["pass_at_k"]["4"]["value"], r["greedy"]["value"]) for r in rows] == [
        ("e0", 1.0, 1.0),
        ("e1", 0.0, 0.0),
    ]
    assert {(r["num_tasks"], r["num_samples"], r["split"]) for r in rows} == {(2, 4, "train")}


def test_validate_passes_a_good_environment(capsys, tmp_path):
    file = tmp_path / "report.json"
    code, out, error = run(capsys, "envs", "validate", environment(tmp_path), *MEMORY, "--json", file)
    assert (code, error) == (0, "")
    report = json.loads(file.read_text())
    assert report["passed"]
    # Two splits of three tasks: each reference 28 times, and four texts that answer nothing.
    assert [(s["oracles_passed"], s["stubs_failed"]) for s in report["splits"]] == [(84, 12), (84, 12)]
    assert "84 of 84" in out
    # 1 - .1^(1/28) = .0789
    assert "28 times: one that fails in 7.9% of its runs is found with a probability of 0.9" in out
    assert report["flaky_rate_found"] == pytest.approx(0.0789, abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"oracle": '"no"'}, "the oracle solution is judged failed"),
        ({"oracle": "None"}, "has no oracle solution"),
        ({"passes": "True"}, "a stub passes: empty"),
        ({"prompt": 'f"{n}"'}, "has the same prompt and files as a task of the split train"),
        ({"prompt": 'f"{split} {n}" + str(__import__("random").random())'}, "gives other tasks"),
    ],
)
def test_validate_finds_what_is_wrong(capsys, tmp_path, changed, problem):
    file = tmp_path / "report.json"
    code, out, error = run(capsys, "envs", "validate", environment(tmp_path, **changed), *MEMORY, "--json", file)
    assert code == 1
    assert "problems" in error
    assert problem in out
    assert not json.loads(file.read_text())["passed"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.jsonl", "ENV: a data set is read by `code`: envs validate code --option dataset=rows.jsonl"),
        (".", "ENV: a folder of tasks is read by `folder`: envs validate folder --option folder=."),
        ("code", "dataset: missing in --option"),
    ],
)
def test_validate_says_how_data_is_given(capsys, name, message):
    code, _, error = run(capsys, "envs", "validate", name, *MEMORY)
    assert (code, error) == (2, f"error: {message}\n")


def test_validate_of_one_split_and_of_one_that_is_not_there(capsys, tmp_path):
    name = environment(tmp_path)
    code, out, _ = run(capsys, "envs", "validate", name, "--split", "test", "--times", 1, "--tasks", 1, *MEMORY)
    assert code == 0
    assert "1 of 1" in out
    code, _, error = run(capsys, "envs", "validate", name, "--split", "dev", *MEMORY)
    assert (code, error) == (2, "error: split: the splits are train and test\n")


@pytest.mark.data
@pytest.mark.local_sandbox
def test_validate_names_the_one_vacuous_task_of_a_data_set_and_measures_both(capsys, tmp_path):
    rows, file = Path(os.environ["AGENT_RL_DATA"]) / "HumanEval.jsonl.gz", tmp_path / "report.json"
    options = ("--option", f"dataset={rows}", "--option", 'splits={test="[34:36]"}', "--split", "test")
    code, out, _ = run(capsys, "envs", "validate", "code", *options, "--sandbox", "local", "--times", 2, "--json", file)
    assert code == 1
    (split,) = json.loads(file.read_text())["splits"]
    # HumanEval/34 has one hidden case, which is also the one that it shows.
    assert {(p["task"], p["kind"]) for p in split["problems"]} == {
        ("HumanEval/34", "stub"),
        ("HumanEval/34", "vacuous"),
    }
    assert "HumanEval/34: a stub passes: a table of the public examples" in out
    weak, strong = (t["mutation_score"] for t in split["by_task"])
    # `sorted(list(set(l)))` of small numbers is the same without `sorted`, and without `list`.
    assert (weak["mutants"], len(weak["survivors"])) == (4, 2)
    assert strong["score"] > weak["score"] == 0.5


def test_train_asks_for_strong_tests_before_it_makes_a_model(capsys, tmp_path):
    config = tmp_path / "run.toml"
    entry = f'[[environments]]\nenvironment = "{environment(tmp_path)}"\nminimum_mutation_score = 0.5\n'
    config.write_text(f'{entry}[model]\npath = "unused"\n[sandbox]\nprovider = "memory-test"\n')
    code, _, error = run(capsys, "train", config, "--run-dir", tmp_path / "run")
    assert code == 2
    assert (
        "minimum_mutation_score: environment echo: no mutation score can be measured for any of its 3 training tasks"
        in error
    )


def test_the_tables_name_the_weakest_tasks_and_what_their_tests_miss(capsys):
    def score(killed, *survivors):
        return MutationScore(killed, 20, killed / 20, 0.1, 0.9, 0, survivors)

    diff = "--- reference\n+++ mutant\n@@ -1,2 +1,2 @@\n def f(x):\n-    return x + 1\n+    return x + 2\n"
    tasks = (
        TaskReport("strong", mutation_score=score(20)),
        TaskReport("weak", mutation_score=score(9, Survivor("constant", diff), Survivor("operator", ""))),
        TaskReport("other", tier="proxied", not_measured="has no oracle solution"),
    )
    overall = SplitMutationScore(2, 29, 40, 0.725, 0.45, 1.0)
    problems = tuple(TaskProblem("weak", f"problem {n}") for n in range(41))
    split = SplitReport("test", 3, 3, 9, 9, 24, 24, overall, problems, tasks)
    print_report(ValidationReport("e", (split,), 3))
    out = capsys.readouterr().out
    assert "│ test  │ 0.450 to 1.000 │ 29 of 40 │ 1 │ 0       │ 0   │ 0  │ 1   │ 0 │" in out
    lines = out.splitlines()
    assert "test weak: 9 of 20 killed; passes too: - return x + 1 + return x + 2" in lines
    assert "test: mutation score not measured for 1 tasks: has no oracle solution" in lines
    assert "test: 1 of 3 tasks are judged at tier proxied, not values" in lines
    assert "test weak: problem 39" in lines
    assert lines[-1] == "test: and 1 more, all of which --json FILE writes"


@pytest.mark.parametrize(
    ("oracle", "stub"),
    [
        ("def f(x):\n    return x + 1\n", "def f(x):\n    return None\n"),
        (
            "Here:\n```python\ndef f(x):\n    return 1\n```\nDone.",
            "Here:\n```python\ndef f(x):\n    return None\n\n```\nDone.",
        ),
        ("    y = 1\n    return y\n", "    return None\n"),
    ],
)
def test_stubs_keep_the_references_form(oracle, stub):
    stubs = stub_replies(oracle)
    assert stubs["return None"] == stub
    assert set(stubs) == {"empty", "pass", "return None", "equal to everything", "exit(0)", "os._exit(0)"}


def test_a_reference_that_is_no_program_has_stubs_that_answer_nothing():
    assert set(stub_replies("#### 42")) == {"empty", "None", "no answer", "exit(0)"}
    scripts = {"a script that does nothing", "a script that fails"}
    assert set(stub_replies("```sh\necho 42 > answer\n```")) == {"empty", "None", "no answer", "exit(0)"} | scripts


@pytest.mark.local_sandbox
def test_a_new_environment_works_as_it_is(capsys, tmp_path):
    code, out, _ = run(capsys, "envs", "new", "unit_conversion", "--folder", tmp_path / "mine")
    assert code == 0
    name = f"{tmp_path}/mine/unit_conversion.py:UnitConversion"
    assert out.splitlines()[-2:] == [
        f"try:    agent-rl envs validate {name}",
        f"train:  agent-rl train quickstart --set environments.0.environment={name} --set environments.0.options={{}}",
    ]
    # What a model from scratch needs is there: conversations about training tasks only, half of them wrong.
    made = resolve(name, "agent_rl.environments", key="ENV")
    shown = [tuple(m.content for m in talk) for talk in islice(made(made.config_class(), None).demonstrations(1), 200)]
    held_out = {task.prompt[0].content for task in asyncio.run(made(made.config_class(), None).load("test"))}
    assert not held_out.intersection(prompt for prompt, _ in shown)
    right = sum(prompt.split("returns ")[1].split(".")[0] in answer.splitlines()[1] for prompt, answer in shown)
    assert 70 <= right <= 130
    file = tmp_path / "report.json"
    code, out, error = run(capsys, "envs", "validate", name, "--tasks", 2, "--sandbox", "local", "--json", file)
    assert (code, error) == (0, "")
    splits = json.loads(file.read_text())["splits"]
    # Of each split two tasks: each reference 28 times; as stubs five bodies, an empty reply, and the public
    # examples as a table and as a constant.
    assert [(s["oracles_passed"], s["stubs_failed"], s["stubs"]) for s in splits] == [(56, 16, 16)] * 2
    assert all(s["mutation_score"]["score"] > 0.8 for s in splits)
    assert "mutation score: the share of mutants" in out


def test_the_test_of_a_new_environment_passes(tmp_path):
    write_environment("unit_conversion", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", ["Unit", "2d", "a-b", "class", ""])
def test_a_new_environment_needs_a_name_that_python_takes(capsys, tmp_path, name):
    code, _, error = run(capsys, "envs", "new", name, "--folder", tmp_path)
    assert code == 2
    assert "NAME: a name is made of small letters" in error


def test_nothing_is_overwritten(capsys, tmp_path):
    (tmp_path / "test_mine.py").write_text("precious")
    code, _, error = run(capsys, "envs", "new", "mine", "--folder", tmp_path)
    assert code == 2
    assert "test_mine.py exists already" in error
    assert [p.name for p in tmp_path.iterdir()] == ["test_mine.py"]


def test_the_latest_run_is_the_one_to_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Path("configs/quick.toml")
    assert new_run(config).parent == Path("runs")
    for name in ("quick-20250101-120000", "quick-20250102-090000", "other-20250103-090000"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert latest_run(config) == Path("runs/quick-20250102-090000")


def test_the_latest_run_of_a_config_whose_name_is_a_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a[1]-20250101-120000", "a1-20250102-090000", "a[1]-b-20250103-090000"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert latest_run(Path("a[1].toml")) == Path("runs/a[1]-20250101-120000")
    with pytest.raises(ConfigError, match=r"--resume: there is no run of \* in runs/"):
        latest_run(Path("*.toml"))


def test_train_ends_with_what_was_reached_and_where_the_report_is(capsys, tmp_path):
    for version, value in ((0, 0.25), (40, 0.75)):
        estimate = Estimate(value, value - 0.05, value + 0.05)
        row = EvalRow(version, "test", "synthesis", 200, 8, 0, estimate, {1: estimate, 8: estimate})
        append_row(tmp_path / "eval.json", row)
    print_outcome(tmp_path, tmp_path / "report.html", 312.4)
    out = capsys.readouterr().out
    assert "0.250 [0.200, 0.300]" in out
    assert "0.750 [0.700, 0.800]" in out
    assert "+0.500" in out
    assert f"report: {tmp_path / 'report.html'}" in out
    assert out.splitlines()[-1] == "took 5 min 12 s"


def test_a_report_says_where_it_is(capsys, tmp_path):
    a_run(tmp_path)
    assert run(capsys, "report", tmp_path) == (0, f"{(tmp_path / 'report.html').resolve()}\n", "")


def test_a_report_is_written_only_into_a_run_s_folder(capsys, tmp_path):
    (tmp_path / "config.toml").write_text("seed = 1\n")
    (tmp_path / "report.html").write_text("theirs")
    said = f"error: RUN: {tmp_path} is not a run's folder: no run wrote config.toml and run.json there\n"
    assert run(capsys, "report", tmp_path) == (2, "", said)
    assert run(capsys, "report", tmp_path / "none") == (2, "", f"error: RUN: there is no folder {tmp_path / 'none'}\n")
    assert (tmp_path / "report.html").read_text() == "theirs"


def test_a_report_that_cannot_be_written_is_one_line(capsys, monkeypatch, tmp_path):
    a_run(tmp_path)
    (tmp_path / "report.html").mkdir()
    said = f"error: RUN: the report of {tmp_path} cannot be written: "
    assert run(capsys, "report", tmp_path) == (2, "", f"{said}{tmp_path / 'report.html'} is a folder\n")

    def refuse(path: Path, text: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("agent_rl.report.page.write_atomically", refuse)
    assert run(capsys, "report", tmp_path) == (2, "", f"{said}this user may not read and write there\n")


def a_run(folder: Path) -> None:
    """`folder` is that of a run that took no step yet."""
    config = parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}})
    RunDirectory(folder).create(config, resume=False)


def test_installed_packages_add_commands(capsys, monkeypatch, tmp_path):
    plugin = tmp_path / "a_plugin_for_tests.py"
    plugin.write_text(
        "import typer\napp = typer.Typer()\n@app.command()\ndef go(x: int):\n    print(x + 1)\n"
        "@app.command()\ndef stay():\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = {
        "good": EntryPoint("good", "a_plugin_for_tests:app", "agent_rl.commands"),
        "bad": EntryPoint("bad", "a_plugin_that_is_not_there:app", "agent_rl.commands"),
    }
    monkeypatch.setattr("agent_rl.cli.app.registered", lambda group: points)
    assert run(capsys, "good", "go", "41")[:2] == (0, "42\n")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "  good " in out
    code, _, error = run(capsys, "bad", "anything")
    assert code == 2
    assert "the command bad (a_plugin_that_is_not_there:app) cannot be loaded: ModuleNotFoundError" in error
