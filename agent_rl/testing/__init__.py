"""Fakes for your own tests that pass the contracts' conformance suites: no model, no sandbox, no waiting.

The suites themselves are in `agent_rl.testing.contracts`, which needs pytest; the fakes do not.
"""

from agent_rl.testing.in_memory_sandbox import InMemoryCommand, InMemoryProvider
from agent_rl.testing.scripted_policy import Script, ScriptedPolicy

__all__ = ["InMemoryCommand", "InMemoryProvider", "Script", "ScriptedPolicy"]
