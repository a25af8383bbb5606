"""The Math environment: rows read, tool episodes, generated arithmetic, and what is submitted."""

import gzip
import itertools
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from agent_rl.contracts import Agent, Sandbox, Verifier
from agent_rl.errors import ConfigError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.rollouts.policy_agent import ScriptedAgent
from agent_rl.rollouts.tools import signature
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import AnswerTests, Submission
from agent_rl.vocabulary.final_answer import final_answer
from agent_rl_envs import arithmetic
from agent_rl_envs.math import Math, MathConfig

LONG = '{"question": "q", "answer": ' + "1" * 5000 + "}"
"""A line with an integer that Python does not read."""


class NoVerifier(Verifier):
    """Math only submits what was said: nothing here may be called."""

    async def judge(self, task, submission):
        raise AssertionError("not to be called")

    async def accept(self, task, verdict):
        raise AssertionError("not to be called")

    async def run_public_tests(self, task, submission, sandbox=None):
        raise AssertionError("not to be called")

    async def prepare(self, task):
        raise AssertionError("not to be called")


class PythonInProcess(Sandbox):
    """Evaluates `print(expression)`, and counts."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def exec(self, command, *, stdin=b"", timeout=60.0, environment=None):
        raise AssertionError("not to be called")

    async def python(self, code: str) -> str:
        self.calls.append(code)
        match = re.fullmatch(r"print\((\d+)\*(\d+)\)", code)
        assert match is not None
        return f"{int(match[1]) * int(match[2])}\n"

    async def write_files(self, files):
        raise AssertionError("not to be called")

    async def read_file(self, path, *, max_bytes=1 << 20):
        raise AssertionError("not to be called")

    async def close(self):
        pass


class ToolUser(Agent):
    """Calls the first tool with the product in the question, and repeats what it said."""

    async def say(self, prompt):
        raise AssertionError("not to be called")

    async def run(self, prompt, tools, *, max_turns=8):
        product = re.search(r"\d+\*\d+", prompt[0].content)
        assert product is not None
        return "#### " + await tools[0](f"print({product[0]})")


def says(text: str) -> ScriptedAgent:
    return ScriptedAgent(lambda messages: text)


def math(**options) -> Math:
    return Math(MathConfig(**options), NoVerifier())


def verifier() -> TaskVerifier:
    """What judges a run's answers; its provider runs nothing."""
    return TaskVerifier(InMemoryProvider())


async def test_generated_arithmetic_has_disjoint_splits_and_right_answers():
    environment = math(train_tasks=300, test_tasks=60)
    train, test = await environment.load("train"), await environment.load("test")
    assert (len(train), len(test)) == (300, 60)
    assert not {t.prompt[0].content for t in train} & {t.prompt[0].content for t in test}
    for task in test:
        expression = re.match(r"Find x=([\d+*-]+)\.", task.prompt[0].content)
        assert expression is not None
        assert isinstance(task.tests, AnswerTests)
        assert int(task.tests.answer) == eval(expression[1])
    assert [t.hash for t in await environment.load("test")] == [t.hash for t in test]
    with pytest.raises(ConfigError, match=r"splits train and test .did you mean 'train'"):
        await environment.load("trian")


async def test_too_many_tasks_for_the_expressions_there_are_is_the_users_mistake():
    # Two numbers of 2 to 9 and three signs: 8 * 8 * 3 = 192 expressions.
    with pytest.raises(ConfigError, match="train_tasks: there are too few different expressions"):
        await math(operands=2, largest=9, train_tasks=193).load("train")


async def test_references_pass_and_other_replies_do_not():
    environment = math(test_tasks=5)
    for task in await environment.load("test"):
        assert task.oracle is not None
        for reply, status in ((task.oracle, "passed"), ("", "invalid_submission"), ("#### 0.125", "failed")):
            submission = await environment.rollout(task, says(reply), PythonInProcess())
            assert (await verifier().judge(task, submission)).status == status


async def test_with_the_tool_the_agent_may_run_programs_in_its_sandbox():
    environment = math(tool="python", operands=2)
    task = next(t for t in await environment.load("test") if "*" in t.prompt[0].content)
    assert task.sandbox is not None
    sandbox = PythonInProcess()
    submission = await environment.rollout(task, ToolUser(), sandbox)
    assert (await verifier().judge(task, submission)).passed
    assert len(sandbox.calls) == 1


