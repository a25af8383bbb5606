"""The command line `agent-rl`. Exit codes: 0 done, 1 the check failed, 2 the user's mistake, 3 infrastructure failure.

Commands import what they need inside their functions, so that `agent-rl --help` does not wait for all of it.
"""

from agent_rl.cli.app import main

__all__ = ["main"]
