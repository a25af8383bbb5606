"""What the reward is made of: one small file a part, registered under `agent_rl.rewards`."""
