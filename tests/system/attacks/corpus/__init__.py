"""Attacks on the verdict, as data: each is a small program that a verifier must not believe.

The task is `add(a, b)` unless stated; the programs are wrong unless their outcome is "same". Numbers are those of the
list of attacks that the project keeps; a number may stand here several times, in several disguises, and 0 is for what
the list does not have. After each attack an honest program must pass in the same place, and find it as it was; after
all of them, where each run has a container of its own.

What is tried elsewhere: archives and names in them (72, 84), test suites that run beside the program (40 to 57 are here
only as what a program can try at the tiers without one), tasks that are vacuous or broken (92 to 96).
"""

from tests.system.attacks.corpus.attack import (
    BOXED_TASK,
    HONEST,
    LIMITS,
    MARK,
    PORT,
    SECRET,
    SUMS,
    TASK,
    Attack,
    Outcome,
)
from tests.system.attacks.corpus.early_exit import EARLY_EXIT
from tests.system.attacks.corpus.escape import ESCAPE
from tests.system.attacks.corpus.forged_results import FORGED_RESULTS
from tests.system.attacks.corpus.forged_values import FORGED_VALUES
from tests.system.attacks.corpus.gaming import GAMING
from tests.system.attacks.corpus.interference import INTERFERENCE
from tests.system.attacks.corpus.interpreter import INTERPRETER
from tests.system.attacks.corpus.lying_values import LYING_VALUES
from tests.system.attacks.corpus.other_processes import OTHER_PROCESSES
from tests.system.attacks.corpus.reading_answers import READING_ANSWERS
from tests.system.attacks.corpus.resources import RESOURCES
from tests.system.attacks.corpus.shared_state import SHARED_STATE
from tests.system.attacks.corpus.testing_tools import TESTING_TOOLS
from tests.system.attacks.corpus.unusual_values import UNUSUAL_VALUES

FAMILIES = {
    "early-exit": EARLY_EXIT,
    "forged-results": FORGED_RESULTS,
    "other-processes": OTHER_PROCESSES,
    "lying-values": LYING_VALUES,
    "unusual-values": UNUSUAL_VALUES,
    "forged-values": FORGED_VALUES,
    "interpreter": INTERPRETER,
    "testing-tools": TESTING_TOOLS,
    "reading-answers": READING_ANSWERS,
    "resources": RESOURCES,
    "escape": ESCAPE,
    "interference": INTERFERENCE,
    "gaming": GAMING,
    "shared-state": SHARED_STATE,
}
CORPUS = [attack for family in FAMILIES.values() for attack in family]
AROUND = ("other-processes", "escape", "interference", "gaming", "shared-state")
"""The families that reach for what lies around their own run, or leave something there."""

__all__ = [
    "AROUND",
    "BOXED_TASK",
    "CORPUS",
    "FAMILIES",
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
