"""Fakes that pass the contracts' conformance suites, for tests of one's own: no model, no sandbox, no waiting.

The suites themselves are in `agent_rl.testing.contracts`, which needs pytest; the fakes do not.
"""

from agent_rl.testing.in_memory_sandbox import InMemoryCommand, InMemoryProvider
from agent_rl.testing.scripted_policy import Script, ScriptedPolicy

__all__ = ["InMemoryCommand", "InMemoryProvider", "Script", "ScriptedPolicy"]
