"""Rollouts and groups: verdicts, early ends, failures of the infrastructure, retries, cancellation, timings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent_rl.contracts import (
    Agent,
    InvalidSubmission,
    RolloutEnded,
    SamplingParams,
    Sandbox,
    Sandboxes,
    Verifier,
)
from agent_rl.errors import ConfigError, EnvironmentFailure, PolicyError, SandboxError
from agent_rl.rollouts.policy_agent import (
    PolicyAgent,
    PolicyAgents,
    RolloutSettings,
    ScriptedAgent,
    empty_agent,
    oracle_agent,
)
from agent_rl.rollouts.run_group import run_group, run_rollout
from agent_rl.rollouts.time_spent import TimedVerifier
from agent_rl.testing.scripted_policy import Script, ScriptedPolicy
from agent_rl.vocabulary import (
    ExecResult,
    SandboxSpec,
    Submission,
    Task,
    TestResult,
    Trajectory,
    Verdict,
)
from tests.unit.rollouts.support import PLAIN, AnswerVerifier, FunctionEnvironment, chat, make_task, passed


class FakeSandbox(Sandbox):
    """Counts what is done with it."""

    def __init__(self) -> None:
        self.used = 0
        self.closed = 0
        self.failing_close = False

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        self.used += 1
        await asyncio.sleep(0.02)
        return ExecResult("completed", 0, b"out", b"", 0.02)

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        self.used += 1

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        self.used += 1
        return b"content"

    async def close(self) -> None:
        await asyncio.sleep(0.01)
        self.closed += 1
        if self.failing_close:
            raise SandboxError("cannot be closed")


class FakeSandboxes(Sandboxes):
    name = "fake"

    def __init__(self) -> None:
        self.made: list[FakeSandbox] = []
        self.failing_close = False

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        self.made.append(FakeSandbox())
        self.made[-1].failing_close = self.failing_close
        return self.made[-1]

    def describe(self) -> Mapping[str, Any]:
        return {}


WITH_SANDBOX = replace(make_task(), sandbox=SandboxSpec())


def policy_agents(script: Script | None = None, **settings: object) -> tuple[ScriptedPolicy, PolicyAgents]:
    tokenizer = chat(PLAIN)
    policy = ScriptedPolicy(script, vocabulary=600, encode=tokenizer.encode)
    made = replace(RolloutSettings(SamplingParams(max_tokens=32)), **settings)  # pyright: ignore
    return policy, PolicyAgents(policy, tokenizer, made)


async def one_turn(task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
    return Submission.answer(await agent.say(task.prompt))


ENVIRONMENT = FunctionEnvironment(one_turn)


async def test_a_group_of_rollouts_with_verdicts() -> None:
    policy, agents = policy_agents(lambda request: "42" if request.key[2] % 2 else "41")
    group = await run_group(ENVIRONMENT, "env", make_task(), agents, None, index=9, group_size=4)
    assert (group.index, group.environment, group.asked, group.dropped) == (9, "env", 4, ())
    assert group.outcomes == (False, True, False, True)
    assert [t.rollout for t in group.trajectories] == [0, 1, 2, 3]
    assert {t.ended for t in group.trajectories} == {"answered"}
    assert group.lowest_version == 0
    assert sorted(policy.ended_sessions) == [f"env/9/{r}" for r in range(4)]


async def test_gold_passes_and_empty_does_not() -> None:
    gold = await run_rollout(ENVIRONMENT, "env", make_task(), oracle_agent, None)
    assert gold.verdict is not None
    assert gold.verdict.passed
    empty = await run_rollout(ENVIRONMENT, "env", make_task(), empty_agent, None)
    assert empty.verdict is not None
    assert not empty.verdict.passed
    assert (gold.sampled_tokens, gold.lowest_version, len(gold.turns)) == (0, None, 1)


async def test_a_turn_cut_short_is_judged_and_marked() -> None:
    _, agents = policy_agents(lambda request: [300] * 99)
    trajectory = await run_rollout(ENVIRONMENT, "env", make_task(), agents, None)
    assert trajectory.ended == "length"
    assert trajectory.verdict is not None


async def test_an_episode_that_ends_early_is_judged_as_it_stands() -> None:
    async def forever(task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        while True:
            await agent.say("again")

    environment = FunctionEnvironment(forever)
    _, agents = policy_agents(lambda request: "42", max_turns=3)
    trajectory = await run_rollout(environment, "env", make_task(), agents, None)
    assert (trajectory.ended, len(trajectory.turns)) == ("turns", 3)
    assert trajectory.verdict is not None
    assert trajectory.verdict.passed
    # Nothing was said: there is nothing to judge.
    _, agents = policy_agents(max_context=3)
    trajectory = await run_rollout(environment, "env", make_task(), agents, None)
    assert (trajectory.ended, trajectory.verdict) == (
        "length",
        Verdict(False, "invalid_submission", "values", None),
    )


async def test_early_ends_and_failures_are_found_in_the_groups_that_task_groups_raise() -> None:
    async def in_parallel(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise(error))
        return passed()

    async def _raise(error: Exception) -> None:
        raise error

    environment = FunctionEnvironment(in_parallel)
    error: Exception = RolloutEnded("deadline")
    assert (await run_rollout(environment, "env", make_task(), empty_agent, None)).ended == "deadline"
    error = SandboxError("died")
    trajectory = await run_rollout(environment, "env", make_task(), empty_agent, None)
    assert (trajectory.boundary, trajectory.error) == ("sandbox", "died")


async def _raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "boundary", "text"),
    [
        (SandboxError("died"), "sandbox", "died"),
        (PolicyError("hung"), "policy", "hung"),
        (EnvironmentFailure("oops"), "environment", "oops"),
        (KeyError("x"), "environment", "KeyError: 'x'"),
        (TimeoutError("slow"), "environment", "TimeoutError: slow"),
        (asyncio.CancelledError(), "environment", "its code was cancelled from within"),
    ],
)
async def test_an_infrastructure_failure_is_never_a_verdict(error: BaseException, boundary: str, text: str) -> None:
    async def failing(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await agent.say(task.prompt)
        await _raising(error)
        return passed()

    trajectory = await run_rollout(FunctionEnvironment(failing), "env", make_task(), empty_agent, None)
    assert (trajectory.ended, trajectory.verdict) == ("infrastructure", None)
    assert (trajectory.boundary, trajectory.error) == (boundary, text)
    assert len(trajectory.turns) == 1


class Submits(FunctionEnvironment):
    """Takes what is judged from the replies by a function, in a whole episode and in one that was cut short."""

    def __init__(self, take: Callable[[Sequence[str]], Any], turns: int, verifier: Verifier | None = None) -> None:
        super().__init__(self._turns, verifier)
        self.take = take
        self.turns = turns

    async def _turns(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        replies = [await agent.say("again") for _ in range(self.turns)]
        return await self.submission(task, replies, sandbox)

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        return self.take(replies)


async def cut_short(environment: FunctionEnvironment) -> Trajectory:
    """An episode in which the model says 42 twice, and cannot say more."""
    _, agents = policy_agents(lambda request: "42", max_turns=2)
    return await run_rollout(environment, "env", make_task(), agents, None)


@pytest.mark.parametrize(("turns", "ended"), [(2, "answered"), (3, "turns")])
async def test_one_function_takes_what_is_judged_also_where_the_episode_was_cut_short(turns: int, ended: str) -> None:
    verifier = AnswerVerifier()
    trajectory = await cut_short(Submits(lambda replies: Submission.answer(" and ".join(replies)), turns, verifier))
    assert (trajectory.ended, trajectory.verdict) == (ended, passed())
    assert verifier.judged == [Submission.answer("42 and 42")]


@pytest.mark.parametrize(("turns", "ended"), [(2, "answered"), (3, "turns")])
async def test_what_cannot_be_submitted_is_an_invalid_submission_that_says_why(turns: int, ended: str) -> None:
    def take(replies: Sequence[str]) -> Submission:
        raise InvalidSubmission("a link:\nnot taken")

    verifier = AnswerVerifier()
    trajectory = await cut_short(Submits(take, turns, verifier))
    result = TestResult("submission", False, "a link:\\nnot taken")
    assert trajectory.ended == ended
    assert trajectory.verdict == Verdict(False, "invalid_submission", "values", None, tests=(result,))
    assert verifier.judged == []


@pytest.mark.parametrize("turns", [2, 3])
async def test_what_is_neither_submission_nor_verdict_is_the_environments_failure(turns: int) -> None:
    trajectory = await cut_short(Submits(lambda replies: True, turns))
    assert (trajectory.boundary, trajectory.verdict) == ("environment", None)
    assert trajectory.error == "the environment returned bool, which is neither a Submission nor a Verdict"


async def test_a_verdict_of_the_environments_own_stands() -> None:
    won = Verdict(True, "passed", "values", None, 0.5, scores={"moves": 3.0})

    async def game(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await agent.say(task.prompt)
        return won

    verifier = AnswerVerifier()
    environment = FunctionEnvironment(game, TimedVerifier(verifier))
    trajectory = await run_rollout(environment, "env", make_task(), empty_agent, None)
    assert (trajectory.verdict, trajectory.timings.judging, verifier.judged) == (won, 0.5, [])
    assert verifier.accepted == [won]


async def test_an_episode_that_hangs_is_dropped() -> None:
    async def hanging(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await asyncio.Event().wait()
        return passed()

    trajectory = await run_rollout(FunctionEnvironment(hanging), "env", make_task(), empty_agent, None, hung_after=0.02)
    assert (trajectory.boundary, trajectory.error) == ("environment", "the episode has not ended within 0.02 seconds")


async def test_the_users_mistake_passes_and_everything_is_closed() -> None:
    async def mistaken(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await sandbox.bash("x")
        raise ConfigError("a wrong option", key="options")

    provider = FakeSandboxes()
    with pytest.raises(ConfigError, match="options: a wrong option"):
        await run_group(
            FunctionEnvironment(mistaken), "env", WITH_SANDBOX, empty_agent, provider, index=0, group_size=3
        )
    assert [s.closed for s in provider.made] == [1, 1, 1]


async def test_failed_rollouts_are_retried_with_the_same_draws_then_dropped() -> None:
    failures = {0: 1, 1: 9}
    attempts = {0: 0, 1: 0, 2: 0}

    async def sometimes(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await agent.say(task.prompt)
        assert isinstance(agent, PolicyAgent)
        rollout = agent._name.rollout
        attempts[rollout] += 1
        if attempts[rollout] <= failures.get(rollout, 0):
            raise SandboxError(f"attempt {attempts[rollout]}")
        return passed()

    policy, agents = policy_agents()
    environment = FunctionEnvironment(sometimes)
    group = await run_group(
        environment, "env", make_task(), agents, None, index=0, group_size=3, retries=2, retry_delay=0.001
    )
    assert attempts == {0: 2, 1: 3, 2: 1}
    assert [t.rollout for t in group.trajectories] == [0, 2]
    (dropped,) = group.dropped
    assert (dropped.rollout, dropped.reason, dropped.boundary) == (1, "infrastructure", "sandbox")
    assert dropped.error == "attempt 3"
    assert group.asked == 3
    # A retry is the same rollout: the same key, the same tokens; its session ends once.
    keys = [r.key for r in policy.requests if r.key[2] == 1]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(group.trajectories[0].turns) == 1
    assert sorted(policy.ended_sessions) == ["env/0/0", "env/0/1", "env/0/2"]


async def test_sandboxes_are_made_lazily_closed_always_and_timed() -> None:
    async def working(task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        assert await sandbox.bash("ls") == "out"
        assert await sandbox.read_file("x") == b"content"
        await environment.verifier.run_public_tests(task, Submission.answer("41"), sandbox)
        return await one_turn(task, agent, sandbox)

    provider = FakeSandboxes()
    provider.failing_close = True
    verifier = SlowVerifier()
    environment = FunctionEnvironment(working, TimedVerifier(verifier))
    trajectory = await run_rollout(environment, "env", WITH_SANDBOX, oracle_agent, provider)
    assert [(s.used, s.closed) for s in provider.made] == [(2, 1)]
    assert trajectory.verdict is not None  # failing to close takes no verdict away
    timings = trajectory.timings
    assert timings.sandbox >= 0.03
    assert timings.judging >= 0.06  # the public tests and the hidden ones, each once
    assert timings.judging < 0.12
    assert timings.total >= timings.sandbox + timings.judging
    assert timings.started > 0


class SlowVerifier(AnswerVerifier):
    async def judge(self, task: Task, submission: Submission) -> Verdict:
        await asyncio.sleep(0.03)
        return await super().judge(task, submission)


async def test_a_task_without_a_sandbox_has_none() -> None:
    async def using(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await sandbox.write_files({})
        await sandbox.bash("ls")
        return passed()

    environment = FunctionEnvironment(using)
    trajectory = await run_rollout(environment, "env", make_task(), empty_agent, FakeSandboxes())
    assert trajectory.boundary == "environment"
    assert "task/0 has no sandbox" in trajectory.error
    with pytest.raises(ConfigError, match="task/0 needs a sandbox, and there is no provider"):
        await run_rollout(environment, "env", WITH_SANDBOX, empty_agent, None)


async def test_cancellation_closes_sandboxes_and_sessions_and_leaves_nothing_running() -> None:
    async def stuck(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await sandbox.bash("x")
        await agent.say(task.prompt)
        return passed()

    policy, agents = policy_agents(lambda request: [300] * 30)
    policy._delay = lambda request: 60.0
    provider = FakeSandboxes()
    before = asyncio.all_tasks()
    running = asyncio.create_task(
        run_group(FunctionEnvironment(stuck), "env", WITH_SANDBOX, agents, provider, index=0, group_size=3)
    )
    while len(policy.requests) < 3:
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.sleep(0.005)
    running.cancel()  # once more, while it is closing: closing goes on
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [s.closed for s in provider.made] == [1, 1, 1]
    assert sorted(policy.ended_sessions) == ["env/0/0", "env/0/1", "env/0/2"]
    assert (await policy.status()).running == 0
    assert asyncio.all_tasks() == before


async def test_a_group_with_tool_calls_by_scripted_agents() -> None:
    async def tooled(task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        return Submission.answer(await agent.run(task.prompt, [sandbox.bash]))

    call = '<tool_call>{"name": "bash", "arguments": {"command": "echo 42"}}</tool_call>'
    provider = FakeSandboxes()
    trajectory = await run_rollout(
        FunctionEnvironment(tooled), "env", WITH_SANDBOX, lambda task, name: ScriptedAgent([call, "42"]), provider
    )
    assert trajectory.turns[0].observation[0].content == "out"
    assert trajectory.verdict is not None
    assert trajectory.verdict.passed
