"""Which training tasks are dropped by a threshold: measured once, the same again, and nothing silently."""

import asyncio
import json

import pytest

from agent_rl.cache import cache_folder
from agent_rl.config import parse_config
from agent_rl.contracts import Environment, EnvironmentConfig
from agent_rl.environments import NamedEnvironment
from agent_rl.errors import ConfigError, EnvironmentFailure, SandboxError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.loop.sampler import LoadedEnvironment
from agent_rl.loop.task_selection import without_weak_tasks
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import AnswerTests, CallTests, Case, Message, Submission, Task

REFERENCE = "def f(x):\n    return x * x\n"


def task(name, *arguments, oracle=REFERENCE):
    """A task that asks for the square of each of `arguments`.

    The reference's mutants are x + x, x // x, x and None: of these f(0) sees two, f(2) three, and f(3) all four.
    """
    tests = CallTests("f", tuple(Case((x,), x * x) for x in arguments))
    return Task(name, (Message.user(name),), tests, oracle=oracle)


WEAK, MIDDLE, STRONG = task("weak", 0), task("middle", 2), task("strong", 3)
WRONG = task("wrong", 3, oracle="def f(x):\n    return x\n")
ANSWER = Task("answer", (Message.user("answer"),), AnswerTests("9"), oracle="9")


class Rows(Environment):
    async def load(self, split):
        return []

    async def rollout(self, task, agent, sandbox):
        return Submission.code(await agent.say(task.prompt))


@pytest.fixture
async def kept(tmp_path, monkeypatch):
    """The names of the tasks that are kept of the given ones; `kept.said`, `kept.file`, `kept.provider` say how."""
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))

    class Kept:
        def __init__(self):
            self.said = []
            self.file = tmp_path / "dropped_tasks.json"
            self.provider = InMemoryProvider()

        async def __call__(self, *tasks, minimum):
            self.said.clear()
            verifier = TaskVerifier(self.provider, minimum_isolation="memory", cache_size=0)
            environment = Rows(EnvironmentConfig(), verifier)
            named = [NamedEnvironment("rows", environment, 1.0, minimum)]
            sources = [LoadedEnvironment("rows", environment, tasks)]
            (source,) = await without_weak_tasks(named, sources, self.provider, self.file, self.said.append)
            return [t.id for t in source.tasks]

    answer = Kept()
    async with answer.provider:
        yield answer


async def test_weak_tasks_are_dropped_and_listed(kept):
    assert await kept(WEAK, STRONG, MIDDLE, minimum=0.75) == ["strong", "middle"]
    assert kept.said[-1] == "rows: 1 of 3 training tasks have a mutation score below 0.75 and are dropped; 2 are kept"
    (row,) = json.loads(kept.file.read_text())["environments"]
    assert (row["tasks"], row["minimum_mutation_score"], row["not_measured"]) == (3, 0.75, [])
    (dropped,) = row["dropped"]
    assert (dropped["task"], dropped["killed"], dropped["mutants"], dropped["score"]) == ("weak", 2, 4, 0.5)


async def test_without_a_threshold_nothing_is_measured(kept):
    assert await kept(WEAK, STRONG, minimum=0.0) == ["weak", "strong"]
    assert kept.provider.runs == 0
    assert not kept.file.exists()


async def test_a_task_is_measured_once(kept):
    await kept(WEAK, STRONG, minimum=0.75)
    # A reference, what does nothing, what returns None, and four mutants of each of two tasks.
    assert kept.provider.runs == 14
    kept.file.unlink()
    assert await kept(WEAK, STRONG, MIDDLE, minimum=0.5) == ["weak", "strong", "middle"]
    assert kept.provider.runs == 21
    assert "measuring the mutation scores of 1 tasks" in kept.said[0]


