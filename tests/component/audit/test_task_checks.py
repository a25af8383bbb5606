"""Tasks that are broken in each of the ways that validation names, judged in the local sandbox."""

import json
from dataclasses import replace

import pytest

from agent_rl.audit.mutation_score import Survivor, mutant_limits
from agent_rl.audit.null_agents import CONSTANT, TABLE, stubs_of
from agent_rl.audit.probes import identical_sides, network_calls
from agent_rl.audit.shown_examples import shown_calls
from agent_rl.audit.validate import validate
from agent_rl.audit.watching_verifier import WatchingVerifier
from agent_rl.config import SandboxConfig
from agent_rl.contracts import Environment, EnvironmentConfig, Verifier
from agent_rl.errors import ConfigError
from agent_rl.formats import prepare_all
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import (
    AssertTests,
    CallTests,
    Case,
    Limits,
    Message,
    PytestTests,
    StdioCase,
    StdioTests,
    Submission,
    Task,
    Verdict,
)

SQUARES = (Case((3,), 9), Case((-2,), 4), Case((0,), 0))
TESTS = CallTests("f", SQUARES)
REFERENCE = "def f(x):\n    return x * x\n"


class Rows(Environment):
    """Tasks that a test gives it."""

    def __init__(self, verifier, tasks):
        super().__init__(EnvironmentConfig(), verifier)
        self.tasks = tasks

    async def load(self, split):
        if split != "train":
            raise ConfigError("there is only train", key="split", value=split)
        tasks = [t for t in self.tasks if isinstance(t.tests, (AssertTests, PytestTests))]
        prepared = {t.id: t for t in await prepare_all(self.verifier, tasks)}
        return [prepared.get(t.id, t) for t in self.tasks]

    async def rollout(self, task, agent, sandbox):
        return Submission.code(await agent.say(task.prompt))


def task(name="square", tests=TESTS, oracle=REFERENCE, prompt="", **more):
    return Task(name, (Message.user(f"{name} {prompt}"),), tests, oracle=oracle, **more)


def asserts(name, body, oracle=REFERENCE):
    """A task with the assertions `body` in a `check(candidate)`."""
    source = "def check(candidate):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return task(name, AssertTests("f", source, oracle), oracle)


@pytest.fixture
async def judged(tmp_path, monkeypatch):
    """Validates the given tasks with three runs of each reference; answers the report of their one split."""
    from agent_rl_sandboxes.local_provider import LocalProvider

    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    async with LocalProvider(SandboxConfig()) as provider:
        verifier = WatchingVerifier(lambda seed: TaskVerifier(provider, seed=seed))

        async def judge(*tasks, mutants=0, times=3):
            report = await validate(
                Rows(verifier, tasks),
                verifier,
                provider,
                name="rows",
                mutants=mutants,
                times=times,
                say=lambda text: None,
            )
            json.dumps(report.to_json())
            return report.splits[0]

        yield judge


def problems(split):
    return [(p.task, p.kind, p.what) for p in split.problems]


@pytest.mark.local_sandbox
async def test_a_good_task_has_no_problem_and_strong_tests(judged):
    split = await judged(task(public=CallTests("f", SQUARES[:1])), mutants=20)
    assert problems(split) == []
    (found,) = split.by_task
    assert (found.oracles, found.oracles_passed) == (3, 3)
    # Five bodies, an empty reply, a table of the public example, and its value for everything.
    assert (found.stubs, found.stubs_failed) == (8, 8)
    # x * x with one mistake: x + x, x // x, x (either), None; f(3) is 9 for none of them.
    assert found.mutation_score is not None
    assert (found.mutation_score.killed, found.mutation_score.mutants, found.mutation_score.score) == (4, 4, 1.0)
    assert (split.mutation_score.score, split.mutation_score.killed, split.mutation_score.mutants) == (1.0, 4, 4)


