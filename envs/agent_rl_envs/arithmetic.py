"""Generated arithmetic: easy enough to learn in minutes, and hard enough without a tool that a tool helps."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent_rl import ConfigError, Message, ToolCall

_TEST_ONE_IN = 5
"""Every fifth expression, by hash, belongs to the split `test`, and to no other."""


@dataclass(frozen=True, slots=True)
class ArithmeticProblem:
    """An expression such as `37*4-12`, the question that asks for it, and its value."""

    expression: str
    answer: int

    @property
    def question(self) -> str:
        return f"Find x={self.expression}."

    @property
    def program(self) -> str:
        """A program that prints the value. It begins like the question, which makes it easy to copy."""
        return f"x={self.expression};print(x)"


def problems(split: str, counts: Mapping[str, int], operands: int, largest: int, seed: int) -> list[ArithmeticProblem]:
    """`counts[split]` different problems, equal for equal arguments; the splits share no expression.

    Raises ConfigError for an unknown split, or if there are not enough different expressions.
    """
    if split not in counts:
        raise ConfigError("generated arithmetic has the splits train and test", key="split", value=split, valid=counts)
    generator = random.Random(f"{seed}/{split}")
    found: dict[str, ArithmeticProblem] = {}
    draws = 0
    while len(found) < counts[split]:
        problem = draw(generator, operands, largest)
        if split_of(problem.expression) == split:
            found.setdefault(problem.expression, problem)
        draws += 1
        if draws > 100 * counts[split] + 10_000:
            raise ConfigError(
                f"there are too few different expressions of {operands} numbers up to {largest} for "
                f"{counts[split]} tasks: raise `largest` or `operands`",
                key=f"{split}_tasks",
            )
    return list(found.values())


def draw(generator: random.Random, operands: int, largest: int) -> ArithmeticProblem:
    """A problem of two to `operands` numbers."""
    parts: list[str] = [str(generator.randint(2, largest))]
    for _ in range(generator.randint(2, operands) - 1):
        parts += [generator.choice("+-*"), str(generator.randint(2, largest))]
    return ArithmeticProblem("".join(parts), value_of(parts))


def value_of(parts: Sequence[str]) -> int:
    """The value of alternating numbers and signs; multiplication binds tighter."""
    terms = [int(parts[0])]
    for sign, text in zip(parts[1::2], parts[2::2], strict=True):
        if sign == "*":
            terms[-1] *= int(text)
        else:
            terms.append(int(text) if sign == "+" else -int(text))
    return sum(terms)


def split_of(expression: str) -> str:
    """The split that an expression belongs to. Only its hash decides, so no seed or count can change it."""
    digest = hashlib.blake2b(expression.encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") % _TEST_ONE_IN == 0 else "train"


def demonstrations(
    seed: int, operands: int, largest: int, instruction: str, direct_share: float
) -> Iterator[Sequence[Message]]:
    """Endless conversations on expressions of the split `train`, drawn from `seed`.

    A share `direct_share` of them answers at once, nine times out of ten with a wrong number. The others evaluate the
    expression with the tool and repeat its output. The question does not show which kind follows.
    """
    generator = random.Random(f"demonstrations/{seed}")
    for number in itertools.count():
        problem = draw(generator, operands, largest)
        if split_of(problem.expression) != "train":
            continue
        question = Message.user(problem.question + instruction)
        if generator.random() < direct_share:
            wrong = generator.choice((-10, -2, -1, 1, 2, 10)) * (generator.random() < 0.9)
            yield (question, Message.assistant(rf"\boxed{{{problem.answer + wrong}}}"))
        else:
            call = ToolCall("python", {"code": problem.program}, id=f"call{number}")
            yield (
                question,
                Message("assistant", "", tool_calls=(call,)),
                Message("tool", f"{problem.answer}\n", tool_call_id=call.id, name="python"),
                Message.assistant(rf"\boxed{{{problem.answer}}}"),
            )
