"""Policy losses, in torch. The rest of `agent_rl.algorithms` does not import torch, since the controller loads it."""
