"""Losses, in torch: nothing else in `agent_rl.algorithms` imports torch, since the controller loads the rest."""