def test_demonstrations_are_of_mixed_quality_and_of_training_expressions_only():
    shown = list(itertools.islice(math(tool="python").demonstrations(0), 400))
    kinds = Counter(len(conversation) for conversation in shown)
    assert set(kinds) == {2, 4}
    assert kinds[4] == pytest.approx(200, abs=50)  # half use the tool; 5 standard deviations of binomial(400, 1/2)
    for conversation in shown:
        expression = re.match(r"Find x=([\d+*-]+)\.", conversation[0].content)
        assert expression is not None
        assert arithmetic.split_of(expression[1]) == "train"
        if len(conversation) == 4:
            assert conversation[1].tool_calls[0].arguments == {"code": f"x={expression[1]};print(x)"}
            assert conversation[2].content == f"{eval(expression[1])}\n"
    assert {len(c) for c in itertools.islice(math().demonstrations(0), 50)} == {2}
    assert shown == list(itertools.islice(math(tool="python").demonstrations(0), 400))
    assert [signature(tool).name for tool in math(tool="python").demonstration_tools()] == ["python"]
    assert math().demonstration_tools() == []


def write_rows(path: Path, rows: list[object]) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["test.jsonl", "test.jsonl.gz"])
async def test_rows_come_from_a_file_per_split(tmp_path, name):
    write_rows(tmp_path / name, [{"question": "6*7?", "answer": "6*7=42\n#### 42"}, {"question": "q", "answer": "x+1"}])
    tasks = await math(dataset=str(tmp_path / name.replace("test", "{split}"))).load("test")
    assert [t.tests for t in tasks] == [AnswerTests("42"), AnswerTests("x+1")]
    assert [t.oracle for t in tasks] == ["6*7=42\n#### 42", "#### x+1"]
    with pytest.raises(ConfigError, match=r"dataset: there is no file .*train\.jsonl"):
        await math(dataset=str(tmp_path / name.replace("test", "{split}"))).load("train")


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"question": "2+2?", "answer": 4}, "4"),
        ({"question": "2+2?", "answer": 4.0}, "4"),
        ({"question": "5/2?", "answer": 2.5}, "2.5"),
        ({"question": "small?", "answer": 1e-7}, "0.0000001"),
        ({"question": "even?", "answer": True}, "True"),
        ({"question": "2-2?", "answer": 0}, "0"),
        ({"question": "big?", "answer": 10**30}, "1" + "0" * 30),
        ({"problem": "2+2?", "solution": r"It is $\boxed{4}$."}, "4"),
        ({"problem": "2+2?", "solution": r"So \boxed{\frac{8}{2}}.", "answer": "4"}, "4"),
        ({"prompt": "2+2?", "answer": "4", "level": 5, "type": "Algebra"}, "4"),
        ({"prompt": [{"role": "user", "content": "2+2?"}], "label": "4"}, "4"),
        ({"input": "2+2?", "target": "4"}, "4"),
        ({"problem": "2+2?", "expected_answer": "4", "solution": "long, and without a box"}, "4"),
        ({"question": "2+2?", "answer": ["4"]}, "4"),
        ({"question": "2+2?", "answer": "", "solution": "#### 4"}, "4"),
        ({"question": "M?", "answer": "\\begin{pmatrix}1\\\\\n2\\end{pmatrix}"}, r"\begin{pmatrix}1\\ 2\end{pmatrix}"),
    ],
)
async def test_answers_are_numbers_or_texts_in_columns_of_the_usual_names(tmp_path, row, gold):
    write_rows(tmp_path / "rows.jsonl", [row])
    (task,) = await math(dataset=str(tmp_path / "rows.jsonl")).load("test")
    assert task.tests == AnswerTests(gold)
    assert final_answer(task.oracle or "") == gold


async def test_columns_may_be_named(tmp_path):
    row = {"question": "not this", "text": "2+2?", "answer": "not this", "reply": "#### 4"}
    write_rows(tmp_path / "rows.jsonl", [row])
    options = {"question_column": "text", "answer_column": "reply"}
    (task,) = await math(dataset=str(tmp_path / "rows.jsonl"), **options).load("test")
    assert task.prompt[0].content.startswith("2+2?")
    assert task.tests == AnswerTests("4")
    with pytest.raises(ConfigError, match=r"line 1: 'key' is missing. The row's columns are .*; answer_column names"):
        await math(dataset=str(tmp_path / "rows.jsonl"), answer_column="key").load("test")


