"""The generator of `agent_rl_envs.synthesis`: families, splits, references, normal form, determinism."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from agent_rl.contracts import Sandbox, Verifier
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import CallTests, Submission, Task, Verdict
from agent_rl_envs.synthesis import Synthesis, SynthesisConfig, normalise
from agent_rl_envs.synthesis.families import FAMILIES
from agent_rl_envs.synthesis.problems import function, make_problem, outcome
from agent_rl_envs.synthesis.program_pool import balanced, entries, key_of, split_of

REPOSITORY = Path(__file__).parents[3]


class NoVerifier(Verifier):
    """Nothing is judged where tasks and demonstrations are only made."""

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        raise AssertionError("nothing is judged here")

    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        return verdict

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        raise AssertionError("nothing is judged here")

    async def prepare(self, task: Task) -> Task:
        return task


def synthesis(**options: object) -> Synthesis:
    return Synthesis(SynthesisConfig(**options), NoVerifier())  # pyright: ignore[reportArgumentType]


def tasks_of(split: str, **options: object) -> list[Task]:
    return list(asyncio.run(synthesis(**options).load(split)))


def test_families_cover_the_areas_at_several_difficulties() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names)) >= 25
    areas = Counter(family.area for family in FAMILIES)
    assert set(areas) == {
        "arithmetic", "conditions", "strings", "lists", "dictionaries", "recursion", "composition",
    }  # fmt: skip
    assert min(areas.values()) >= 3
    assert {family.difficulty for family in FAMILIES} == {1, 2, 3}


def test_both_splits_are_large_and_hold_every_family() -> None:
    for split, count in (("train", 2000), ("test", 400)):  # the numbers of tasks by default
        tasks = tasks_of(split)
        assert len({task.id for task in tasks}) == len(tasks) == count
        assert {task.metadata["family"] for task in tasks} == {family.name for family in FAMILIES}
        assert all(task.split == split for task in tasks)


def test_normal_form_ignores_names_docstrings_and_layout() -> None:
    plain = "def f(x):\n    return sum([v * 2 for v in x if v > 3])"
    other = (
        'def total(items: list[int]) -> int:\n    """Sums."""\n'
        "    return sum([  # twice each\n        items_2 * 2 for items_2 in items if items_2 > 3])\n"
    )
    assert normalise(plain) == normalise(other)


def test_normal_form_numbers_names_scope_by_scope() -> None:
    # g's v and the comprehension's v are different variables, whatever they are called.
    one = "def g(v):\n    return v + 1\ndef f(x):\n    return [g(v) for v in x]"
    two = "def step(a):\n    return a + 1\ndef f(b):\n    return [step(c) for c in b]"
    assert normalise(one) == normalise(two)


@pytest.mark.parametrize(
    "changed",
    [
        "def f(x):\n    return sum([v * 3 for v in x if v > 3])",  # a constant
        "def f(x):\n    return sum([v * 2 for v in x if v >= 3])",  # an operator
        "def f(x):\n    return max([v * 2 for v in x if v > 3])",  # a builtin: names not bound here count
        "def f(x):\n    return sum([v * 2 for v in x if x > 3])",  # another variable
        "def f(x):\n    return sum([v * 2 for v in x])",
    ],
)
def test_normal_form_keeps_what_a_program_does(changed: str) -> None:
    assert normalise("def f(x):\n    return sum([v * 2 for v in x if v > 3])") != normalise(changed)


def test_normal_form_refuses_what_is_no_python() -> None:
    with pytest.raises(SyntaxError):
        normalise("def f(x:")


def test_every_program_is_in_the_split_of_its_normal_form() -> None:
    train = {normalise(e.program.oracle) for e in entries() if e.split == "train"}
    test = {normalise(e.program.oracle) for e in entries() if e.split == "test"}
    assert len(train) + len(test) == len(entries())
    assert not train & test
    assert len(test) >= 400


def test_held_out_programs_occur_neither_in_training_nor_in_demonstrations() -> None:
    # Every program that a split can yield, whatever the seed, and thousands of demonstrations.
    held_out = {entry.program.oracle for entry in balanced("test", range(1, 4), seed=0)}
    trained = {entry.program.oracle for entry in balanced("train", range(1, 4), seed=0)}
    assert {task.oracle for task in tasks_of("test", seed=1)} <= held_out
    assert {task.oracle for task in tasks_of("train")} <= trained
    conversations = itertools.islice(synthesis().demonstrations(1), 5000)
    trained |= {m.content for conversation in conversations for m in conversation if m.role == "assistant"}
    held_out_forms = {normalise(source) for source in held_out}
    trained_forms = {normalise(source) for source in trained}
    assert len(held_out_forms) >= 400
    assert len(trained_forms) >= 5000  # wrong programs too
    assert not held_out_forms & trained_forms


def test_no_wrong_program_is_any_reference() -> None:
    # So no demonstration can show a held-out program by mistake, whatever is drawn. All of the pool is gone through.
    oracles = {entry.program.oracle for entry in entries()}
    keys = {entry.key for entry in entries()}
    wrong = {e.program.source(flaws) for e in entries() for flaws in range(1, 1 << len(e.program.sites))}
    assert not oracles & wrong
    # The full normal form is slower: a fixed tenth of the wrong programs.
    assert not keys & {key_of(source) for source in sorted(wrong)[::10]}


def test_references_pass_their_tests_and_every_single_mistake_fails_them() -> None:
    for task in tasks_of("train", train_tasks=400) + tasks_of("test"):
        assert task.oracle is not None and isinstance(task.tests, CallTests) and isinstance(task.public, CallTests)
        right = function(task.oracle)
        assert len(task.public.cases) == 2
        assert 5 <= len(task.tests.cases) <= 12
        for case in (*task.tests.cases, *task.public.cases):
            assert outcome(right, case.args) == (case.expected, "")
    problems = [make_problem(entry, 0) for entry in entries()[::10]]
    for problem in [p for p in problems if p.sharp]:
        for site in range(len(problem.entry.program.sites)):
            variant = function(problem.entry.program.source(1 << site))
            assert any(outcome(variant, case.args) != (case.expected, "") for case in problem.hidden)


def test_prompts_are_short_and_regular() -> None:
    for task in tasks_of("test"):
        (message,) = task.prompt
        request, *examples = message.content.splitlines()
        assert request.startswith("Write f(") and request.endswith(".")
        assert 5 <= len(request.split()) <= 30
        assert [line.startswith(">>> f(") for line in examples] == [True, False, True, False]


def test_seed_changes_tasks_and_examples_but_not_what_is_held_out() -> None:
    first, second = tasks_of("test", seed=1), tasks_of("test", seed=2)
    assert [t.id for t in first] != [t.id for t in second]
    assert all(split_of(t.id.rpartition("/")[2]) == "test" for t in (*first, *second))
    again = {t.id: t for t in second}
    shared = [(t, again[t.id]) for t in first if t.id in again]
    assert shared
    assert sum(a.prompt != b.prompt for a, b in shared) > len(shared) * 0.8


def test_difficulties_select_families() -> None:
    tasks = tasks_of("test", min_difficulty=2, max_difficulty=2)
    assert {task.metadata["difficulty"] for task in tasks} == {2}


def test_unknown_split_is_the_users_mistake() -> None:
    with pytest.raises(ConfigError, match=r"split: the generated tasks have no such split \(did you mean 'test'\?\)"):
        tasks_of("tests")


def test_contradicting_difficulties_are_refused() -> None:
    with pytest.raises(ValueError, match="min_difficulty = 3 leaves no tasks"):
        SynthesisConfig(min_difficulty=3, max_difficulty=2)


_DIGEST = """
import asyncio, hashlib, itertools
from agent_rl_envs.synthesis import Synthesis, SynthesisConfig
env = Synthesis(SynthesisConfig(seed=3, train_tasks=100, test_tasks=50), None)
hashes = [t.hash for split in ("train", "test") for t in asyncio.run(env.load(split))]
talk = [m.content for c in itertools.islice(env.demonstrations(5), 100) for m in c]
print(hashlib.sha256(repr((hashes, talk)).encode()).hexdigest())
"""


def test_tasks_and_demonstrations_are_equal_in_every_process() -> None:
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("", "envs"))
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64
