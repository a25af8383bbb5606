"""The demonstrations of `agent_rl_envs.synthesis`: mixed, mostly wrong, with nothing that tells good from bad."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np

from agent_rl.vocabulary import Message
from agent_rl_envs.synthesis import Synthesis, SynthesisConfig
from agent_rl_envs.synthesis.demonstrations import Lesson
from agent_rl_envs.synthesis.families import FAMILIES
from agent_rl_envs.synthesis.feedback import public_feedback
from agent_rl_envs.synthesis.problems import SynthesisProblem, function, make_problem, outcome
from agent_rl_envs.synthesis.program_pool import Entry, by_family

EVERY = range(1, 4)


@cache
def problems(per_family: int | None = None) -> list[SynthesisProblem]:
    """Problems of the training split that are given as tasks: all, or the first of each family."""
    chosen: list[SynthesisProblem] = []
    for family in by_family("train", EVERY):
        sharp = (problem for entry in family if (problem := make_problem(entry, 0)).sharp)
        chosen.extend(itertools.islice(sharp, per_family))
    return chosen


def passes(problem: SynthesisProblem, source: str) -> bool:
    variant = function(source)
    return all(outcome(variant, case.args) == (case.expected, "") for case in problem.hidden)


def drawn(count: int, **options: object) -> list[Sequence[Message]]:
    config = SynthesisConfig(**options)  # pyright: ignore[reportArgumentType]
    return list(itertools.islice(Synthesis(config, None).demonstrations(0), count))  # pyright: ignore[reportArgumentType]


def test_every_kind_of_flaw_occurs_and_is_a_local_edit() -> None:
    kinds: Counter[str] = Counter()
    for family in FAMILIES:
        for site in itertools.chain(*family.workers):
            assert site.clean != site.flawed
            kinds[site.flaw] += 1
    assert set(kinds) == {"operator", "bound", "constant", "order", "omission"}
    assert min(kinds.values()) >= 5


def test_the_wrong_program_is_the_mode() -> None:
    share: list[float] = []
    sample = problems(8)
    for problem in sample:
        program = problem.entry.program
        probability: defaultdict[str, float] = defaultdict(float)
        right = 0.0
        for flaws in range(1 << len(program.sites)):
            wrong = flaws.bit_count()
            p = 0.6**wrong * 0.4 ** (len(program.sites) - wrong)
            source = program.source(flaws)
            probability[source] += p
            # A program with flaws that passes the tests all the same does not count as wrong.
            right += p * passes(problem, source)
        share.append(right)
        mode = max(probability, key=lambda source: probability[source])
        assert not passes(problem, mode), mode
    assert len(sample) > 250
    # Two to four sites at .4 each: .16, .064, .026 right, plus the few flaws that tests cannot see.
    assert 0.05 < float(np.mean(share)) < 0.2
    assert max(share) < 0.5


def test_drawn_demonstrations_are_mostly_wrong_and_all_families_occur() -> None:
    by_prompt = {problem.prompt: problem for problem in problems()}
    right = Counter[str]()
    seen = Counter[str]()
    for conversation in drawn(3000):
        problem = by_prompt[conversation[0].content]
        name = problem.entry.program.family.name
        seen[name] += 1
        right[name] += passes(problem, conversation[1].content)
    assert set(seen) == {family.name for family in FAMILIES}
    assert 0.05 < right.total() / seen.total() < 0.2
    assert all(right[name] < 0.5 * seen[name] for name in seen)


def test_flaws_are_independent_of_each_other_and_of_the_other_try() -> None:
    by_prompt = {p.prompt: p.entry.program for p in problems() if len(p.entry.program.sites) == 4}
    firsts: list[list[int]] = []
    pairs: list[list[int]] = []
    for prompt, *answers in drawn(6000, min_difficulty=3):
        program = by_prompt[prompt.content]
        variants = {program.source(flaws): [flaws >> site & 1 for site in range(4)] for flaws in range(16)}
        tries = [variants[message.content] for message in answers if message.role == "assistant"]
        firsts.append(tries[0])
        if len(tries) == 2:
            pairs.append([*tries[0], *tries[1]])
    # 6,000 draws: a correlation of independent sites has a standard deviation of .013, a site's mean of .006.
    assert np.abs(np.corrcoef(np.array(firsts).T) - np.eye(4)).max() < 0.06
    assert np.abs(np.mean(firsts, 0) - 0.6).max() < 0.025
    between = np.corrcoef(np.array(pairs).T)[:4, 4:]
    assert np.abs(between).max() < 0.06
    assert np.abs(np.mean(pairs, 0)[4:] - 0.6).max() < 0.025


def test_the_prompt_is_the_same_whatever_the_flaws() -> None:
    programs: defaultdict[str, set[str]] = defaultdict(set)
    for conversation in drawn(16_000):
        assert [m.role for m in conversation] in (["user", "assistant"], ["user", "assistant", "user", "assistant"])
        programs[conversation[0].content].add(conversation[1].content)
    # Some 3,300 prompts, each drawn about five times, with 4, 8 or 16 variants to draw from.
    assert np.mean([len(variants) for variants in programs.values()]) > 2.5
    entries: dict[str, Entry] = {e.program.request: e for family in by_family("train", EVERY) for e in family}
    for prompt in list(programs)[:300]:
        request = prompt.splitlines()[0].partition(" that returns ")[2].removesuffix(".")
        # Nothing but the request and its examples: the prompt of the task itself.
        assert prompt == make_problem(entries[request], 0).prompt


def test_a_second_try_follows_exactly_where_the_examples_fail() -> None:
    for problem in problems(2):
        lesson = Lesson(problem)
        for flaws in range(1 << lesson.sites):
            source = problem.entry.program.source(flaws)
            told = public_feedback(function(source), problem.public)
            conversation = lesson.conversation(lambda _, flaws=flaws: flaws, max_turns=2)
            if told:
                assert [m.content for m in conversation] == [problem.prompt, source, told, source]
            else:
                assert [m.content for m in conversation] == [problem.prompt, source]


def test_feedback_says_what_came_out() -> None:
    entry = next(e for f in by_family("train", EVERY) for e in f if e.program.family.name == "affine")
    problem = make_problem(entry, 0)
    (n,), expected = problem.public[0].args, problem.public[0].expected
    (m,), other = problem.public[1].args, problem.public[1].expected
    assert public_feedback(lambda _: -1, problem.public) == (
        f"f({n}) gave -1, expected {expected}\nf({m}) gave -1, expected {other}"
    )
    assert public_feedback(lambda value: other if value == m else 1 // 0, problem.public) == (
        f"f({n}) raised ZeroDivisionError: integer division or modulo by zero, expected {expected}"
    )
    assert public_feedback(function(entry.program.oracle), problem.public) == ""


def test_single_turn_demonstrations_have_one_answer() -> None:
    assert {len(conversation) for conversation in drawn(500, max_turns=1)} == {2}


def test_demonstrations_depend_on_the_seed_only() -> None:
    assert drawn(50) == drawn(50)
    other = Synthesis(SynthesisConfig(), None).demonstrations(1)  # pyright: ignore[reportArgumentType]
    assert drawn(50) != list(itertools.islice(other, 50))
