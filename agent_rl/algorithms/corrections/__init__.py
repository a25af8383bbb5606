"""Importance corrections against the sampler: one small file each, registered under `agent_rl.corrections`."""
