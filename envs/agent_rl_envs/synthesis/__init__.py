"""Function-writing tasks made by a seeded generator: the quickstart's environment."""

from agent_rl_envs.synthesis.environment import Synthesis, SynthesisConfig, extract_program
from agent_rl_envs.synthesis.normal_form import normalise

__all__ = ["Synthesis", "SynthesisConfig", "extract_program", "normalise"]
