"""`evaluate`: what counts, what is excluded, and that one row is of one version."""

import asyncio
import json

import pytest

from agent_rl.contracts import Agent, Environment, Sandbox, Verifier
from agent_rl.errors import ConfigError, PolicyError, SandboxError
from agent_rl.evaluation.evaluate import evaluate
from agent_rl.evaluation.evaluated_agents import Agents, group_runner
from agent_rl.records.eval_file import append_row, cut_back, read_rows
from agent_rl.records.eval_row import Estimate, EvalRow
from agent_rl.rollouts.policy_agent import RolloutName, ScriptedAgent, empty_agent, oracle_agent
from agent_rl.vocabulary import (
    AnswerTests,
    DroppedRollout,
    Group,
    Message,
    Segment,
    Task,
    Trajectory,
    Verdict,
)


def task(name: str, oracle: str | None = "yes") -> Task:
    return Task(name, (Message.user("?"),), AnswerTests("yes"), oracle=oracle)


def trajectory(task_id: str, rollout: int, passed: bool, versions: tuple[int, ...] = (3, 3)) -> Trajectory:
    n = len(versions)
    sampled = Segment(0, "model", tuple(range(n)), (0.0,) * n, versions, (True,) * n)
    verdict = Verdict(passed, "passed" if passed else "failed", "values", None)
    segments = (Segment(None, "template", (1,)), sampled)
    return Trajectory(task_id, "e", 0, rollout, segments, (1,), (), verdict, "answered")


class Scripted:
    """Runs groups whose outcomes are given per task; None is a rollout that the infrastructure failed."""

    def __init__(self, sampled: dict[str, list[bool | None]], greedy: dict[str, bool | None] | None = None) -> None:
        self.sampled, self.greedy = sampled, greedy or {}
        self.running = self.most = 0

    async def __call__(self, task: Task, *, index: int, samples: int, greedy: bool) -> Group:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        outcomes = [self.greedy[task.id]] if greedy else self.sampled[task.id]
        assert len(outcomes) == samples
        trajectories = tuple(trajectory(task.id, i, o) for i, o in enumerate(outcomes) if o is not None)
        dropped = tuple(DroppedRollout(i, "died", "sandbox") for i, o in enumerate(outcomes) if o is None)
        return Group(index, "e", task, samples, trajectories, dropped)


async def run(runner, tasks=("a", "b"), samples=4, k=(1, 2), greedy=False, **more) -> EvalRow:
    return await evaluate(
        environment="e",
        split="test",
        tasks=[task(name) for name in tasks],
        run_group=runner,
        num_samples=samples,
        k=k,
        greedy=greedy,
        policy_version=3,
        **more,
    )


async def test_pass_at_k_is_the_mean_over_tasks():
    row = await run(Scripted({"a": [True, False, False, False], "b": [True, True, False, False]}))
    assert row.pass_at_k[1].value == pytest.approx((1 / 4 + 2 / 4) / 2)
    # 1 - C(3,2)/C(4,2) = 1/2 and 1 - C(2,2)/C(4,2) = 5/6
    assert row.pass_at_k[2].value == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert (row.policy_version, row.num_tasks, row.num_samples, row.num_excluded) == (3, 2, 4, 0)
    assert row.greedy is None


async def test_rollouts_that_the_infrastructure_failed_are_excluded_and_counted_never_scored():
    runner = Scripted({"a": [True, None, None, None], "b": [True, False, False, None]}, greedy={"a": None, "b": True})
    row = await run(runner, greedy=True)
    assert row.num_excluded == 3 + 1 + 1
    assert row.pass_at_k[1].value == pytest.approx((1 / 1 + 1 / 3) / 2)
    # Of task a one sample is left: it has no pass@2. Of b: 1 - C(2,2)/C(3,2) = 2/3.
    assert row.pass_at_k[2].value == pytest.approx(2 / 3)
    assert row.greedy is not None
    assert (row.greedy.value, row.greedy.high) == (1.0, 1.0)


async def test_an_evaluation_of_which_nothing_survives_is_no_zero():
    with pytest.raises(PolicyError, match="every one was dropped"):
        await run(Scripted({"a": [None] * 4, "b": [None] * 4}))


@pytest.mark.parametrize("versions", [(3, 4), (4, 4)])
async def test_samples_of_another_version_are_an_error(versions):
    async def runner(task: Task, *, index: int, samples: int, greedy: bool) -> Group:
        return Group(index, "e", task, samples, tuple(trajectory(task.id, i, True, versions) for i in range(samples)))

    with pytest.raises(PolicyError, match=r"policy version 3 got tokens of version (3, )?4 \(task a\), but .*one"):
        await run(runner)


