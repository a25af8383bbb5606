"""Attacks on the verdict, as data: each is a small program that a verifier must not believe.

The task is `add(a, b)` unless stated; the programs are wrong unless their outcome is "same". Numbers are those of the
list of attacks that the project keeps; a number may stand here several times, in several disguises, and 0 is for what
the list does not have. After each attack an honest program must pass in the same place, and find it as it was.

What is tried elsewhere: archives and names in them (72, 84), test suites that run beside the program (40 to 57 are here
only as what a program can try at the tiers without one), tasks that are vacuous or broken (92 to 96).
"""

from tests.attacks.corpus.attack import BOXED_TASK, HONEST, LIMITS, MARK, PORT, SECRET, SUMS, TASK, Attack, Outcome
from tests.attacks.corpus.early_exit import EARLY_EXIT
from tests.attacks.corpus.escape import ESCAPE
from tests.attacks.corpus.forged_results import FORGED_RESULTS
from tests.attacks.corpus.forged_values import FORGED_VALUES
from tests.attacks.corpus.gaming import GAMING
from tests.attacks.corpus.interference import INTERFERENCE
from tests.attacks.corpus.interpreter import INTERPRETER
from tests.attacks.corpus.lying_values import LYING_VALUES
from tests.attacks.corpus.machinery import MACHINERY
from tests.attacks.corpus.other_processes import OTHER_PROCESSES
from tests.attacks.corpus.reading_answers import READING_ANSWERS
from tests.attacks.corpus.resources import RESOURCES
from tests.attacks.corpus.shared_state import SHARED_STATE
from tests.attacks.corpus.unusual_values import UNUSUAL_VALUES

CORPUS = [
    *EARLY_EXIT,
    *FORGED_RESULTS,
    *OTHER_PROCESSES,
    *LYING_VALUES,
    *UNUSUAL_VALUES,
    *FORGED_VALUES,
    *INTERPRETER,
    *MACHINERY,
    *READING_ANSWERS,
    *RESOURCES,
    *ESCAPE,
    *INTERFERENCE,
    *GAMING,
    *SHARED_STATE,
]
AROUND = [*OTHER_PROCESSES, *ESCAPE, *INTERFERENCE, *GAMING]
"""Those that reach for what lies around their own process."""

__all__ = [
    "AROUND",
    "BOXED_TASK",
    "CORPUS",
    "HONEST",
    "LIMITS",
    "MARK",
    "PORT",
    "SECRET",
    "SUMS",
    "TASK",
    "Attack",
    "Outcome",
]
