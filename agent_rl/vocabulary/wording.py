"""Texts that describe outcomes: short, and safe to print, no matter what the candidate wrote."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from agent_rl.vocabulary.stand_ins import Derived, Items
from agent_rl.vocabulary.task import Case

MAX_VALUE = 100
"""Characters of one value."""
MAX_LINE = 300


class _Short(reprlib.Repr):
    """repr of plain values. It bounds how much of a value is read, not only how much is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 6
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 24
        self.maxstring = self.maxother = self.maxlong = MAX_VALUE

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write ints of more than 4300 digits in decimal.
        return repr(x) if x.bit_length() < 4096 else f"<int of {x.bit_length()} bits>"

    def repr_Fraction(self, x: Fraction, level: int) -> str:
        return f"Fraction({self.repr_int(x.numerator, level)}, {self.repr_int(x.denominator, level)})"

    def repr_Derived(self, x: Derived, level: int) -> str:
        return f"{x.name[:MAX_VALUE]}({self.repr1(x.content, level - 1)})"

    def repr_Items(self, x: Items, level: int) -> str:
        return f"<{x.kind} of {self.repr1(x.content, level - 1)}>"


_SHORT = _Short()


def show(value: Any) -> str:
    """`value` as Python would write it, at most MAX_VALUE characters and "..."."""
    return printable(_SHORT.repr(value), MAX_VALUE)


def show_call(entry_point: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The call as one would write it: `f(3, x=1)`."""
    parts = [*map(show, args), *(f"{name}={show(value)}" for name, value in kwargs.items())]
    return printable(f"{entry_point}({', '.join(parts)})", 2 * MAX_VALUE)


def printable(text: str, limit: int = MAX_LINE) -> str:
    """`text` in one line of at most `limit` characters and "...". Control characters are escaped."""
    cut = text[:limit]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return cut if len(text) <= limit else f"{cut}..."


def block(text: str, lines: int = 20, limit: int = 2000) -> str:
    """The last lines of `text`, each printable, in at most about `limit` characters; for people, not for agents."""
    shown = [printable(line.rstrip()) for line in text[-16 * limit :].strip().splitlines()[-lines:] if line.strip()]
    joined = "\n".join(shown)
    return joined if len(joined) <= limit else f"...{joined[-limit:]}"


def last_line(error: str) -> str:
    """The last line of an error's text that is not blank."""
    lines = error.strip().splitlines()
    return printable(lines[-1].strip()) if lines else "an error without a message"


def gave(entry_point: str, case: Case, value: Any) -> str:
    """The returned and the expected value: `f(3) gave 4, expected 9`."""
    return f"{show_call(entry_point, case.args, case.kwargs)} gave {show(value)}, expected {show(case.expected)}"


def raised(entry_point: str, case: Case, error: str) -> str:
    """The raised error and the expected value: `f(3) raised ValueError: no, expected 9`."""
    call = show_call(entry_point, case.args, case.kwargs)
    return f"{call} raised {last_line(error)}, expected {show(case.expected)}"


def unheld(entry_point: str, case: Case, why: str) -> str:
    """That the value has no canonical form: `f(3) gave what cannot be compared (type function), expected 9`."""
    call = show_call(entry_point, case.args, case.kwargs)
    return f"{call} gave what cannot be compared ({printable(why)}), expected {show(case.expected)}"


def unanswered(entry_point: str, case: Case, why: str) -> str:
    """That the call gave no answer, and why: `f(3) gave no answer (timeout), expected 9`."""
    return f"{show_call(entry_point, case.args, case.kwargs)} gave no answer ({why}), expected {show(case.expected)}"


def call_feedback(entry_point: str, case: Case, value: Any, error: str = "") -> str:
    """What `Verifier.run_public_tests` tells the agent of a failed case: the returned value, or the `error`.

    For demonstrations that are to show what rollouts show.
    """
    return raised(entry_point, case, error) if error else gave(entry_point, case, value)