async def test_half_a_file_in_the_cache_is_measured_again(kept):
    await kept(WEAK, STRONG, minimum=0.75)
    for file in (cache_folder() / "mutation_scores").iterdir():
        file.write_text(file.read_text()[:20])
    kept.file.unlink()
    assert await kept(WEAK, STRONG, minimum=0.75) == ["strong"]
    assert kept.provider.runs == 28


async def test_a_run_that_goes_on_leaves_out_what_it_did(kept):
    await kept(WEAK, STRONG, minimum=0.75)
    for file in (cache_folder() / "mutation_scores").iterdir():
        file.unlink()
    runs = kept.provider.runs
    assert await kept(WEAK, STRONG, minimum=0.75) == ["strong"]
    assert kept.provider.runs == runs


async def test_a_task_whose_reference_fails_is_dropped_and_one_that_cannot_be_measured_is_kept(kept):
    assert await kept(WRONG, ANSWER, STRONG, minimum=0.1) == ["answer", "strong"]
    assert kept.said[-1].endswith("2 are kept (1 of them without a mutation score)")
    (row,) = json.loads(kept.file.read_text())["environments"]
    assert [(m["task"], m["why"]) for m in row["dropped"]] == [("wrong", "the oracle solution is judged failed")]
    assert [(m["task"], m["why"]) for m in row["not_measured"]] == [("answer", "an answer, not a program, is judged")]


async def test_tests_that_a_guess_passes_have_score_0(kept):
    floor = "def f(x):\n    return max(5, x % 3 + len(str(x)))\n"
    # Many of its mutants are other constants than 5, which the two cases see.
    constant = CallTests("f", (Case((1,), 5), Case((10,), 5)))
    shown = CallTests("f", (Case((3,), 9), Case((4,), 16)))
    nothing = CallTests("f", (Case(([],)), Case(([1],))), "checker", checker="def check(f):\n    f([])\n")
    tasks = (
        Task("constant", (Message.user("a"),), constant, oracle=floor),
        Task("shown", (Message.user("b"),), shown, public=shown, oracle=REFERENCE),
        Task("nothing", (Message.user("c"),), nothing, oracle="def f(x):\n    x.append(1)\n"),
    )
    assert await kept(*tasks, STRONG, minimum=0.01) == ["strong"]
    (row,) = json.loads(kept.file.read_text())["environments"]
    assert [(m["task"], m["score"], m["why"]) for m in row["dropped"]] == [
        ("constant", 0.0, "all 2 hidden cases expect 5"),
        ("shown", 0.0, "a stub passes: a table of the public examples"),
        ("nothing", 0.0, "a stub passes: pass"),
    ]


async def test_an_environment_without_a_strong_task_is_the_users_mistake(kept):
    with pytest.raises(
        ConfigError, match=r"the tests of all 2 training tasks are too weak, the best mutation score is 0.75"
    ):
        await kept(WEAK, MIDDLE, minimum=0.9)
    with pytest.raises(
        ConfigError, match=r"no mutation score can be measured for any of its 1 training tasks \(an answer"
    ):
        await kept(ANSWER, minimum=0.9)


async def test_an_infrastructure_error_is_raised_unchanged_and_nothing_is_left_running(kept):
    kept.provider = InMemoryProvider(fail=lambda index, request: SandboxError("no place"))
    await kept.provider.start()
    with pytest.raises(EnvironmentFailure, match="could not be judged"):
        await kept(*(task(f"task {n}", n) for n in range(20)), minimum=0.5)
    assert len(asyncio.all_tasks()) == 1


def test_the_threshold_is_a_key_of_each_environment():
    data = {"environments": [{"environment": "code", "minimum_mutation_score": 0.5}], "model": {"path": "m"}}
    assert parse_config(data).environments[0].minimum_mutation_score == 0.5
    data["environments"][0]["minimum_mutation_score"] = 1.5
    with pytest.raises(ConfigError, match=r"environments\.0\.minimum_mutation_score"):
        parse_config(data)
