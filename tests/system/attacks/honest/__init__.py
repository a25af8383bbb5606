"""Honest but unusual solutions, as data: each is right, and must be judged so at every place and level."""

from tests.system.attacks.honest.calls import CALLS
from tests.system.attacks.honest.language import LANGUAGE
from tests.system.attacks.honest.library import LIBRARY
from tests.system.attacks.honest.program import Honest
from tests.system.attacks.honest.tested_functions import TESTED_FUNCTIONS
from tests.system.attacks.honest.tested_objects import TESTED_OBJECTS
from tests.system.attacks.honest.values import VALUES
from tests.system.attacks.honest.whole_input import WHOLE_INPUT
from tests.system.attacks.honest.whole_library import WHOLE_LIBRARY

FAMILIES = {
    "language": LANGUAGE,
    "values": VALUES,
    "library": LIBRARY,
    "calls": CALLS,
    "whole-input": WHOLE_INPUT,
    "whole-library": WHOLE_LIBRARY,
    "tested-functions": TESTED_FUNCTIONS,
    "tested-objects": TESTED_OBJECTS,
}
HONEST_PROGRAMS = [program for family in FAMILIES.values() for program in family]

__all__ = ["FAMILIES", "HONEST_PROGRAMS", "Honest"]
