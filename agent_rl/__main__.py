"""`python -m agent_rl` is the command `agent-rl`."""

from agent_rl.cli import main

main()