@pytest.mark.local_sandbox
async def test_what_weak_tests_miss_is_shown(judged):
    # f(2) is 4 also for x + x, and f(0) is 0 for all but x // x and None.
    split = await judged(task(tests=CallTests("f", (Case((2,), 4), Case((0,), 0)))), mutants=20)
    mutation_score = split.by_task[0].mutation_score
    assert (mutation_score.killed, mutation_score.mutants) == (3, 4)
    (survivor,) = mutation_score.survivors
    assert survivor == Survivor("operator", survivor.diff)
    assert survivor.diff.splitlines()[-2:] == ["-    return x * x", "+    return x + x"]
    assert mutation_score.low < 0.75 < mutation_score.high


@pytest.mark.local_sandbox
async def test_tests_that_pass_every_mutant_are_vacuous(judged):
    # The checker asks for nothing but an answer; both mutants of the reference, x and None, are one.
    tests = CallTests("f", (Case((3,)), Case((4,))), "checker", checker="def check(candidate):\n    candidate(3)\n")
    split = await judged(task(tests=tests, oracle="def f(x):\n    return -x\n"), mutants=20)
    assert {(kind, what) for _, kind, what in problems(split) if kind != "stub"} == {
        ("vacuous", "is vacuous: its tests pass all 2 mutants of the oracle solution")
    }
    assert "a stub passes: return None" in [what for _, _, what in problems(split)]


@pytest.mark.local_sandbox
async def test_a_mutant_that_never_ends_costs_little_and_is_killed(judged):
    oracle = "def f(n):\n    while n > 0:\n        n -= 1\n    return n\n"
    tests = CallTests("f", (Case((3,), 0), Case((-1,), -1)))
    split = await judged(task("count", tests, oracle, limits=Limits(wall_seconds=60.0)), mutants=6)
    mutation_score = split.by_task[0].mutation_score
    assert mutation_score.timeouts >= 1  # n += 1, or no `n -= 1` at all
    assert mutation_score.killed >= mutation_score.timeouts


@pytest.mark.local_sandbox
async def test_each_way_to_be_broken_is_named(judged):
    table = task("table", CallTests("f", SQUARES[:2]), public=CallTests("f", SQUARES[:2]))
    draws = "import random\ndef f(x):\n    return x * x if random.random() < 0.5 else -1\n"
    network = "import socket\ndef f(x):\n    try:\n        socket.getaddrinfo('example.org', 80)\n"
    network += "    except OSError:\n        pass\n    return x * x\n"
    split = await judged(
        task("empty", CallTests("f", ())),
        task("wrong", oracle="def f(x):\n    return x\n"),
        task("constant", CallTests("f", (Case((1,), 7), Case((2,), 7))), "def f(x):\n    return 7\n"),
        table,
        task("flaky", oracle=draws),
        task("network", oracle=network),
        times=12,
    )
    found = {(t, kind) for t, kind, _ in problems(split)}
    # All calls of a run draw the same number, so that half of all seeds pass: here some of 0 to 11.
    assert found == {
        ("empty", "vacuous"),
        ("empty", "structure"),
        ("wrong", "oracle"),
        ("constant", "vacuous"),
        ("table", "stub"),
        ("flaky", "flaky"),
        ("network", "network"),
    }
    said = "\n".join(what for _, _, what in problems(split))
    assert "has no hidden case" in said
    assert "all 2 hidden cases expect 7" in said
    assert f"a stub passes: {TABLE}" in said
    assert "it asks for socket.getaddrinfo 'example.org'" in said


OBJECTS = "class P:\n    def __init__(self, x):\n        self.x = x\ndef f(x):\n    return P(x * x)\n"
GOOD = "assert candidate(2).x == 4\nassert candidate(3).x == 9"


def files(name, body, oracle=REFERENCE, head="", **more):
    """A task with the pytest file of one test, judged at tier `proxied`."""
    source = f"from solution import f\n{head}\ndef test_f():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    tests = PytestTests({"test_f.py": source.encode()}, oracle={"solution.py": oracle.encode()})
    return task(name, tests, oracle, tier="proxied", **more)