async def test_rows_come_from_parquet(tmp_path):
    from datasets import Dataset

    path = tmp_path / "rows.parquet"
    Dataset.from_list([{"question": "6*7?", "answer": "#### 42"}]).to_parquet(str(path))
    (task,) = await math(dataset=str(path)).load("test")
    assert task.tests == AnswerTests("42")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "line 2: no JSON"),
        ({"question": "q"}, "line 2: 'answer' is missing"),
        ({"question": 3, "answer": "a"}, "line 2: 'question' must be a non-empty string"),
        ({"question": "q", "answer": " "}, "line 2: 'answer' must be a non-empty string or a number"),
        ({"question": "q", "answer": ["1", "2"]}, "line 2: 'answer' must be a non-empty string or a number"),
        ({"question": "q", "answer": float("inf")}, "line 2: 'answer' must be a non-empty string or a number"),
        (
            {"ask": "q", "answer": "1"},
            "line 2: 'question' is missing. The row's columns are answer, ask; question_colu",
        ),
        # No reply can be judged right.
        ({"question": "q", "answer": "1" * 250}, "line 2: no reply can give the answer '1111.*: it has 250 characters"),
        ({"question": "q", "answer": "#### " + "1" * 250}, "line 2: no reply can give the answer"),
        ({"question": "q", "answer": r"\\boxed{" + "1" * 250 + "}"}, "line 2: no reply can give the answer"),
        ({"question": "q", "answer": "It is 4,\nas 2 + 2 = 4."}, "line 2: no reply can give .*: it has several lines"),
        ({"question": "q", "answer": "{1"}, "line 2: no reply can give the answer '{1': .* braces do not match"),
        ([1], "line 2: expected an object with question and answer, got list"),
        ({"question": "q", "answer": "Step 5"}, "line 2: no reply can give the answer 'Step 5': .*reads as a heading"),
        ({"question": "q", "answer": "3.14", "comparison": "float"}, "line 2: 'comparison' cannot be honoured"),
        ({"question": "q", "answer": "3.14", "tolerance": 0.01}, "line 2: 'tolerance' cannot be honoured"),
        ({"question": "q", "answer": "3.14", "timeout": 2}, "line 2: 'timeout' cannot be honoured"),
        ({"question": "q", "answer": "3.14", "comparision": "float"}, "line 2: the key 'comparision' is not read"),
        ({"question": "q", "answer": "3.14", "epsilon": 0.01}, "line 2: the key 'epsilon' is not read"),
        (LONG, "line 2: no reply can give the answer '1111.*: it has 5000 characters"),
    ],
)
async def test_a_malformed_row_is_named_by_file_and_line(tmp_path, bad, message):
    path = write_rows(tmp_path / "rows.jsonl", [{"question": "q", "answer": "1"}, bad])
    with pytest.raises(ConfigError, match=f"rows.jsonl, {message}"):
        await math(dataset=str(path)).load("test")


async def test_rows_that_cannot_be_used_are_left_out_and_named_where_that_is_asked_for(tmp_path):
    good = json.dumps({"question": "q", "answer": 7, "difficulty": "hard", "tolerance": None, "checker": ""})
    bad = ["{", "[1]", LONG, json.dumps({"question": "q", "answer": "1", "tolerance": 0.1})]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([bad[0], good, *bad[1:], good]))
    env = Math(MathConfig(dataset=str(path), invalid="skip"), NoVerifier())
    assert [task.tests for task in await env.load("train")] == [AnswerTests("7")] * 2
    assert [re.search(r"line \d", line)[0] for line in env.left_out("train")] == [
        "line 1",
        "line 3",
        "line 4",
        "line 5",
    ]
    with pytest.raises(ConfigError, match="line 1: no JSON"):
        await Math(MathConfig(dataset=str(path)), NoVerifier()).load("train")
    path.write_text("\n".join(bad))
    with pytest.raises(ConfigError, match=r"no rows that can be used; the first of 4: .*line 1: no JSON"):
        await env.load("train")


async def test_an_integer_of_any_length_may_stand_in_a_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "answer": 7, "id": ' + "1" * 5000 + "}")
    assert (await Math(MathConfig(dataset=str(path)), NoVerifier()).load("train"))[0].tests == AnswerTests("7")


@pytest.mark.data
async def test_gold_passes_all_rows_of_gsm8k_and_empty_none():
    path = Path(os.environ["AGENT_RL_DATA"]) / "gsm8k-test.jsonl.gz"
    environment = math(dataset=str(path))
    tasks = await environment.load("test")
    assert len(tasks) == 1319
    judge = verifier()
    gold = [await judge.judge(task, Submission.answer(task.oracle or "")) for task in tasks]
    assert sum(verdict.passed for verdict in gold) == 1319
    assert not any([(await judge.judge(task, Submission.answer(""))).passed for task in tasks])
    assert judge.verdicts == 2 * 1319
