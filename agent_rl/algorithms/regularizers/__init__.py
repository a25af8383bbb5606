"""Terms that are added to the policy's loss: one small file each, registered under `agent_rl.regularizers`."""