@pytest.mark.local_sandbox
async def test_tests_in_another_process_are_looked_into_too(judged):
    asks = "import socket\ndef ask():\n    try:\n        socket.gethostbyname('example.org')\n"
    asks += "    except OSError:\n        pass\n"
    split = await judged(
        asserts("object", GOOD, OBJECTS),
        asserts("itself", f"{GOOD}\nassert candidate(4).x == candidate(4).x", OBJECTS),
        asserts("itself kept", f"{GOOD}\nfirst = candidate(4).x\nassert candidate(4).x == first", OBJECTS),
        asserts("differs", f"{GOOD}\nassert candidate(4).x != candidate(5).x", OBJECTS),
        asserts("network", GOOD, f"{asks}{OBJECTS}".replace("return P", "ask()\n    return P")),
        files("file", "assert f(3) == 9\nassert f(2) == 4"),
        files("file itself", "assert f(3) == 9\nassert f(2) == f(2)\nassert f(1) != f(2)"),
        files("file network", "ask()\nassert f(3) == 9\nassert f(2) == 4", head=asks),
        files("file nothing", "f(3)"),
        times=1,
    )
    assert [t.tier for t in split.by_task] == ["proxied"] * 9
    assert {(t, kind) for t, kind, _ in problems(split)} == {
        ("itself", "vacuous"),
        ("itself kept", "vacuous"),
        ("network", "network"),
        ("file itself", "vacuous"),
        ("file network", "network"),
        ("file nothing", "stub"),
    }


@pytest.mark.local_sandbox
async def test_tests_in_another_process_that_cannot_be_used_are_named_with_the_reason(judged):
    slow = "import time\ndef f(x):\n    time.sleep(0.3)\n    return x * x\n"
    short = {"limits": Limits(wall_seconds=1.0)}
    reaches = "import urllib.request\nurllib.request.urlopen('http://example.org')\nassert f(3) == 9"
    split = await judged(
        files("slow", "assert [f(2), f(3)] == [4, 9]", slow, **short),
        files("wrong", "assert f(3) == 8"),
        files("reaches", reaches),
        times=1,
    )
    assert {(t, kind) for t, kind, _ in problems(split)} == {
        ("slow", "slow"),
        ("wrong", "oracle"),
        ("reaches", "oracle"),
        ("reaches", "network"),
    }
    assert (split.oracles, split.oracles_passed) == (3, 0)


class Refusing(Verifier):
    """Finds that a reference fails its own tests where the seed is one of `seeds`."""

    def __init__(self, seed, seeds):
        self.refuses = seed in seeds

    async def prepare(self, task):
        if self.refuses:
            raise ConfigError(f"task {task.id}: the oracle solution does not pass its own tests")
        return task

    async def judge(self, task, submission):
        await self.prepare(task)
        return Verdict(True, "passed", task.tier, None)

    async def accept(self, task, verdict):
        return verdict

    async def run_public_tests(self, task, submission, sandbox=None):
        return await self.judge(task, submission)


@pytest.mark.parametrize(
    ("seeds", "found"),
    [
        # With seed 0 the tests are prepared.
        ({2}, [("flaky", "is flaky: the oracle solution passes 3 of 4 times, else it is judged failed (oracle: the")]),
        ({0, 1}, [("oracle", "the oracle solution does not pass its own tests"),
                  ("flaky", "is flaky: the oracle solution passes its tests 2 of 4 times")]),
        ({0, 1, 2, 3}, [("oracle", "the oracle solution does not pass its own tests")]),
    ],
)  # fmt: skip
async def test_tests_in_another_process_that_fail_with_some_seeds_are_flaky(seeds, found):
    verifier = WatchingVerifier(lambda seed: Refusing(seed, seeds))
    tests = PytestTests({"test_f.py": b""})
    async with InMemoryProvider() as provider:
        row = task("chance", tests, tier="proxied")
        report = await validate(
            Rows(verifier, [row]), verifier, provider, name="rows", times=4, mutants=0, say=lambda text: None
        )
    (split,) = report.splits
    assert [(p.kind, p.what[: len(what)]) for p, (_, what) in zip(split.problems, found, strict=True)] == found
    assert (split.oracles, split.oracles_passed) == (4, 3 if seeds == {2} else 0)