async def test_concurrency_is_bounded_and_progress_told():
    names = [f"t{i}" for i in range(10)]
    runner, told = Scripted({name: [True] * 4 for name in names}), []
    await run(runner, tasks=names, concurrency=3, on_task=lambda done, of: told.append((done, of)))
    assert runner.most == 3
    assert told == [(i + 1, 10) for i in range(10)]


async def test_wrong_questions_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="no tasks in split 'test'"):
        await run(Scripted({}), tasks=())
    with pytest.raises(ValueError, match=r"k in \[1, 8\] cannot be estimated from 4 samples"):
        await run(Scripted({}), k=(1, 8))


def row(version: int | None) -> EvalRow:
    estimate = Estimate(0.5, 0.4, 0.6)
    return EvalRow(version, "test", "e", 200, 8, 2, estimate, {1: estimate, 8: estimate})


def test_the_file_is_a_list_of_rows_in_order_of_time(tmp_path):
    path = tmp_path / "eval.json"
    assert read_rows(path) == []
    for version in (0, 20, 40):
        append_row(path, row(version))
    assert read_rows(path) == [row(0), row(20), row(40)]
    (first, *_) = json.loads(path.read_text())
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    assert first == {
        "schema_version": 1,
        "policy_version": 0,
        "split": "test",
        "environment": "e",
        "num_tasks": 200,
        "num_samples": 8,
        "num_excluded": 2,
        "greedy": estimate,
        "pass_at_k": {"1": estimate, "8": estimate},
    }
    assert [p.name for p in tmp_path.iterdir()] == ["eval.json"]


def test_on_resume_rows_after_the_checkpoint_are_cut_off(tmp_path):
    path = tmp_path / "eval.json"
    cut_back(path, 20)
    assert not path.exists()
    for version in (0, 20, 40):
        append_row(path, row(version))
    cut_back(path, 20)
    assert [r.policy_version for r in read_rows(path)] == [0, 20]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not a readable JSON"), ("3", "not a list of evaluation rows"), ("[{}]", "KeyError: 'policy_version'")],
)
def test_another_format_is_the_users_mistake(tmp_path, text, message):
    (tmp_path / "eval.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_rows(tmp_path / "eval.json")


class YesNo(Environment):
    """Passes who says what the task's answer is; a task named `broken` has a broken sandbox."""

    async def load(self, split):
        raise AssertionError("not to be called")

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        reply = await agent.say(task.prompt)
        if task.id == "broken":
            raise SandboxError("the container died")
        assert isinstance(task.tests, AnswerTests)
        passed = reply == task.tests.answer
        return Verdict(passed, "passed" if passed else "failed", "values", None)


class NoVerifier(Verifier):
    async def judge(self, task, submission):
        raise AssertionError("not to be called")

    async def accept(self, task, verdict):
        return verdict

    async def run_public_tests(self, task, submission, sandbox=None):
        raise AssertionError("not to be called")

    async def prepare(self, task):
        raise AssertionError("not to be called")


@pytest.mark.parametrize(("agent", "value"), [(oracle_agent, 1.0), (empty_agent, 0.0)])
async def test_gold_says_the_reference_and_empty_nothing(agent, value):
    environment = YesNo(None, NoVerifier())
    runner = group_runner(environment, "e", Agents(agent, agent, None), None, retries=0)
    evaluated = await evaluate(
        environment="e",
        split="test",
        tasks=[task("a"), task("b"), task("broken")],
        run_group=runner,
        num_samples=2,
        k=[1],
        greedy=True,
        policy_version=None,
    )
    assert evaluated.pass_at_k[1].value == value
    assert evaluated.greedy is not None and evaluated.greedy.value == value
    assert evaluated.num_excluded == 2 + 1


@pytest.mark.parametrize(("version", "what"), [(3, "evaluation 3"), (None, "evaluation")])
async def test_rollouts_are_named_after_the_version_apart_from_training_and_greedy_from_sampled(version, what):
    """Draws are keyed by these names: with other ones, every held-out figure would be drawn anew."""
    named: list[RolloutName] = []

    def maker(task: Task, name: RolloutName) -> ScriptedAgent:
        named.append(name)
        return ScriptedAgent(["yes"])

    runner = group_runner(YesNo(None, NoVerifier()), "e", Agents(maker, maker, version), None, retries=0)
    await runner(task("a"), index=4, samples=2, greedy=False)
    await runner(task("a"), index=4, samples=1, greedy=True)
    names = [(f"e/{what} sampled", 0), (f"e/{what} sampled", 1), (f"e/{what} greedy", 0)]
    assert named == [RolloutName(name, "a", 4, rollout) for name, rollout in names]


async def test_gold_needs_a_reference():
    agents = Agents(oracle_agent, oracle_agent, None)
    runner = group_runner(YesNo(None, NoVerifier()), "e", agents, None, retries=0)
    with pytest.raises(ConfigError, match="the task a has no oracle solution"):
        await runner(task("a", oracle=None), index=0, samples=1, greedy=False)
