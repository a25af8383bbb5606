"""The rollout of `agent_rl_envs.synthesis`: turns, feedback and what is judged, with a scripted agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agent_rl.contracts import Agent, Prompt, RolloutEnded, Sandbox, Tool, Verifier
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import Message, SandboxSpec, Submission, Task, Verdict
from agent_rl_envs.synthesis import Synthesis, SynthesisConfig
from agent_rl_envs.synthesis.feedback import public_feedback
from agent_rl_envs.synthesis.problems import SynthesisProblem, function, make_problem
from agent_rl_envs.synthesis.program_pool import by_family


class ScriptedAgent(Agent):
    """Says its replies in turn and keeps what it was told."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.told: list[Prompt] = []

    async def say(self, prompt: Prompt) -> str:
        self.told.append(prompt)
        if not self.replies:
            raise RolloutEnded("turns")
        return self.replies.pop(0)

    async def run(self, prompt: Prompt, tools: Sequence[Tool], *, max_turns: int = 8) -> str:
        raise AssertionError("this environment has no tools")


class FakeVerifier(Verifier):
    """Passes programs that contain "good" and keeps what it was asked."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.judged: list[str] = []

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        self.judged.append(submission.text)
        return _verdict("good" in submission.text)

    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        return verdict

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        self.shown.append(submission.text)
        return _verdict("good" in submission.text, "f(1) gave 2, expected 3")

    async def prepare(self, task: Task) -> Task:
        return task


def _verdict(passed: bool, feedback: str = "") -> Verdict:
    return Verdict(passed, "passed" if passed else "failed", "values", "memory", feedback="" if passed else feedback)


def some_task() -> Task:
    return next(p for f in by_family("train", range(1, 4)) for e in f if (p := make_problem(e, 0)).sharp).task()


async def rollout(agent: ScriptedAgent, verifier: Verifier, max_turns: int = 2) -> Verdict:
    sandbox = InMemoryProvider().sandbox(SandboxSpec())
    submission = await Synthesis(SynthesisConfig(max_turns=max_turns), verifier).rollout(some_task(), agent, sandbox)
    return await verifier.judge(some_task(), submission)


async def test_a_first_answer_that_passes_the_examples_is_judged() -> None:
    agent, verifier = ScriptedAgent("good 1", "good 2"), FakeVerifier()
    assert (await rollout(agent, verifier)).passed
    assert agent.told == [some_task().prompt]
    assert (verifier.shown, verifier.judged) == (["good 1"], ["good 1"])


async def test_a_wrong_first_answer_is_told_and_the_second_is_judged() -> None:
    agent, verifier = ScriptedAgent("bad", "good"), FakeVerifier()
    assert (await rollout(agent, verifier)).passed
    assert agent.told == [some_task().prompt, "f(1) gave 2, expected 3"]
    # The last answer's examples are not run: its hidden tests say more.
    assert (verifier.shown, verifier.judged) == (["bad"], ["good"])


async def test_the_last_answer_counts_also_where_it_is_wrong() -> None:
    verifier = FakeVerifier()
    assert not (await rollout(ScriptedAgent("bad", "worse", "good"), verifier)).passed
    assert verifier.judged == ["worse"]


@pytest.mark.parametrize(("max_turns", "shown"), [(1, []), (3, ["bad", "worse"])])
async def test_max_turns_is_how_often_the_agent_answers(max_turns: int, shown: list[str]) -> None:
    agent, verifier = ScriptedAgent("bad", "worse", "worst", "good"), FakeVerifier()
    await rollout(agent, verifier, max_turns)
    assert len(agent.told) == max_turns
    assert verifier.shown == shown


async def test_the_end_of_a_rollout_passes_through() -> None:
    with pytest.raises(RolloutEnded, match="turns"):
        await rollout(ScriptedAgent("bad"), FakeVerifier())


async def test_a_rollout_cut_short_is_judged_by_its_last_program() -> None:
    environment = Synthesis(SynthesisConfig(), FakeVerifier())
    sandbox = InMemoryProvider().sandbox(SandboxSpec())
    submission = await environment.submission(some_task(), ["bad", "```python\ngood\n```"], sandbox)
    assert submission == Submission.code("good\n")


def a_few_problems() -> list[SynthesisProblem]:
    return [
        next(problem for entry in family if (problem := make_problem(entry, 0)).sharp)
        for family in by_family("train", range(1, 4))
    ]


async def test_the_judge_agrees_with_the_generator_and_demonstrations_show_its_very_words() -> None:
    async with InMemoryProvider() as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory")  # pyright: ignore[reportArgumentType]
        for problem in a_few_problems():
            task = problem.task()
            program = problem.entry.program
            assert (await verifier.judge(task, Submission.code(program.oracle))).passed
            all_wrong = (1 << len(program.sites)) - 1
            for flaws in (1, all_wrong):
                submission = Submission.code(program.source(flaws))
                assert not (await verifier.judge(task, submission)).passed
                report = await verifier.run_public_tests(task, submission)
                assert report.feedback == public_feedback(function(submission.text), problem.public)


async def test_real_verdicts_drive_both_turns() -> None:
    problem = next(p for p in a_few_problems() if public_feedback(function(p.entry.program.source(1)), p.public))
    wrong, right = problem.entry.program.source(1), problem.entry.program.oracle
    async with InMemoryProvider() as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory")  # pyright: ignore[reportArgumentType]
        environment = Synthesis(SynthesisConfig(), verifier)
        agent = ScriptedAgent(wrong, f"```python\n{right}\n```")
        task = problem.task()
        submission = await environment.rollout(task, agent, provider.sandbox(SandboxSpec()))
        assert (await verifier.judge(task, submission)).passed
        feedback = agent.told[1]
        assert isinstance(feedback, str)
        assert feedback.startswith("f(") and " gave " in feedback and ", expected " in feedback


async def test_demonstrations_are_conversations_that_a_rollout_could_have_been() -> None:
    environment = Synthesis(SynthesisConfig(), FakeVerifier())
    tasks = {task.prompt: task for task in await environment.load("train")}
    async with InMemoryProvider() as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory")  # pyright: ignore[reportArgumentType]
        replayed = 0
        demonstrations = environment.demonstrations(0)
        while replayed < 30:
            prompt, *rest = next(demonstrations)
            if (prompt,) not in tasks:
                continue
            replies = [message.content for message in rest if message.role == "assistant"]
            agent = ScriptedAgent(*replies)
            live = Synthesis(SynthesisConfig(), verifier)
            await live.rollout(tasks[prompt,], agent, provider.sandbox(SandboxSpec()))
            assert agent.told[1:] == [message.content for message in rest if message.role == "user"]
            assert not agent.replies
            replayed += 1


def test_loading_is_the_same_for_every_instance() -> None:
    first, second = (Synthesis(SynthesisConfig(test_tasks=30), FakeVerifier()) for _ in range(2))
    assert asyncio.run(first.load("test"))[0] == asyncio.run(second.load("test"))[0]
    assert isinstance(asyncio.run(first.load("test"))[0].prompt[0], Message)