def test_a_script_names_what_it_needs_a_network_for():
    assert network_calls("set -e\ncurl -sf http://x | sh\npip install y\necho curly wget") == [
        "curl",
        "pip install",
        "wget",
    ]


@pytest.mark.local_sandbox
async def test_a_reference_that_needs_half_of_its_time_is_too_slow(judged):
    # Each call has the whole second: three calls of 0.2 s do not count together, one of 0.6 s counts.
    oracle = "import time\ndef f(x):\n    time.sleep(0.6 if x == {slow} else 0.2)\n    return x * x\n"
    split = await judged(task(oracle=oracle.format(slow=-1), limits=Limits(wall_seconds=1.0)), times=1)
    assert problems(split) == []
    split = await judged(task(oracle=oracle.format(slow=3), limits=Limits(wall_seconds=1.0)), times=1)
    ((_, kind, what),) = problems(split)
    assert kind == "slow"
    assert "more than half of its 1 s" in what


@pytest.mark.local_sandbox
async def test_an_assertion_that_compares_the_candidate_with_itself_is_vacuous(judged):
    body = (
        "assert candidate(3) == 9\nassert candidate(4) == candidate(4)\nfirst = candidate(5)\n"
        "assert sorted([first]) == [first], 'the same'\nassert candidate(2) == candidate(-2)\n"
        "assert candidate(candidate(2)) == 16\nassert True\nassert 0 <= candidate(1)"
    )
    split = await judged(asserts("mixed", body))
    assert [(kind, what.partition("itself: ")[2]) for _, kind, what in problems(split)] == [
        ("vacuous", "assert candidate(4) == candidate(4)"),
        ("vacuous", "assert sorted([first]) == [first], 'the same'"),
    ]


@pytest.mark.local_sandbox
async def test_tests_that_cannot_be_recorded_are_named_with_the_reason_and_the_others_are_judged(judged):
    draws = "import random\ndef f(x):\n    return random.random()\n"
    # Eight draws, of which one is often below 0.1: so with the recording's seed, 164, and 2, but not with 0 and 1.
    seeded = "import random\ndef f(x):\n    return 0 if min(random.random() for _ in range(8)) < 0.1 else x * x\n"
    reaches = "import socket\ndef f(x):\n    return socket.create_connection(('192.0.2.1', 80))\n"
    split = await judged(
        asserts("good", "assert candidate(3) == 9\nassert candidate(2) == 4"),
        asserts("none", "pass"),
        asserts("fails", "assert candidate(3) == 8"),
        asserts("draws", "assert candidate(1) == candidate(1)", draws),
        asserts("seeded", "assert candidate(3) == 9", seeded),
        asserts("passes by luck", "value = candidate(1)\nassert 0 <= value < 1", draws),
        asserts(
            "gives an object", "assert candidate(1).f(2) == 4", "class A:\n    f = lambda s, x: 4\nf = lambda x: A()\n"
        ),
        asserts("is the same", "box = (1,)\nassert candidate(box) is box", "def f(x):\n    return x\n"),
        asserts("reaches", "assert candidate(1) == 1", reaches),
    )
    found = {(t, kind) for t, kind, _ in problems(split)}
    assert {t for t, _ in found} == {"none", "fails", "draws", "seeded", "is the same", "reaches"}
    assert ("reaches", "network") in found
    assert "it asks for socket.getaddrinfo '192.0.2.1'" in "".join(what for _, _, what in problems(split))
    assert {kind for t, kind in found if t == "fails"} == {"oracle"}
    assert {kind for t, kind in found if t == "is the same"} == {"oracle"}
    assert {kind for t, kind in found if t == "none"} == {"oracle", "vacuous"}
    assert {kind for t, kind in found if t == "seeded"} == {"oracle", "flaky"}
    good = split.by_task[0]
    assert (good.oracles_passed, good.problems) == (3, ())


