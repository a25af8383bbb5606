"""Conversations for SFT. They contain right and wrong programs, and the prompt does not show which kind follows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from agent_rl import Message
from agent_rl_envs.synthesis.feedback import public_feedback
from agent_rl_envs.synthesis.problems import SynthesisProblem, function, make_problem
from agent_rl_envs.synthesis.program_pool import Entry, by_family


class Lesson:
    """A problem for many conversations. Each variant's program and feedback are computed once."""

    def __init__(self, problem: SynthesisProblem) -> None:
        self.problem = problem
        self.sites = len(problem.entry.program.sites)
        self._prompt = Message.user(problem.prompt)
        self._turns: dict[int, tuple[Message, Message | None]] = {}

    def turn(self, flaws: int) -> tuple[Message, Message | None]:
        """The variant with these flaws, and the environment's answer to it (None: the examples pass)."""
        if flaws not in self._turns:
            source = self.problem.entry.program.source(flaws)
            told = public_feedback(function(source), self.problem.public)
            self._turns[flaws] = Message.assistant(source), Message.user(told) if told else None
        return self._turns[flaws]

    def conversation(self, flaws: Callable[[int], int], max_turns: int) -> list[Message]:
        """One conversation of at most `max_turns` turns; `flaws` draws a variant, given the number of sites."""
        messages = [self._prompt]
        for turn in range(max_turns):
            program, told = self.turn(flaws(self.sites))
            messages.append(program)
            if told is None or turn == max_turns - 1:
                break
            messages.append(told)
        return messages


def demonstrations(
    seed: int, *, task_seed: int, max_turns: int, difficulties: range, flaw_rate: float
) -> Iterator[Sequence[Message]]:
    """Endless conversations about training programs, all families equally often, drawn from `seed`.

    Each site of each attempt is wrong with probability `flaw_rate`, independently of the other sites, the other
    attempt, the problem and its examples.
    """
    draw = random.Random(f"demonstrations {seed}")
    families = by_family("train", difficulties)

    @cache
    def lesson(entry: Entry) -> Lesson:
        return Lesson(make_problem(entry, task_seed))

    def flaws(sites: int) -> int:
        return sum(1 << site for site in range(sites) if draw.random() < flaw_rate)

    while True:
        chosen = lesson(draw.choice(draw.choice(families)))
        if chosen.problem.sharp:
            yield chosen.conversation(flaws, max_turns)
