"""All families, as data. Requests are completed to "Write f(x) that returns <request>."."""

from __future__ import annotations

from agent_rl_envs.synthesis.families.containers import DICTIONARIES, LISTS
from agent_rl_envs.synthesis.families.functions import COMPOSITION, RECURSION
from agent_rl_envs.synthesis.families.numbers import ARITHMETIC, CONDITIONAL
from agent_rl_envs.synthesis.families.strings import STRINGS
from agent_rl_envs.synthesis.sites import Family

FAMILIES: tuple[Family, ...] = (
    *ARITHMETIC,
    *CONDITIONAL,
    *STRINGS,
    *LISTS,
    *DICTIONARIES,
    *RECURSION,
    *COMPOSITION,
)
"""The order is fixed: every seeded draw depends on it."""