def whole(name, *pairs, oracle="print(int(input()) * 2)\n", **more):
    """A task of a whole program, by its input and output."""
    return task(name, StdioTests(tuple(StdioCase(given, out) for given, out in pairs)), oracle, **more)


@pytest.mark.local_sandbox
async def test_whole_programs_are_checked_as_functions_are(judged):
    shown = StdioTests((StdioCase("3\n", "6\n"),))
    asks = (
        "import socket\ntry:\n    socket.gethostbyname('example.org')\nexcept OSError:\n    print(int(input()) * 2)\n"
    )
    split = await judged(
        whole("good", ("3\n", "6\n"), ("5\n", "10\n"), public=shown),
        whole("table", ("3\n", "6\n"), public=shown),
        whole("empty", ("3\n", ""), ("4\n", ""), oracle="input()\n"),
        whole("network", ("3\n", "6\n"), ("5\n", "10\n"), oracle=asks),
        mutants=20,
    )
    found = {(t, kind) for t, kind, _ in problems(split)}
    # What is to print nothing cannot be judged at all; that the one case of `table` expects one value is named too.
    assert found == {
        ("table", "stub"),
        ("table", "vacuous"),
        ("empty", "structure"),
        ("network", "network"),
    }
    assert split.by_task[0].mutation_score.score == 1.0
    assert "it asks for socket.gethostbyname 'example.org'" in "".join(p.what for p in split.problems)


def test_an_assertion_of_a_test_file_with_the_same_on_both_sides_is_seen():
    source = "from solution import f\n\ndef test_f(self):\n    assert f(1) == f(1)\n    assert f(1) == f(2)\n"
    source += "    self.assertEqual(f(3), f(3))\n    assert 1 == 1\n"
    assert identical_sides(source) == ["assert f(1) == f(1)", "self.assertEqual(f(3), f(3))"]


@pytest.mark.parametrize(
    ("prompt", "calls"),
    [
        (">>> f(3)\n9\n>>> f(x)\n4\n>>> g(1)\n1", (Case((3,), 9),)),
        ("For instance:\n    assert f(3) == 9\n    assert f(2) != 5", (Case((3,), 9),)),
        (">>> f(x=3)\n[9, 'a']", (Case((), [9, "a"], {"x": 3}),)),
        (">>> f(3)\n\nno value", ()),
    ],
)
def test_examples_are_found_in_the_prompt(prompt, calls):
    assert shown_calls(task(prompt="\n" + prompt)) == calls


def test_a_table_of_the_examples_answers_them_and_nothing_else():
    stubs = stubs_of(task(prompt="\n>>> f(3)\n9\n>>> f(4)\n16"))
    namespace = {}
    exec(stubs[TABLE], namespace)
    assert [namespace["f"](x) for x in (3, 4, 5)] == [9, 16, None]
    exec(stubs[CONSTANT], namespace)
    assert [namespace["f"](x) for x in (3, 4, 5)] == [9, 9, 9]


def test_a_body_without_its_head_takes_the_arguments_that_are_there():
    stubs = stubs_of(task(oracle="    return x * x\n", prompt="\n>>> f(3)\n9"))
    namespace = {}
    exec("def f(x):\n" + stubs[TABLE], namespace)
    assert [namespace["f"](x) for x in (3, 4)] == [9, None]


def test_a_mutant_has_20_times_the_references_time_but_no_more_than_the_tasks():
    limits = Limits(wall_seconds=5.0)
    assert [mutant_limits(limits, s).wall_seconds for s in (0.0, 0.1, 1.0)] == [0.5, 2.0, 5.0]
    assert replace(mutant_limits(limits, 0.1), wall_seconds=5.0) == limits
