"""Function-writing tasks made by a seeded generator: the quickstart's environment."""

from agent_rl_envs.synthesis.normal_form import normalise
from agent_rl_envs.synthesis.synthesis import Synthesis, SynthesisConfig

__all__ = ["Synthesis", "SynthesisConfig", "normalise"]
