"""Honest but unusual solutions, as data: each is right, and must be judged so at every place and level."""

from tests.system.attacks.honest.language import LANGUAGE
from tests.system.attacks.honest.library import LIBRARY
from tests.system.attacks.honest.program import Honest
from tests.system.attacks.honest.values import VALUES

FAMILIES = {"language": LANGUAGE, "values": VALUES, "library": LIBRARY}
HONEST_PROGRAMS = [program for family in FAMILIES.values() for program in family]

__all__ = ["FAMILIES", "HONEST_PROGRAMS", "Honest"]
