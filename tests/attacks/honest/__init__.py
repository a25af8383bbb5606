"""Honest but unusual solutions, as data: each is right, and must be judged so at every place and level."""

from tests.attacks.honest.language import LANGUAGE
from tests.attacks.honest.library import LIBRARY
from tests.attacks.honest.program import Honest
from tests.attacks.honest.values import VALUES

HONEST_PROGRAMS = [*LANGUAGE, *VALUES, *LIBRARY]

__all__ = ["HONEST_PROGRAMS", "Honest"]
